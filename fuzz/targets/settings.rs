//! What the command reads from files and the command line: environment files, `config.toml`,
//! names of keys, values of options.

#![no_main]
// Whole files of the command, of which this looks only at what parses.
#![allow(dead_code, clippy::unwrap_used)]

#[path = "../../crates/cli/src/config.rs"]
mod config;
#[path = "../../crates/cli/src/credentials.rs"]
mod credentials;
#[path = "../../crates/cli/src/declarations.rs"]
mod declarations;
#[path = "../../crates/cli/src/environment.rs"]
mod environment;
#[path = "../../crates/cli/src/failure.rs"]
mod failure;
#[path = "../../crates/cli/src/files.rs"]
mod files;
#[path = "../../crates/cli/src/hosts.rs"]
mod hosts;
#[path = "../../crates/cli/src/keys.rs"]
mod keys;
#[path = "../../crates/cli/src/options.rs"]
mod options;
#[path = "../../crates/cli/src/output.rs"]
mod output;
#[path = "../../crates/cli/src/policies.rs"]
mod policies;
#[path = "../../crates/cli/src/presets.rs"]
mod presets;
#[path = "../../crates/cli/src/project.rs"]
mod project;
#[path = "../../crates/cli/src/protocols/mod.rs"]
mod protocols;
#[path = "../../crates/cli/src/proxy.rs"]
mod proxy;
#[path = "../../crates/cli/src/registries.rs"]
mod registries;
#[path = "../../crates/cli/src/request.rs"]
mod request;
#[path = "../../crates/cli/src/servers.rs"]
mod servers;
#[path = "../../crates/cli/src/standard.rs"]
mod standard;
#[path = "../../crates/cli/src/tools.rs"]
mod tools;
#[path = "../../crates/cli/src/tor.rs"]
mod tor;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::plant;
use sessile_model::spec::EnvVar;
use sessile_model::wire::Pastes;

use crate::environment::{EnvArgument, merged};
use crate::keys::{DetachKey, Key, Keys};

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    variables(text);
    configuration(text);
    key_names(text);
    options(text);
});

fn variables(text: &str) {
    match environment::parse(text) {
        Ok(variables) => {
            variables.iter().for_each(sound);
            let written: String = variables.iter().map(|v| format!("{}=\"{}\"\n", v.name, v.value)).collect();
            let again = environment::parse(&written).expect("what was read can be written");
            assert_eq!(again, variables);
            let merged = merged([variables.clone(), variables]);
            let mut names: Vec<_> = merged.iter().map(|v| &v.name).collect();
            names.sort();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name stands once");
        }
        Err((line, _)) => assert!((1..=text.lines().count()).contains(&line)),
    }
    match text.parse() {
        Ok(EnvArgument::Inline(variable)) => {
            sound(&variable);
            assert_eq!(format!("{}={}", variable.name, variable.value), text);
        }
        Ok(EnvArgument::Inherit(name)) => assert_eq!(name, text),
        Err(_) => {}
    }
}

fn sound(variable: &EnvVar) {
    assert!(!variable.name.is_empty() && !variable.name.contains(['=', '\0', '\n']));
    assert!(!variable.value.contains(['\0', '\n']) || !variable.value.contains('\0'));
}

fn configuration(text: &str) {
    match config::parse(text) {
        Ok(config) => {
            for profile in config.profiles.values() {
                let both = profile.clone().over(config.run.clone());
                assert_eq!(both.mount.len(), profile.mount.len() + config.run.mount.len());
                assert!(both.memory == profile.memory || profile.memory.is_none());
            }
        }
        Err(error) => {
            assert!(!error.message.contains('\n') && error.message.len() <= 4 * text.len() + 2048);
            assert!(error.line.is_none_or(|line| (1..=text.matches('\n').count() + 1).contains(&line)));
        }
    }
}

fn key_names(text: &str) {
    if let Ok(keys) = text.parse::<Keys>() {
        let bytes = keys.bytes();
        assert!(!bytes.is_empty() && bytes.len() <= text.len() + 16 * (text.matches(',').count() + 1));
        for name in text.split(',') {
            name.parse::<Key>().expect("each of them is a key");
        }
    }
    if let Ok(key) = text.parse::<DetachKey>() {
        assert_eq!(key.name().parse(), Ok(key.clone()));
        let typed = text.parse::<Keys>().expect("a detach key is a key").bytes();
        assert_eq!(found(&key, &typed), Some(0));
        assert_eq!(found(&key, b"plain text"), None);
    }
    // Where it is found is within what was typed.
    assert!(found(&DetachKey::default(), text.as_bytes()).is_none_or(|at| at < text.len()));
}

fn found(key: &DetachKey, typed: &[u8]) -> Option<usize> {
    Pastes::default().find(&key.sent(), typed, Duration::ZERO).map(|key| key.start)
}

fn options(text: &str) {
    if let Ok(cpu) = text.parse::<options::Cpu>() {
        assert!((1..=1_000_000).contains(&cpu.0));
    }
    let _ = text.parse::<options::MountArgument>();
    if let Err(why) = text.parse::<credentials::CredentialArgument>() {
        assert!(!why.to_string().contains("tok-123"), "what may be a secret is not repeated");
    }
    let _ = text.parse::<options::Metadata>();
    if let Ok(label) = text.parse::<options::Label>() {
        assert_eq!(format!("{}={}", label.0, label.1), text);
    }
    let project = text.parse::<project::ProjectArgument>();
    assert_eq!(project.is_err(), text.is_empty());
    let Ok(project) = project else { return };
    assert!(!project.path.as_os_str().is_empty());
}

fn seeds() -> [&'static str; 14] {
    [
        "# comment\n\nA=1\nexport B= x=y \nC=\"quoted # text\"\nD='\n_E2=\n",
        "detach_key = \"ctrl-]\"\n[run]\nmemory = \"2G\"\ncpu = 1.5\nttl = 60\nproject = \"copy\"\n\
         mount = [\"/data:/mnt/data:rw\"]\nenv = [\"A\"]\nenv_file = [\"f\"]\npids = 5\nkeep = true\n\
         [run.labels]\nteam = \"red\"\n[profiles.work]\nmemory = \"4G\"\naccept_weaker = [\"amnesia\"]\n\
         [presets.mine]\nbinary = \"mine\"\n[tools.mine]\npaths = [\"~/mine\"]\n",
        "[run]\nmemory = 1e300\n",
        "ctrl-c,alt-enter,f12,shift-tab,x",
        "ctrl-\\",
        "ctrl-q",
        "150%",
        "/data:/mnt:rw",
        "key=[1, {\"a\": 2.5}]",
        "~/x:copy",
        "TOKEN=value",
        "ctrl-space,pageup,comma",
        "api.example.com:8443=Authorization:bearer:env:API_TOKEN",
        "a.example=X-Key:tok-123",
    ]
}
