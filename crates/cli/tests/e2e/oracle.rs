//! An outside witness: a whole machine, emulated, whose physical memory is searched from outside
//! for what a session left in it. Slow; `cargo xtask test --slow` runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::support::plants::{PLANTS, Patterns};
use crate::support::{processes, skip};

const EMULATOR: &str = "qemu-system-x86_64";
const MEMORY_MIB: u64 = 1024;
/// Emulated processors are slow.
const PATIENCE: Duration = Duration::from_secs(600);
const PIECE: usize = 1 << 20;
/// The longest way to write a pattern.
const OVERLAP: usize = 66;

/// Plants that cannot be overwritten, and what the receipt calls them.
const RESIDUE: [(&str, &str); 3] =
    [("name", "names and attributes"), ("sealed", "sealed memfds"), ("terminal", "kernel buffers")];

#[test]
#[ignore = "slow: boots an emulated machine"]
fn physical_memory_holds_nothing_but_what_the_receipt_names() {
    let Some(witness) = Witness::of("") else { return };
    for plant in witness.left() {
        let (_, what) = RESIDUE
            .iter()
            .find(|(name, _)| *name == plant)
            .unwrap_or_else(|| panic!("{plant} is left: {:?}", witness.after));
        assert!(witness.says(&format!("residue {what}")), "{what} is not said: {:?}", witness.said);
    }
    assert!(witness.says("claims L1"), "{:?}", witness.said);
}

#[test]
#[ignore = "slow: boots an emulated machine"]
fn physical_memory_holds_nothing_where_the_kernel_clears_what_it_frees() {
    let Some(witness) = Witness::of("init_on_free=1") else { return };
    assert_eq!(witness.left(), Vec::<&str>::new(), "{:?}", witness.after);
    assert!(witness.says("claims L2"), "{:?}", witness.said);
}

#[test]
#[ignore = "slow: boots an emulated machine"]
fn physical_memory_holds_what_is_not_overwritten() {
    let orders = "SESSILE_DEBUG=skip=wipe.scrub_memory,skip=wipe.scrub_open_files,\
                  skip=wipe.overwrite_storage,skip=wipe.overwrite_rings";
    let Some(witness) = Witness::of(orders) else { return };
    // The kernel soon uses some of the memory again, so that not every plant is left.
    let is_residue = |plant: &&str| RESIDUE.iter().any(|(name, _)| name == plant);
    let left: Vec<&str> = witness.left().into_iter().filter(|plant| !is_residue(plant)).collect();
    assert!(!left.is_empty(), "all is gone although nothing was overwritten");
}

/// What was seen of one guest.
struct Witness {
    after: BTreeMap<&'static str, usize>,
    said: Vec<String>,
}

impl Witness {
    /// Boots a guest with these kernel parameters, besides, and lets it open, fill and end a
    /// session. `None`, and says why, where that is not possible.
    #[track_caller]
    fn of(parameters: &str) -> Option<Self> {
        let Some(kernel) = kernel() else {
            skip("there is no kernel for the guest: cargo xtask test --slow brings one");
            return None;
        };
        if Command::new(EMULATOR).arg("--version").output().is_err() {
            skip(&format!("there is no {EMULATOR}"));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let patterns = Patterns::new();
        let initramfs = folder.path().join("initramfs");
        Archive::of_guest(&patterns).write(&initramfs);
        let mut guest = Guest::boot(folder.path(), &kernel, &initramfs, parameters);
        guest.expect("planted");
        let before = count(&patterns, &guest.memory());
        guest.go_on();
        guest.expect("ended");
        let after = count(&patterns, &guest.memory());
        guest.go_on();
        let said = guest.expect("said");
        println!("copies in physical memory ({parameters}), before and after the end:");
        for (plant, count) in &before {
            println!("  {plant:18} {count:5} {:5}", after.get(plant).copied().unwrap_or(0));
        }
        for plant in PLANTS.iter().filter(|plant| plant.is_planted_by_script()) {
            assert!(before.contains_key(plant.name), "{} is not seen while the session runs", plant.name);
        }
        Some(Self { after, said })
    }

    fn left(&self) -> Vec<&'static str> {
        self.after.keys().copied().collect()
    }

    fn says(&self, what: &str) -> bool {
        self.said.iter().any(|line| line.ends_with(&format!("GUEST {what}")))
    }
}

/// Kernel for the guest: the one named in the environment, else the newest installed.
fn kernel() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SESSILE_GUEST_KERNEL") {
        return Some(named.into());
    }
    let installed = fs::read_dir("/boot").ok()?.flatten().map(|entry| entry.path());
    installed.filter(|path| path.to_string_lossy().starts_with("/boot/vmlinuz")).max()
}

/// How often each plant is found.
fn count(patterns: &Patterns, memory: &Path) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    let mut file = File::open(memory).unwrap();
    let mut piece = Vec::with_capacity(PIECE + OVERLAP);
    loop {
        let got = (&mut file).take(PIECE as u64).read_to_end(&mut piece).unwrap();
        if got == 0 {
            return counts;
        }
        if piece.iter().any(|&byte| byte != 0) {
            for (name, canary) in patterns.each() {
                let mut found = 0;
                canary.find(&piece, &mut |_, _| found += 1);
                if found > 0 {
                    *counts.entry(name).or_default() += found;
                }
            }
        }
        // What lies over the border of two pieces is found in the next; what lies wholly in the
        // overlap counts twice.
        let keep = piece.len().saturating_sub(OVERLAP) & !7;
        piece.drain(..keep);
    }
}

/// A running emulator.
struct Guest {
    emulator: Child,
    said: Receiver<String>,
    monitor: UnixStream,
    folder: PathBuf,
}

impl Guest {
    fn boot(folder: &Path, kernel: &Path, initramfs: &Path, parameters: &str) -> Self {
        let socket = folder.join("monitor");
        let mut emulator = Command::new(EMULATOR)
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-smp",
                "2",
                "-display",
                "none",
                "-nodefaults",
                "-no-reboot",
            ])
            .args(["-m", &MEMORY_MIB.to_string(), "-serial", "stdio"])
            .arg("-monitor")
            .arg(format!("unix:{},server,nowait", socket.display()))
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", &format!("console=ttyS0 panic=-1 quiet {parameters}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let console = BufReader::new(emulator.stdout.take().unwrap());
        let (sender, said) = channel();
        thread::spawn(move || {
            for line in console.split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).trim().to_owned()).is_err() {
                    return;
                }
            }
        });
        let monitor = processes::eventually("the emulator listens", || UnixStream::connect(&socket).ok());
        Self { emulator, said, monitor, folder: folder.to_owned() }
    }

    /// Waits until the guest says that it is so far, and returns what it said before.
    #[track_caller]
    fn expect(&self, mark: &str) -> Vec<String> {
        let mut shown = Vec::new();
        loop {
            let line = self
                .said
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("the guest never says {mark}; it said: {shown:#?}"));
            if line.ends_with(&format!("GUEST {mark}")) {
                return shown;
            }
            assert!(!line.contains("GUEST failed") && !line.contains("Traceback"), "{line}");
            shown.push(line);
        }
    }

    fn go_on(&mut self) {
        self.emulator.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Writes the guest's physical memory to a file, with its processors stopped.
    fn memory(&mut self) -> PathBuf {
        let path = self.folder.join("memory");
        drop(fs::remove_file(&path));
        let commands =
            format!("stop\npmemsave 0 {:#x} \"{}\"\ncont\ninfo version\n", MEMORY_MIB << 20, path.display());
        self.monitor.write_all(commands.as_bytes()).unwrap();
        let whole = || fs::metadata(&path).is_ok_and(|found| found.size() == MEMORY_MIB << 20).then_some(());
        processes::eventually("the memory is saved", whole);
        path
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// The guest's root folder, in the kernel's format (`initramfs buffer format`, "newc").
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    known: BTreeSet<PathBuf>,
}

impl Archive {
    /// What the guest needs of this machine: the program, Python, and their libraries.
    fn of_guest(patterns: &Patterns) -> Self {
        let mut archive = Self { bytes: Vec::new(), entries: 0, known: BTreeSet::new() };
        for (name, target) in
            [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")]
        {
            archive.add(Path::new(name), 0o120_777, target.as_bytes());
        }
        for folder in
            ["dev", "proc", "sys", "tmp", "run", "var/lib", "etc", "root", "project", "again", "usr/sbin"]
        {
            archive.add_folder(Path::new(folder));
        }
        let python = fs::canonicalize("/usr/bin/python3").unwrap();
        let library = Path::new("/usr/lib").join(python.file_name().unwrap());
        archive.copy(&python, Path::new("usr/bin/python3"));
        archive.copy(Path::new(env!("CARGO_BIN_EXE_sessile")), Path::new("usr/bin/sessile"));
        archive.copy_tree(&library);
        let mut programs = vec![python, env!("CARGO_BIN_EXE_sessile").into()];
        programs
            .extend(fs::read_dir(library.join("lib-dynload")).unwrap().flatten().map(|entry| entry.path()));
        for library in libraries(&programs) {
            // The libraries' folders are where the links of the root lead.
            let inside = library.strip_prefix("/").unwrap();
            let inside =
                if inside.starts_with("usr") { inside.to_owned() } else { Path::new("usr").join(inside) };
            archive.copy(&library, &inside);
        }
        archive.add(Path::new("etc/passwd"), 0o100_644, b"root:x:0:0::/root:/usr/bin/python3\n");
        archive.add(Path::new("etc/group"), 0o100_644, b"root:x:0:\n");
        archive.add(Path::new("project/plant.py"), 0o100_644, include_bytes!("canary/plant.py"));
        archive.add(Path::new("project/plants"), 0o100_644, patterns.masked().as_bytes());
        let mut init = b"#!/usr/bin/python3 -IS\n".to_vec();
        init.extend(include_bytes!("oracle/guest.py"));
        archive.add(Path::new("init"), 0o100_755, &init);
        archive
    }

    fn write(mut self, path: &Path) {
        self.add(Path::new("TRAILER!!!"), 0, b"");
        fs::write(path, self.bytes).unwrap();
    }

    fn add_folder(&mut self, path: &Path) {
        if !path.as_os_str().is_empty() && !self.known.contains(path) {
            self.add(path, 0o040_755, b"");
        }
    }

    fn add(&mut self, path: &Path, mode: u32, content: &[u8]) {
        if !self.known.insert(path.to_owned()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.add_folder(parent);
        }
        self.entries += 1;
        let name = path.to_str().unwrap();
        let fields =
            [self.entries, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            write!(self.bytes, "{field:08X}").unwrap();
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn copy(&mut self, from: &Path, to: &Path) {
        self.add(to, 0o100_755, &fs::read(from).unwrap());
    }

    fn copy_tree(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let kind = fs::metadata(&path);
            if kind.as_ref().is_ok_and(fs::Metadata::is_file) {
                self.copy(&path, path.strip_prefix("/").unwrap());
            } else if kind.is_ok_and(|kind| kind.is_dir())
                && !["__pycache__", "dist-packages", "test"].iter().any(|name| path.ends_with(name))
            {
                self.copy_tree(&path);
            }
        }
    }
}

/// The shared libraries of programs, as the loader finds them.
fn libraries(programs: &[PathBuf]) -> BTreeSet<PathBuf> {
    let output = Command::new("ldd").args(programs).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(PathBuf::from)
        .collect()
}
