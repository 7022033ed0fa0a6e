//! Where control groups can be made on this host.

use std::fs;
use std::path::{Path, PathBuf};

/// A resource that control groups limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Memory, storage included.
    Memory,
    /// Processor time.
    Cpu,
    /// Processes and threads.
    Pids,
}

impl Controller {
    /// All that are used.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    /// The file of a version 2 group that holds the limit.
    pub(super) const fn max_file(self) -> &'static str {
        match self {
            Self::Memory => "memory.max",
            Self::Cpu => "cpu.max",
            Self::Pids => "pids.max",
        }
    }
}

/// Folders in which a session's groups may be made, best first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    /// Version 2: the own group and those above it; for root, the top first.
    pub unified: Vec<PathBuf>,
    /// Version 1: one place per controller.
    pub single: Vec<(Controller, PathBuf)>,
}

impl Layout {
    /// Looks at this host.
    pub fn detect() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let root = rustix::process::geteuid().is_root();
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), root)
    }

    /// From the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    pub fn parse(mountinfo: &str, own: &str, root: bool) -> Self {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some(mount) = Mount::parse(line) else { continue };
            if mount.kind == "cgroup2" {
                let Some(own) = own.lines().find_map(|l| l.strip_prefix("0::")) else { continue };
                let mut places = mount.places(own);
                if root {
                    places.reverse();
                }
                layout.unified.extend(places);
                continue;
            }
            for controller in Controller::ALL {
                let has = |list: &str| list.split(',').any(|o| o == controller.name());
                if mount.kind != "cgroup" || !has(mount.options) {
                    continue;
                }
                let own = own.lines().find_map(|line| {
                    let mut parts = line.splitn(3, ':').skip(1);
                    parts.next().filter(|list| has(list)).and_then(|_| parts.next())
                });
                let place = mount.places(own.unwrap_or("/")).into_iter().next();
                layout.single.extend(place.map(|place| (controller, place)));
            }
        }
        layout
    }
}

struct Mount<'a> {
    /// The part of the hierarchy that is mounted.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// Reads a line of mountinfo; see proc_pid_mountinfo(5).
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, point) = (front.next()?, front.next()?);
        let mut back = back.split(' ');
        let kind = back.next()?;
        Some(Self { root, point, kind, options: back.nth(1)? })
    }

    /// The folder of the own group and those above it up to the mount point, innermost first.
    fn places(&self, own: &str) -> Vec<PathBuf> {
        let point = Path::new(self.point);
        let inner = Path::new(own).strip_prefix(self.root).unwrap_or(Path::new(""));
        let whole = point.join(inner);
        whole.ancestors().take_while(|a| a.starts_with(point)).map(Path::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_systemd_user_session_is_walked_upwards() {
        let mountinfo = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
                         32 24 0:28 / /proc rw - proc proc rw\n";
        let own = "0::/user.slice/user@1000.service/app.slice/term.scope\n";
        let layout = Layout::parse(mountinfo, own, false);
        let places: Vec<_> = layout.unified.iter().map(|p| p.to_str().unwrap()).collect();
        assert_eq!(places[0], "/sys/fs/cgroup/user.slice/user@1000.service/app.slice/term.scope");
        assert_eq!(places[4], "/sys/fs/cgroup");
        assert_eq!(places.len(), 5);
        assert_eq!(Layout::parse(mountinfo, own, true).unified[0], Path::new("/sys/fs/cgroup"));
        assert!(layout.single.is_empty());
    }

    #[test]
    fn both_versions_are_found_side_by_side() {
        let mountinfo = "40 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                         41 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                         42 31 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                         43 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/outer/x\n3:cpu,cpuacct:/\n2:cpuset:/\n0::/\n";
        let layout = Layout::parse(mountinfo, own, true);
        assert_eq!(layout.unified, [Path::new("/sys/fs/cgroup/unified")]);
        assert_eq!(
            layout.single,
            [
                (Controller::Memory, "/sys/fs/cgroup/memory/outer/x".into()),
                (Controller::Cpu, "/sys/fs/cgroup/cpu,cpuacct".into()),
            ]
        );
    }

    #[test]
    fn a_container_sees_its_own_part_as_the_top() {
        let mountinfo = "50 31 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let layout = Layout::parse(mountinfo, "4:memory:/docker/abc\n", true);
        assert_eq!(layout.single, [(Controller::Memory, "/sys/fs/cgroup/memory".into())]);
    }

    #[test]
    fn broken_lines_are_passed_over() {
        assert_eq!(Layout::parse("x\n - cgroup2\n1 2 3 - cgroup\n", "0::", true), Layout::default());
    }
}
