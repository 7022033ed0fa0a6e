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
        if layout.unified.is_empty() && layout.single.is_empty() {
            return "as root: mount -t cgroup2 none /sys/fs/cgroup".to_owned();
        }
        let enabled: String = controllers.split_whitespace().map(|c| format!("+{c} ")).collect();
        let enabled = enabled.trim_end();
        match self {
            Self { root: true, .. } => format!("echo '{enabled}' > /sys/fs/cgroup/cgroup.subtree_control"),
            Self { systemd: true, .. } => format!(
                "as root: systemctl edit user@.service, with the lines `[Service]` and \
                 `Delegate={controllers}`; then log in again and start Sessile in that session"
            ),
            Self { .. } => format!(
                "as root: cd /sys/fs/cgroup && echo '{enabled}' > cgroup.subtree_control && mkdir mine && \
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
        let layout = Layout { unified: vec!["/sys/fs/cgroup".into()], ..Layout::default() };
        let mend = |root, systemd| Asker { root, systemd }.mend(&layout, "cpu memory");
        assert!(mend(true, true).starts_with("echo '+cpu +memory' >"));
        assert!(mend(false, true).contains("`Delegate=cpu memory`"));
        let by_hand = mend(false, false);
        assert!(by_hand.contains("chown USER mine") && !by_hand.contains("systemctl"), "{by_hand}");
        let nothing = Asker { root: false, systemd: false }.mend(&Layout::default(), "cpu");
        assert!(nothing.contains("mount -t cgroup2"), "{nothing}");
    }
}
