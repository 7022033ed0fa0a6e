//! A session's root key and the keys derived from it.
//!
//! Keys are derived by HKDF-SHA256 (RFC 5869) with the purpose as `info`, so that no key says
//! anything about another. The root key never leaves its secret memory.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hkdf::Hkdf;
use rustix::rand::GetRandomFlags;
use sessile_model::AppName;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroize;

use crate::secret::{Protection, SecretError, SecretMemory};

/// Length of every key in bytes.
pub const KEY_LEN: usize = 32;

const SALT: &[u8] = b"sessile session root key, version 1";

/// What a derived key is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One app's own key.
    App(AppName),
    /// Commitments in the session's journal.
    Journal,
    /// The keeper's checkpoint in the anchor's store.
    Checkpoint,
    /// Commitments in the audit.
    Audit,
    /// The names of values that the guard knows.
    Guard,
    /// The machine id that programs inside read.
    MachineId,
}

impl Purpose {
    /// The label that HKDF takes as `info`.
    pub fn label(&self) -> String {
        match self {
            Self::App(name) => format!("app/{name}"),
            Self::Journal => "journal".to_owned(),
            Self::Checkpoint => "checkpoint".to_owned(),
            Self::Audit => "audit".to_owned(),
            Self::Guard => "guard".to_owned(),
            Self::MachineId => "machine-id".to_owned(),
        }
    }
}

/// Why there is no root key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The memory for it.
    #[error(transparent)]
    Memory(#[from] SecretError),
    /// The system's random number generator failed.
    #[error("the system gave no random bytes")]
    Entropy(#[source] std::io::Error),
    /// The memory holds something else.
    #[error("the secret memory holds no root key")]
    NotAKey,
}

/// A session's root key. Overwritten on drop.
#[derive(Debug)]
pub struct RootKey {
    memory: SecretMemory,
}

impl RootKey {
    /// Makes a new random key, written straight into secret memory.
    ///
    /// # Errors
    /// When there is no memory for it or no entropy.
    pub fn generate() -> Result<Self, KeyError> {
        let mut memory = SecretMemory::create(KEY_LEN)?;
        let mut filled = 0;
        while filled < KEY_LEN {
            match rustix::rand::getrandom(&mut memory.expose_mut()[filled..], GetRandomFlags::empty()) {
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(KeyError::Entropy(e.into())),
            }
        }
        Ok(Self { memory })
    }

    /// Maps a key that an earlier keeper left with the anchor.
    ///
    /// # Errors
    /// When the descriptor is not secret memory, has another length, or was overwritten.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, KeyError> {
        let memory = SecretMemory::from_fd(fd)?;
        if memory.len() != KEY_LEN || memory.expose().iter().all(|&b| b == 0) {
            return Err(KeyError::NotAKey);
        }
        Ok(Self { memory })
    }

    /// How well it is protected.
    pub fn protection(&self) -> Protection {
        self.memory.protection()
    }

    /// Derives the key for one purpose.
    pub fn derive(&self, purpose: &Purpose) -> DerivedKey {
        let key = expand(self.memory.expose(), purpose.label().as_bytes());
        overwrite_dead_stack();
        key
    }

    /// Overwrites the key; every holder of its descriptor loses it. Returns the bytes overwritten.
    pub fn destroy(mut self) -> usize {
        self.memory.overwrite()
    }

    /// Lets go of the key without overwriting it, for a successor that holds the descriptor.
    pub fn release(self) -> OwnedFd {
        self.memory.release()
    }
}

impl AsFd for RootKey {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// A key for one purpose, on the heap so that moving it leaves no copy. Overwritten on drop.
pub struct DerivedKey(Box<[u8; KEY_LEN]>);

impl DerivedKey {
    /// The key's bytes.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// A commitment to these bytes: the first half of their HMAC-SHA256 (RFC 2104) under the key. Once the
    /// key is gone nobody can tell whether a guess is right.
    pub fn commit(&self, bytes: &[u8]) -> [u8; 16] {
        // HKDF-Extract is HMAC, with the salt as the key (RFC 5869).
        let (mac, _) = Hkdf::<Sha256>::extract(Some(self.0.as_ref()), bytes);
        overwrite_dead_stack();
        std::array::from_fn(|at| mac[at])
    }
}

impl Drop for DerivedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKey(redacted)")
    }
}

#[inline(never)]
fn expand(root: &[u8], label: &[u8]) -> DerivedKey {
    let mut key = DerivedKey(Box::new([0; KEY_LEN]));
    Hkdf::<Sha256>::new(Some(SALT), root)
        .expand(label, key.0.as_mut())
        .expect("32 bytes are within what HKDF-SHA256 gives");
    key
}

/// Overwrites the stack below the caller: HKDF's and HMAC's states are not zeroed by their
/// crates, and the root key passes through them.
#[inline(never)]
fn overwrite_dead_stack() {
    let mut frame = [0u8; 16 << 10];
    frame.zeroize();
    std::hint::black_box(&frame);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    fn fixed() -> RootKey {
        let mut memory = SecretMemory::create(KEY_LEN).unwrap();
        for (i, b) in memory.expose_mut().iter_mut().enumerate() {
            *b = (i as u8).wrapping_mul(37) ^ 0x5a;
        }
        RootKey { memory }
    }

    #[test]
    fn hkdf_matches_rfc_5869_test_case_1() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let mut okm = [0u8; 42];
        Hkdf::<Sha256>::new(Some(&salt), &[0x0b; 22]).expand(&info, &mut okm).unwrap();
        let hex: String = okm.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }

    #[test]
    fn keys_depend_on_purpose_and_root_only() {
        let root = fixed();
        let app = Purpose::App("main".parse().unwrap());
        assert_eq!(app.label(), "app/main");
        let all = [app.clone(), Purpose::Journal, Purpose::Checkpoint, Purpose::Audit];
        let keys: Vec<_> = all.iter().map(|p| *root.derive(p).expose()).collect();
        for (i, a) in keys.iter().enumerate() {
            assert_eq!(a, root.derive(&all[i]).expose());
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
        assert_ne!(RootKey::generate().unwrap().derive(&app).expose(), &keys[0]);
    }

    #[test]
    fn a_successor_finds_the_key_until_it_is_destroyed() {
        let root = RootKey::generate().unwrap();
        let before = *root.derive(&Purpose::Journal).expose();
        let held = root.as_fd().try_clone_to_owned().unwrap();
        let again = RootKey::from_fd(root.release()).unwrap();
        assert_eq!(again.derive(&Purpose::Journal).expose(), &before);
        assert_eq!(again.destroy(), KEY_LEN);
        assert!(matches!(RootKey::from_fd(held), Err(KeyError::NotAKey)));
    }

    /// Counts copies of a key's first half on this thread's stack, live and dead.
    #[inline(never)]
    fn copies_on_stack(key: &[u8]) -> usize {
        let here = &key as *const _ as usize;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let (start, end) = maps
            .lines()
            .filter_map(|l| l.split(' ').next()?.split_once('-'))
            .map(|(a, b)| (usize::from_str_radix(a, 16).unwrap(), usize::from_str_radix(b, 16).unwrap()))
            .find(|(a, b)| (*a..*b).contains(&here))
            .unwrap();
        let start = start.max(here - (256 << 10));
        let mut stack = vec![0u8; end - start];
        let mem = std::fs::File::open("/proc/self/mem").unwrap();
        let n = mem.read_at(&mut stack, start as u64).unwrap();
        stack[..n].windows(16).filter(|w| *w == &key[..16]).count()
    }

    /// Derives far below the caller's frame, where the search does not overwrite it by itself.
    #[inline(never)]
    fn derive_deep_down(root: &RootKey) -> DerivedKey {
        let frame = [1u8; 64 << 10];
        std::hint::black_box(&frame);
        let key = root.derive(&Purpose::Journal);
        std::hint::black_box(&frame);
        key
    }

    #[test]
    fn deriving_leaves_no_copy_of_a_key_on_the_stack() {
        let root = fixed();
        let key = derive_deep_down(&root);
        assert_eq!(copies_on_stack(root.memory.expose()), 0, "of the root key");
        assert_eq!(copies_on_stack(key.expose()), 0, "of the derived key");
    }

    #[test]
    fn debug_shows_no_key() {
        let root = fixed();
        assert_eq!(format!("{:?}", root.derive(&Purpose::Journal)), "DerivedKey(redacted)");
        assert!(format!("{root:?}").contains("redacted"));
    }
}
