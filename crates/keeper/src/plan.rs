//! From a specification to plans: what is granted, what a sandbox shows, what a command's
//! environment is.

use std::path::PathBuf;

use sessile_model::mcp;
use sessile_model::protocol::PROGRAM_FOLDER;
use sessile_model::record::Grant;
use sessile_model::spec::{Access, EnvVar, Spec};
use sessile_sandbox::app::{BindMount, Identity, ProjectMount};
use sessile_sandbox::capture::Capture;
use sessile_vault::keys::{Purpose, RootKey};

/// The host name that every session shows: the same for all, so that it tells none apart.
pub const HOSTNAME: &str = "sessile";
/// The home folder inside.
pub const HOME: &str = "/home/user";
/// Everything from outside that the specification gives, as the record shows it.
pub fn grants(spec: &Spec, variables: &[EnvVar]) -> Vec<Grant> {
    let project = spec.project.iter().map(|project| Grant::Project {
        path: Some(project.path.clone()),
        access: project.access,
        // Known when they have been made.
        protected: Vec::new(),
    });
    let mounts = spec.mounts.iter().map(|mount| {
        if mount.from_tools {
            Grant::Tools { path: Some(mount.source.clone()) }
        } else {
            Grant::Mount {
                source: Some(mount.source.clone()),
                target: Some(mount.target.clone()),
                writable: mount.writable,
            }
        }
    });
    let env = variables.iter().map(|variable| Grant::Env { name: variable.name.clone() });
    project.chain(mounts).chain(env).chain(crate::route::grants(&spec.network)).collect()
}

/// Whether what the user's own tools execute or obey stays read-only in the project.
pub fn is_protected(spec: &Spec) -> bool {
    spec.project.as_ref().is_some_and(|project| project.access == Access::Rw && !project.allow_hooks)
}

/// Where the project stands inside.
pub fn project_target(spec: &Spec) -> Option<PathBuf> {
    spec.project.as_ref().map(|project| PathBuf::from(&project.path))
}

/// The working folder of commands: the project, or home.
pub fn working_folder(spec: &Spec) -> String {
    project_target(spec).map_or_else(|| HOME.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// What programs inside read about who and where they are.
pub fn identity(key: &RootKey) -> Identity {
    let derived = key.derive(&Purpose::MachineId);
    let machine_id: String = derived.expose()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Identity::new(HOSTNAME, &machine_id)
}

/// The project as the sandbox mounts it. A copied project lies on session storage instead, at
/// `copy`.
pub fn project_mount(spec: &Spec, protected: Vec<String>) -> Option<ProjectMount> {
    let project = spec.project.as_ref().filter(|project| project.access != Access::Copy)?;
    Some(ProjectMount {
        source: PathBuf::from(&project.path),
        target: PathBuf::from(&project.path),
        writable: project.access == Access::Rw,
        protected,
        from_storage: false,
    })
}

/// Further mounts of the sandbox.
pub fn mounts(spec: &Spec) -> Vec<BindMount> {
    let mount = |mount: &sessile_model::spec::Mount| BindMount {
        source: PathBuf::from(&mount.source),
        target: PathBuf::from(&mount.target),
        writable: mount.writable,
    };
    spec.mounts.iter().map(mount).collect()
}

/// Paths inside of everything that is mounted from outside.
pub fn granted_paths(spec: &Spec) -> Vec<String> {
    let project = spec.project.iter().map(|project| project.path.clone());
    project.chain(spec.mounts.iter().map(|mount| mount.target.clone())).collect()
}

/// Variables by which programs find their proxy, where what they send is not redirected to it.
/// Each is set in both cases: programs differ in which they read.
const PROXY: [(&str, &str); 4] = [
    ("ALL_PROXY", "socks5h://127.0.0.1:1012"),
    ("HTTPS_PROXY", "http://127.0.0.1:1012"),
    ("HTTP_PROXY", "http://127.0.0.1:1012"),
    ("NO_PROXY", "localhost,127.0.0.1,::1"),
];

/// The variable by which programs find the socket of their session's conversation.
const SOCKET: (&str, &str) = ("SESSILE_SOCKET", "/run/sessile");

/// A command's whole environment: the synthetic one, then the session's, then its own. With a
/// proxy where the app's network is captured by naming one.
pub fn environment(
    spec: &Spec,
    session: &[EnvVar],
    own: &[EnvVar],
    terminal: bool,
    capture: Option<Capture>,
) -> Vec<String> {
    let mut all: Vec<(String, String)> = vec![
        ("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin".into()),
        ("HOME".into(), HOME.into()),
        ("USER".into(), "user".into()),
        ("LOGNAME".into(), "user".into()),
        ("SHELL".into(), "/bin/bash".into()),
        ("LANG".into(), "C.UTF-8".into()),
        ("TZ".into(), "Etc/UTC".into()),
        ("TMPDIR".into(), "/tmp".into()),
        ("XDG_RUNTIME_DIR".into(), "/run/user/1000".into()),
        ("SESSILE_SESSION".into(), "1".into()),
    ];
    if terminal {
        let term = spec.term.clone().unwrap_or_else(|| "xterm-256color".into());
        all.push(("TERM".into(), term));
        all.push(crate::shell::variable());
    }
    if capture == Some(Capture::Explicit) {
        let both = |(name, value): (&str, &str)| {
            [(name.to_owned(), value.to_owned()), (name.to_lowercase(), value.to_owned())]
        };
        all.extend(PROXY.into_iter().flat_map(both));
    }
    all.extend(crate::route::interception::variables(spec));
    for variable in session.iter().chain(own) {
        match all.iter_mut().find(|(name, _)| *name == variable.name) {
            Some((_, value)) => value.clone_from(&variable.value),
            None => all.push((variable.name.clone(), variable.value.clone())),
        }
    }
    all.retain(|(name, _)| name != SOCKET.0 && (name != mcp::VARIABLE || !spec.is_guarded()));
    all.push((SOCKET.0.into(), SOCKET.1.into()));
    if !spec.mcp.is_empty() {
        let names: Vec<String> = spec.mcp.iter().map(|server| server.name.to_string()).collect();
        all.push((mcp::VARIABLE.into(), names.join(",")));
    }
    if let Some((_, path)) = all.iter_mut().find(|(name, _)| name == "PATH") {
        path.push(':');
        path.push_str(PROGRAM_FOLDER);
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: value.into() }
    }

    #[test]
    fn a_commands_own_environment_wins_over_the_sessions() {
        let session = [variable("PATH", "/s"), variable("A", "1")];
        let own = [variable("A", "2")];
        let env = environment(&Spec::default(), &session, &own, false, None);
        assert!(env.contains(&"PATH=/s:/sessile/bin".to_owned()) && env.contains(&"A=2".to_owned()));
        assert_eq!(env.iter().filter(|v| v.starts_with("A=")).count(), 1);
        assert!(!env.iter().any(|v| v.starts_with("TERM=")));
    }

    #[test]
    fn a_proxy_is_named_where_nothing_is_redirected_and_at_the_port_that_listens() {
        let at = |capture| environment(&Spec::default(), &[], &[], false, capture);
        assert!(!at(Some(Capture::Transparent)).iter().any(|v| v.to_lowercase().contains("proxy")));
        let env = at(Some(Capture::Explicit));
        let place = format!("http://127.0.0.1:{}", sessile_sandbox::capture::TCP_PORT);
        assert!(
            env.contains(&format!("HTTPS_PROXY={place}")) && env.contains(&format!("http_proxy={place}"))
        );
        assert_eq!(env.iter().filter(|v| v.to_lowercase().contains("proxy=")).count(), 8);
    }

    #[test]
    fn only_writable_projects_have_protected_paths() {
        let mut spec = Spec::default();
        assert!(!is_protected(&spec));
        for (access, allow_hooks, is) in [
            (Access::Rw, false, true),
            (Access::Rw, true, false),
            (Access::Ro, false, false),
            (Access::Copy, false, false),
        ] {
            spec.project = Some(sessile_model::spec::Project { path: "/srv/x".into(), access, allow_hooks });
            assert_eq!(is_protected(&spec), is);
        }
    }
}
