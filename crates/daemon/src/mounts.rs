//! Which of the host's folders a session is given beside its project, and where they appear.

use std::path::{Path, PathBuf};

use sessile_model::spec::{Mount, Project};
use sessile_model::{Problem, ProblemKind};

/// Where kernels show processes and devices.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];
/// The system's own folders, which a session reads at most.
const SYSTEM: [&str; 10] =
    ["/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr/bin", "/usr/lib", "/usr/sbin"];

/// Checks what is mounted, and that each has a place of its own that is there.
///
/// # Errors
/// `Denied` or `BadRequest`, with a sentence about the first fault.
pub fn check(mounts: &[Mount], project: Option<&Project>) -> Result<(), Problem> {
    let project = project.map(|project| (project.path.as_str(), project.path.as_str()));
    let mut before: Vec<(&str, &str)> = project.into_iter().collect();
    for mount in mounts {
        fit(mount)?;
        // Tools of one folder may be found by several names.
        if !mount.from_tools {
            place(mount, &before)?;
        }
        before.push((&mount.target, &mount.source));
    }
    Ok(())
}

fn fit(mount: &Mount) -> Result<(), Problem> {
    let real = std::fs::canonicalize(&mount.source).unwrap_or_else(|_| PathBuf::from(&mount.source));
    let within = |trees: &[&str]| trees.iter().any(|tree| real.starts_with(tree));
    let why = if within(&KERNEL) {
        "shows this machine's processes and devices"
    } else if mount.writable && within(&SYSTEM) {
        "is the system's own, which a session reads at most"
    } else {
        return Ok(());
    };
    let detail = format!("cannot mount {}: {} {why}", mount.source, real.display());
    Err(Problem::new(ProblemKind::Denied, detail).hint("name the files or folders that the session needs"))
}

/// Another grant has no such place, and where it lies within one, that one has it.
fn place(mount: &Mount, before: &[(&str, &str)]) -> Result<(), Problem> {
    let target = Path::new(&mount.target);
    let bad = |detail: String, hint: &str| Err(Problem::new(ProblemKind::BadRequest, detail).hint(hint));
    if let Some((_, source)) = before.iter().find(|(taken, _)| Path::new(taken) == target) {
        let detail = format!("{} and {source} cannot both be at {}", mount.source, mount.target);
        return bad(detail, "name another place: --mount SRC:DST");
    }
    let around = before.iter().filter(|(taken, _)| target.starts_with(taken));
    let Some((taken, source)) = around.max_by_key(|(taken, _)| taken.len()) else { return Ok(()) };
    let inside = target
        .strip_prefix(taken)
        .map_or_else(|_| PathBuf::from(source), |rest| Path::new(source).join(rest));
    if inside.symlink_metadata().is_ok() {
        return Ok(());
    }
    let detail = format!(
        "{} cannot be mounted at {}: {} does not exist",
        mount.source,
        mount.target,
        inside.display()
    );
    bad(detail, "make it first, or name a place outside")
}

#[cfg(test)]
mod tests {
    use sessile_model::spec::Access;

    use super::*;

    fn mount(source: &str, target: &str, writable: bool) -> Mount {
        Mount { source: source.into(), target: target.into(), writable, from_tools: false }
    }

    fn kind(mounts: &[Mount], project: Option<&Project>) -> Option<ProblemKind> {
        check(mounts, project).err().map(|problem| problem.kind)
    }

    #[test]
    fn nothing_of_the_kernel_and_nothing_of_the_system_to_write() {
        for (source, writable, expected) in [
            ("/proc", false, Some(ProblemKind::Denied)),
            ("/proc/self", false, Some(ProblemKind::Denied)),
            ("/sys/class", false, Some(ProblemKind::Denied)),
            ("/dev/shm", false, Some(ProblemKind::Denied)),
            ("/etc", false, None),
            ("/etc", true, Some(ProblemKind::Denied)),
            ("/usr/share", false, None),
        ] {
            assert_eq!(kind(&[mount(source, "/x", writable)], None), expected, "{source} {writable}");
        }
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/proc", &link).unwrap();
        assert_eq!(kind(&[mount(link.to_str().unwrap(), "/x", false)], None), Some(ProblemKind::Denied));
    }

    #[test]
    fn each_has_a_place_of_its_own_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for name in ["a/sub", "b", "project"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        let project = Project { path: path("project"), access: Access::Rw, allow_hooks: false };
        let (a, b) = (path("a"), path("b"));
        let bad = Some(ProblemKind::BadRequest);
        assert_eq!(kind(&[mount(&a, "/a", false), mount(&b, "/b", false)], Some(&project)), None);
        assert_eq!(kind(&[mount(&a, "/a", false), mount(&b, "/a", false)], None), bad);
        assert_eq!(kind(&[mount(&a, &project.path, false)], Some(&project)), bad);
        assert_eq!(kind(&[mount(&a, "/a", false), mount(&b, "/a/sub", false)], None), None);
        assert_eq!(kind(&[mount(&a, "/a", false), mount(&b, "/a/none", false)], None), bad);
        assert_eq!(kind(&[mount(&a, &format!("{}/new", project.path), false)], Some(&project)), bad);
        let tool = || Mount { from_tools: true, ..mount(&a, "/a", false) };
        assert_eq!(kind(&[tool(), tool()], None), None);
    }
}
