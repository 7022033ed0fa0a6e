//! Tests with real, stopped processes.

use super::*;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, WaitOptions};

/// Runs a Python program until it stops itself.
fn stopped(program: &str) -> Child {
    let mut command = Command::new("python3");
    let child = command.arg("-c").arg(program).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let (_, status) =
        rustix::process::waitpid(Some(Pid::from_child(&child)), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "{status:?}");
    child
}

/// What a stopped program printed: numbers.
fn printed(child: &mut Child) -> Vec<u64> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.split_whitespace().map(|n| n.parse().unwrap()).collect()
}

/// A process that maps `len` private bytes, writes the first, reads `read` pages, and stops.
fn sparse(len: u64, read: u64) -> Child {
    let program = format!(
        "import mmap,os,signal\n\
         m=mmap.mmap(-1,{len},mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS|0x4000)\n\
         m[0]=1\n\
         for i in range({read}): m[i*4096+4096]\n\
         m[{len}-1]=7\n\
         os.kill(os.getpid(),signal.SIGSTOP)"
    );
    stopped(&program)
}

fn end(mut child: Child) {
    let _ = rustix::process::kill_process(Pid::from_child(&child), Signal::KILL);
    let _ = child.wait();
}

fn resident(pid: Pid) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_pid())).unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * page_size()
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: python3 is not installed");
    }
    found
}

#[test]
fn a_sparse_mapping_costs_what_it_holds() {
    if !has_python() {
        return;
    }
    let child = sparse(100 << 30, 1000);
    let pid = Pid::from_child(&child);
    let before = resident(pid);
    let started = std::time::Instant::now();
    let report = scrub_process(pid, &ScrubPlan::new(Vec::new())).unwrap();
    let took = started.elapsed();
    let after = resident(pid);
    end(child);
    assert_eq!(report.failed_bytes, 0);
    assert!(after <= before + (1 << 20), "resident {before} before, {after} after");
    eprintln!("100 GiB sparse: {} bytes in {took:?}", report.bytes);
    if PageMap::open(rustix::process::getpid()).unwrap().has_scan() {
        // Generous: other tests run at the same time.
        assert!(took.as_millis() < 500, "{took:?}");
    }
}

#[test]
fn kernels_without_the_ioctl_do_as_well() {
    if !has_python() {
        return;
    }
    let child = sparse(256 << 20, 10_000);
    let pid = Pid::from_child(&child);
    let mappings = maps::read(pid).unwrap();
    let mem = File::options().read(true).write(true).open(format!("/proc/{}/mem", pid.as_raw_pid())).unwrap();
    let target = Target { pid, mem, pages: PageMap::open_entries(pid) };
    let before = resident(pid);
    let mut report = ScrubReport::default();
    Scrub::new(ScrubPlan::new(Vec::new())).unwrap().scrub_mappings(&target, &mappings, &mut report).unwrap();
    let after = resident(pid);
    let mut last = [9; 1];
    let map = mappings.iter().find(|m| m.end - m.start >= 256 << 20).unwrap();
    target.mem.read_exact_at(&mut last, map.start + (256 << 20) - 1).unwrap();
    end(child);
    assert_eq!((report.failed_bytes, last[0]), (0, 0), "{report:?}");
    assert!(after <= before + (1 << 20), "resident {before} before, {after} after");
}

fn mapping(offset: u64) -> Mapping {
    let file = FileId { dev: 1, ino: 1 };
    Mapping { start: 1 << 30, end: 2 << 30, writable: true, shared: true, offset, file, name: String::new() }
}

#[test]
fn pages_covered_through_one_mapping_are_so_in_another() {
    let run = |start: u64, end: u64| Run {
        start: (1 << 30) + start * page_size(),
        end: (1 << 30) + end * page_size(),
        swapped: false,
        maybe_zero: false,
    };
    let mut scrub = Scrub::new(ScrubPlan::new(Vec::new())).unwrap();
    assert_eq!(scrub.uncovered(&mapping(0), &[run(0, 200)]), [run(0, 200)]);
    scrub.cover(&mapping(0), &[run(3, 5), run(64, 70)]);
    assert_eq!(scrub.uncovered(&mapping(0), &[run(0, 200)]), [run(0, 3), run(5, 64), run(70, 200)]);
    // Mapped from its third page on, the file's pages lie three lower.
    assert_eq!(scrub.uncovered(&mapping(3 * page_size()), &[run(0, 4)]), [run(2, 4)]);
    assert_eq!(gaps_between(&mapping(0), &[run(0, 3), run(5, 64)])[0], run(3, 5));
}

#[test]
fn filling_stops_at_its_limit() {
    let mut scrub =
        Scrub::new(ScrubPlan { fill_limit: 3 * page_size(), ..ScrubPlan::new(Vec::new()) }).unwrap();
    let gap = |start: u64, end: u64| Run {
        start: start * page_size(),
        end: end * page_size(),
        swapped: false,
        maybe_zero: false,
    };
    let (fill, unseen) = scrub.take_fill(&[gap(0, 2), gap(5, 9)]);
    assert_eq!((fill, unseen), (vec![gap(0, 2), gap(5, 6)], 3 * page_size()));
}

#[test]
fn shared_pages_that_nobody_maps_are_filled_where_the_file_cannot_be_opened() {
    if !has_python() {
        return;
    }
    let mut child = stopped(
        "import mmap,os,signal,ctypes\n\
         m=mmap.mmap(-1,1<<20)\n\
         m[5000]=7\n\
         m.madvise(mmap.MADV_DONTNEED)\n\
         print(ctypes.addressof(ctypes.c_char.from_buffer(m)),flush=True)\n\
         os.kill(os.getpid(),signal.SIGSTOP)",
    );
    let address = printed(&mut child)[0];
    let pid = Pid::from_child(&child);
    let mappings = maps::read(pid).unwrap();
    let shared = mappings.iter().find(|m| m.start <= address && address < m.end).unwrap();
    let mem = File::options().read(true).write(true).open(format!("/proc/{}/mem", pid.as_raw_pid())).unwrap();
    let target = Target { pid, mem, pages: PageMap::open(pid).unwrap() };
    let mut scrub = Scrub::new(ScrubPlan { fill_limit: 0, ..ScrubPlan::new(Vec::new()) }).unwrap();
    let mut report = ScrubReport::default();
    scrub.scrub_shared_pages(&target, shared, &mut report).unwrap();
    assert_eq!((report.bytes, report.unseen_bytes), (0, 1 << 20), "nothing may be filled: it is reported");
    let mut scrub = Scrub::new(ScrubPlan::new(Vec::new())).unwrap();
    scrub.scrub_shared_pages(&target, shared, &mut report).unwrap();
    let mut byte = [9];
    target.mem.read_exact_at(&mut byte, address + 5000).unwrap();
    end(child);
    assert_eq!((byte[0], report.bytes), (0, 1 << 20));
}

/// The page frames behind a mapping; all 0 without root.
fn frames(pid: i32, address: u64, pages: usize) -> Vec<u64> {
    let map = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    let mut bytes = vec![0; pages * 8];
    map.read_exact_at(&mut bytes, address / page_size() * 8).unwrap();
    let frame = |b: &[u8]| u64::from_ne_bytes(b.try_into().unwrap()) & ((1 << 55) - 1);
    bytes.chunks_exact(8).map(frame).collect()
}

/// Writing to a page that a fork shares copies it: the last process must still write the original.
#[test]
fn memory_shared_by_a_fork_is_overwritten_in_place() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root sees page frames");
        return;
    }
    if !has_python() {
        return;
    }
    let mut child = stopped(
        "import mmap,os,signal,ctypes\n\
         m=mmap.mmap(-1,1<<20,mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS)\n\
         m[:]=b'x'*(1<<20)\n\
         a=ctypes.addressof(ctypes.c_char.from_buffer(m))\n\
         p=os.fork()\n\
         if p==0:\n\
         \x20ctypes.CDLL(None).prctl(1,9)\n\
         \x20os.kill(os.getpid(),signal.SIGSTOP)\n\
         os.waitpid(p,os.WUNTRACED)\n\
         print(a,p,flush=True)\n\
         os.kill(os.getpid(),signal.SIGSTOP)",
    );
    let (address, forked) = match printed(&mut child)[..] {
        [address, forked] => (address, forked as i32),
        ref other => panic!("printed {other:?}"),
    };
    let parent = Pid::from_child(&child);
    let before = frames(parent.as_raw_pid(), address, 256);
    assert_eq!(before, frames(forked, address, 256));
    let mut scrub = Scrub::new(ScrubPlan::new(Vec::new())).unwrap();
    for pid in [parent, Pid::from_raw(forked).unwrap()] {
        assert_eq!(scrub.memory(pid).unwrap().failed_bytes, 0);
    }
    let after = [frames(parent.as_raw_pid(), address, 256), frames(forked, address, 256)].concat();
    // It dies with its parent.
    end(child);
    assert!(before.iter().all(|&f| f != 0 && after.contains(&f)));
}
