//! The memory in which a guard's values lie: `memfd_secret` where it works, else locked, made before the guard is
//! confined. It has a fixed size, and nothing of it is written before it is needed.

use sessile_guard::{FILTER_BYTES, Heap, Room, Rooms};
use sessile_model::guarding::{MOST_VALUE_BYTES, MOST_VALUES};
use sessile_vault::secret::{MAX_LEN, Protection, SecretError, SecretMemory};

/// Bytes of a table for so many values in all their forms.
const TABLE: usize = MOST_VALUES * 128;
/// Bytes of their canonical letters.
const LETTERS: usize = MAX_LEN;
const _: () = assert!(LETTERS >= MOST_VALUE_BYTES * 4, "a value lies once, and once for each exchange");

/// Memory for what a guard knows.
pub struct Vault {
    /// For what values are found by.
    pub registry: Rooms,
    /// For the values.
    pub values: Box<dyn Room>,
}

impl core::fmt::Debug for Vault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Vault(redacted)")
    }
}

impl Vault {
    /// On the heap, overwritten as it is freed.
    pub fn on_the_heap() -> Self {
        Self { registry: Rooms::on_the_heap(), values: Box::<Heap>::default() }
    }

    /// Secret memory, and why it is weaker than it can be, where it is.
    ///
    /// # Errors
    /// When the system has neither kind.
    pub fn secret() -> Result<(Self, Option<String>), SecretError> {
        let mut weakest = Protection::Secret;
        let mut room = |length| {
            let memory = SecretMemory::create(length)?;
            weakest = weaker(weakest, memory.protection());
            Ok::<_, SecretError>(Box::new(Secret { memory, length: 0 }))
        };
        let registry = Rooms { filter: room(FILTER_BYTES)?, table: room(TABLE)?, letters: room(LETTERS)? };
        let values = room(MOST_VALUE_BYTES)?;
        Ok((Self { registry, values }, told(weakest).map(str::to_owned)))
    }
}

const fn weaker(one: Protection, other: Protection) -> Protection {
    match (one, other) {
        (Protection::Unlocked, _) | (_, Protection::Unlocked) => Protection::Unlocked,
        (Protection::Locked, _) | (_, Protection::Locked) => Protection::Locked,
        (Protection::Secret, Protection::Secret) => Protection::Secret,
    }
}

/// What is weaker than `memfd_secret`, in a sentence.
const fn told(protection: Protection) -> Option<&'static str> {
    match protection {
        Protection::Secret => None,
        Protection::Locked => {
            Some("values are in a memfd with a locked mapping (memfd_secret is not available)")
        }
        Protection::Unlocked => {
            Some("values are in a memfd that could not be locked (RLIMIT_MEMLOCK): they may be swapped out")
        }
    }
}

/// Some secret memory, of which so much is used.
struct Secret {
    memory: SecretMemory,
    length: usize,
}

impl Room for Secret {
    fn bytes(&self) -> &[u8] {
        self.memory.expose().get(..self.length).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.expose_mut().get_mut(..self.length).unwrap_or_default()
    }

    fn grow(&mut self, length: usize) -> bool {
        let is_room = length <= self.memory.len();
        if is_room {
            self.length = self.length.max(length);
        }
        is_room
    }
}

#[cfg(test)]
mod tests {
    use sessile_guard::Registry;

    use super::*;

    /// As many values as are remembered, in all their forms.
    #[test]
    fn all_values_that_are_remembered_have_room() {
        let (vault, weaker_because) = Vault::secret().unwrap();
        if let Some(why) = weaker_because {
            eprintln!("skipped: {why}; only the fallback is tested");
        }
        let mut registry = Registry::within(vault.registry, [7; 32]).unwrap();
        let length = MOST_VALUE_BYTES / MOST_VALUES;
        let value = |number: usize| {
            let seed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (0..length / 16).map(|at| format!("{:016x}", seed.rotate_left(at as u32 * 5))).collect::<String>()
        };
        for number in 0..MOST_VALUES {
            let value = value(number);
            assert_eq!(value.len(), length);
            registry.add(&value).unwrap();
        }
        assert_eq!(registry.longest(), length);
    }

    #[test]
    fn a_room_is_as_long_as_it_was_made() {
        let (mut vault, _) = Vault::secret().unwrap();
        assert!(vault.values.grow(100) && vault.values.bytes() == [0; 100]);
        vault.values.bytes_mut()[99] = 7;
        assert!(vault.values.grow(MOST_VALUE_BYTES) && vault.values.bytes()[99] == 7);
        assert!(!vault.values.grow(MOST_VALUE_BYTES + 1));
    }

    #[test]
    fn the_weakest_is_told() {
        assert_eq!(weaker(Protection::Secret, Protection::Secret), Protection::Secret);
        assert_eq!(weaker(Protection::Locked, Protection::Secret), Protection::Locked);
        assert_eq!(weaker(Protection::Locked, Protection::Unlocked), Protection::Unlocked);
        assert!(told(Protection::Secret).is_none() && told(Protection::Unlocked).is_some());
    }
}
