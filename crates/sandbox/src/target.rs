//! Where a granted folder may appear inside.

use std::path::{Component, Path};

/// Folders that are the sandbox's own: nothing may be mounted on them, above them or below them.
const TAKEN: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/opt",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
    "/var/run",
    "/var/lock",
];

/// Folders of the sandbox that may hold mounts but may not be covered themselves.
const KEPT: &[&str] = &["/home", "/home/user", "/tmp", "/run", "/run/user/1000", "/var/tmp", "/var"];

/// The target as clean text, when a granted folder may be mounted there: absolute, without dots,
/// and apart from the sandbox's own folders.
pub fn permitted(target: &Path) -> Option<String> {
    let mut text = String::new();
    let mut components = target.components();
    if components.next() != Some(Component::RootDir) {
        return None;
    }
    for component in components {
        let Component::Normal(name) = component else { return None };
        text.push('/');
        text.push_str(name.to_str()?);
    }
    let target = Path::new(&text);
    let collides = |taken: &str| target.starts_with(taken) || Path::new(taken).starts_with(target);
    let covers = |kept: &str| Path::new(kept).starts_with(target);
    if text.is_empty() || TAKEN.iter().any(|t| collides(t)) || KEPT.iter().any(|k| covers(k)) {
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_clear_of_the_sandbox() {
        for bad in [
            "/",
            "",
            "work",
            "/proc",
            "/proc/sys",
            "/sys/fs",
            "/dev",
            "/etc/ssh",
            "/usr/local",
            "/bin",
            "/home",
            "/home/user",
            "/tmp",
            "/run",
            "/var",
            "/srv/../etc",
            "/nix",
            "/opt/x",
        ] {
            assert_eq!(permitted(Path::new(bad)), None, "{bad} is permitted");
        }
        for (good, text) in [
            ("/srv/x", "/srv/x"),
            ("/srv//x/", "/srv/x"),
            ("/home/alice/project", "/home/alice/project"),
            ("/home/user/.cargo", "/home/user/.cargo"),
            ("/tmp/p", "/tmp/p"),
            ("/data/p", "/data/p"),
            ("/usrlocal", "/usrlocal"),
        ] {
            assert_eq!(permitted(Path::new(good)).as_deref(), Some(text));
        }
    }
}
