//! What makes control groups available where they are not, by who asks and what manages the system.

use std::path::Path;

use super::layout::Layout;

/// Who could make control groups, if they could.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Whether it is root, for whom nothing has to be delegated.
    pub root: bool,
    /// Whether systemd manages the system (sd_booted(3)).
    pub systemd: bool,
}

/// Where version 1 has what is wanted.
const REBOOT: &str = "this kernel has it under version 1, which cannot be given to a user: boot with \
                      systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1=all";

/// Whether the groups under a folder can have a controller.
fn offers(top: &Path, controller: &str) -> bool {
    let offered = std::fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
    offered.split_whitespace().any(|one| one == controller)
}

impl Asker {
    /// This process on this system.
    pub fn here() -> Self {
        Self {
            root: rustix::process::geteuid().is_root(),
            systemd: Path::new("/run/systemd/system").exists(),
        }
    }

    /// The command, or what to ask for, that makes these controllers available.
    pub fn mend(self, layout: &Layout, controllers: &str) -> String {
        let top = if self.root { layout.unified.first() } else { layout.unified.last() };
        let Some(top) = top else {
            return match layout.single.is_empty() {
                true => "as root: mount -t cgroup2 none /sys/fs/cgroup".to_owned(),
                false => REBOOT.to_owned(),
            };
        };
        if !controllers.split_whitespace().all(|controller| offers(top, controller)) {
            return REBOOT.to_owned();
        }
        let enabled: String = controllers.split_whitespace().map(|c| format!("+{c} ")).collect();
        let (enabled, top) = (enabled.trim_end(), top.display());
        match self {
            Self { root: true, .. } => format!("echo '{enabled}' > {top}/cgroup.subtree_control"),
            Self { systemd: true, .. } => format!(
                "as root: systemctl edit user@.service, with the lines `[Service]` and \
                 `Delegate={controllers}`; then log in again and start Sessile in that session"
            ),
            Self { .. } => format!(
                "as root: cd {top} && echo '{enabled}' > cgroup.subtree_control && mkdir mine && \
                 chown USER mine mine/cgroup.procs mine/cgroup.threads mine/cgroup.subtree_control && \
                 echo PID > mine/cgroup.procs, with your name and your shell's process id"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_one_that_the_system_has() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        let layout = Layout { unified: vec![top.path().into()], ..Layout::default() };
        let mend = |root, systemd| Asker { root, systemd }.mend(&layout, "cpu memory");
        let by_root = format!("echo '+cpu +memory' > {}/cgroup.subtree_control", top.path().display());
        assert_eq!(mend(true, true), by_root);
        assert!(mend(false, true).contains("`Delegate=cpu memory`"));
        let by_hand = mend(false, false);
        assert!(by_hand.contains("chown USER mine") && !by_hand.contains("systemctl"), "{by_hand}");
        let other = Asker { root: false, systemd: false }.mend(&layout, "io");
        assert!(other.contains("cgroup_no_v1=all"), "{other}");
        let nothing = Asker { root: false, systemd: false }.mend(&Layout::default(), "cpu");
        assert!(nothing.contains("mount -t cgroup2"), "{nothing}");
    }
}
