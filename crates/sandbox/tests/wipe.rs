//! Plants canaries in every kind of memory of a real process, proves that the search sees them,
//! overwrites, and proves that they are gone; then leaves each kind out in turn.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, WaitOptions};
use sessile_sandbox::wipe::{
    Canary, Encoding, Scrub, ScrubKinds, ScrubPlan, ScrubReport, Skipped, overwrite_file, scan,
};

/// What `examples/plant.rs` plants, by its letter, and the kind of scrub that must reach it.
const PLANTS: &[(u8, &str, Encoding, ScrubKinds)] = &[
    (b'h', "heap", Encoding::Raw, ScrubKinds::PRIVATE),
    (b'h', "heap", Encoding::Base64, ScrubKinds::PRIVATE),
    (b'h', "heap", Encoding::Hex, ScrubKinds::PRIVATE),
    (b'k', "stack", Encoding::Raw, ScrubKinds::PRIVATE),
    (b'E', "environment", Encoding::Hex, ScrubKinds::PRIVATE),
    (b'c', "copied file page", Encoding::Raw, ScrubKinds::PRIVATE),
    (b'r', "read-only", Encoding::Raw, ScrubKinds::READ_ONLY),
    (b'n', "no access", Encoding::Raw, ScrubKinds::READ_ONLY),
    (b's', "shared", Encoding::Raw, ScrubKinds::SHARED),
    (b'd', "shared, not in page tables", Encoding::Raw, ScrubKinds::SHARED),
    (b'o', "shared, read-only", Encoding::Raw, ScrubKinds::SHARED),
    (b'M', "memfd, mapped only", Encoding::Raw, ScrubKinds::SHARED),
    (b'U', "unlinked, mapped only", Encoding::Raw, ScrubKinds::SHARED),
    (b'v', "System V", Encoding::Raw, ScrubKinds::SHARED),
    (b'm', "memfd", Encoding::Base64, ScrubKinds::MEMFDS),
    (b'u', "unlinked file", Encoding::Hex, ScrubKinds::UNLINKED),
    (b'x', "sealed memfd", Encoding::Raw, ScrubKinds::MEMFDS),
];

fn canary() -> Canary {
    let mut entropy = [0; 64];
    rustix::rand::getrandom(&mut entropy[..], rustix::rand::GetRandomFlags::empty()).unwrap();
    Canary::new(&mut entropy)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A stopped process with one canary per entry of [`PLANTS`].
struct Planted {
    child: Child,
    canaries: Vec<Canary>,
    folder: tempfile::TempDir,
    device: u64,
}

impl Planted {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let device = rustix::fs::stat(folder.path()).unwrap().st_dev;
        let canaries: Vec<_> = PLANTS.iter().map(|_| canary()).collect();
        let mut command = Command::new(example("plant"));
        command.arg(folder.path()).stdin(Stdio::piped()).env_clear();
        let mut input = Vec::new();
        for ((letter, _, encoding, _), canary) in PLANTS.iter().zip(&canaries) {
            let pattern = canary.reveal(*encoding);
            if *letter == b'E' {
                command.env("PLANT", String::from_utf8(pattern).unwrap());
            } else {
                input.extend([*letter, pattern.len() as u8]);
                input.extend(pattern);
            }
        }
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        let planted = Self { child, canaries, folder, device };
        let (_, status) =
            rustix::process::waitpid(Some(planted.pid()), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped(), "plant ended: {status:?}");
        planted
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn scrub(&self, kinds: ScrubKinds) -> ScrubReport {
        let mut scrub = Scrub::new(ScrubPlan { kinds, ..ScrubPlan::new(vec![self.device]) }).unwrap();
        let mut report = scrub.open_files(self.pid()).unwrap();
        report.add(&scrub.memory(self.pid()).unwrap());
        report
    }

    /// Indices in [`PLANTS`] of what is found.
    fn found(&self) -> Vec<usize> {
        let devices = [self.device, scan::memory_device().unwrap()];
        let holds = |canary: &Canary, encoding| {
            let mut hits = scan::scan_process(self.pid(), canary).unwrap();
            hits.extend(scan::scan_open_files(self.pid(), &devices, canary).unwrap());
            hits.iter().any(|h| h.encoding == encoding)
        };
        (0..PLANTS.len()).filter(|&i| holds(&self.canaries[i], PLANTS[i].2)).collect()
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.folder;
    }
}

fn example(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let path = exe.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: run cargo build --examples first", path.display());
    path
}

/// Plants that this user can find at all: without root, shared memory that is in no page table
/// is out of sight.
fn visible() -> Vec<usize> {
    (0..PLANTS.len()).filter(|&i| is_root() || PLANTS[i].0 != b'd').collect()
}

/// Plants that stay although everything is scrubbed, each of them reported.
fn reported(report: &ScrubReport) -> Vec<usize> {
    assert_eq!(report.sealed_files, 1, "{report:?}");
    if !is_root() {
        // Shared memory mapped read-only can be written by root alone.
        assert!(report.unwritable_bytes >= 4096, "{report:?}");
    }
    (0..PLANTS.len()).filter(|&i| PLANTS[i].0 == b'x' || (PLANTS[i].0 == b'o' && !is_root())).collect()
}

fn names(indices: &[usize]) -> Vec<&'static str> {
    indices.iter().map(|&i| PLANTS[i].1).collect()
}

#[test]
fn every_plant_is_found_and_gone_after_the_scrub() {
    let planted = Planted::new();
    assert_eq!(names(&planted.found()), names(&visible()));
    let report = planted.scrub(ScrubKinds::ALL);
    assert_eq!(names(&planted.found()), names(&reported(&report)), "{report:?}");
    assert_eq!(report.failed_bytes, 0, "{report:?}");
    assert!(report.bytes > 100 << 10, "{report:?}");
    assert!(report.skipped.contains_key(&Skipped::KernelPage));
    let residue = report.residue();
    assert!(residue.iter().any(|r| r.what == "sealed memfds"), "{residue:?}");
}

#[test]
fn each_kind_left_out_leaves_its_plants() {
    let kinds = [
        ScrubKinds::PRIVATE,
        ScrubKinds::READ_ONLY,
        ScrubKinds::SHARED,
        ScrubKinds::MEMFDS,
        ScrubKinds::UNLINKED,
    ];
    for kind in kinds {
        let planted = Planted::new();
        planted.scrub(ScrubKinds::ALL.without(kind));
        let found = planted.found();
        let of_kind: Vec<_> = visible().into_iter().filter(|&i| PLANTS[i].3 == kind).collect();
        for i in of_kind {
            assert!(found.contains(&i), "{} is gone without {kind:?}", PLANTS[i].1);
        }
        let others = found.iter().filter(|&&i| PLANTS[i].3 != kind && PLANTS[i].0 != b'x');
        let others: Vec<_> = others.copied().filter(|&i| is_root() || PLANTS[i].0 != b'o').collect();
        assert!(others.is_empty(), "without {kind:?}: {:?}", names(&others));
    }
}

#[test]
fn an_ordinary_user_can_do_it_too() {
    if !is_root() {
        eprintln!("skipped: the other tests run as an ordinary user already");
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let mut test = Command::new(&exe);
    test.args(["every_plant_is_found_and_gone_after_the_scrub", "each_kind_left_out_leaves_its_plants"]);
    let ran = test.current_dir("/").env("TMPDIR", "/dev/shm").gid(65534).uid(65534).output();
    match ran {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: user 65534 cannot execute {}", exe.display());
        }
        ran => {
            let ran = ran.unwrap();
            let text = String::from_utf8_lossy(&ran.stdout);
            assert!(ran.status.success() && text.contains("2 passed"), "{text}");
        }
    }
}

#[test]
fn a_search_of_this_process_finds_plants_but_not_itself() {
    let canary = canary();
    let own = rustix::process::getpid();
    let hits = scan::scan_process(own, &canary).unwrap();
    assert!(hits.is_empty(), "{hits:?}");
    for encoding in Encoding::ALL {
        let mut plant = canary.reveal(encoding);
        let hits = scan::scan_process(own, &canary).unwrap();
        let at = plant.as_ptr() as u64;
        assert!(
            hits.iter().any(|h| h.encoding == encoding
                && matches!(h.place, scan::Place::Memory { address, .. } if address == at)),
            "{hits:?}"
        );
        plant.fill(0);
        std::hint::black_box(&plant);
    }
}

#[test]
fn processes_that_share_memory_are_overwritten_once() {
    let planted = Planted::new();
    let mut scrub =
        Scrub::new(ScrubPlan { kinds: ScrubKinds::SHARED, ..ScrubPlan::new(vec![planted.device]) }).unwrap();
    let first = scrub.memory(planted.pid()).unwrap();
    let second = scrub.memory(planted.pid()).unwrap();
    assert!(first.bytes > 0 && second.bytes == 0, "{first:?} {second:?}");
}

#[test]
fn a_ring_is_overwritten_whole_and_a_sealed_one_is_an_error() {
    let ring = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    let canary = canary();
    rustix::fs::ftruncate(&ring, 1 << 20).unwrap();
    rustix::io::pwrite(&ring, &canary.reveal(Encoding::Raw), 777_777).unwrap();
    assert_eq!(scan::scan_file(ring.as_fd(), "ring", &canary).unwrap().len(), 1);
    assert_eq!(overwrite_file(ring.as_fd()).unwrap(), 4096);
    assert!(scan::scan_file(ring.as_fd(), "ring", &canary).unwrap().is_empty());
    rustix::io::pwrite(&ring, b"x", 0).unwrap();
    rustix::fs::fcntl_add_seals(&ring, rustix::fs::SealFlags::WRITE).unwrap();
    assert!(overwrite_file(ring.as_fd()).is_err());
}
