//! `config`: the configuration file.

use std::path::Path;

use clap::Subcommand;

use crate::config;
use crate::failure::{Outcome, Status};
use crate::output::{print, print_json, table};
use crate::{policies, presets, startup, tools};

/// Look at the configuration file
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile config check

A config.toml, every part of it optional:
  detach_key = \"ctrl-]\"
  [run]                       # defaults of `run`, by its options' names
  memory = \"4G\"
  tools = true
  project = \"rw\"              # rw, ro, copy or none
  env = [\"LANG\"]              # passed on where set
  policy = [\"~/work.cedar\"]  # see `sessile policy --help`
  [profiles.risky]            # chosen by `run --profile risky`
  project = \"copy\"
  [presets.mytool]            # chosen by `run -- mytool`
  binary = \"mytool\"
  [tools.mine]                # a further set for --tools
  paths = [\"~/mine\"]
  bins = [\"~/mine/bin\"]")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check it, and print where it is and what it defines
    #[command(
        after_help = "Examples:\n  sessile config check\n  SESSILE_CONFIG=$PWD/new.toml sessile config check"
    )]
    Check,
}

impl Args {
    /// Checks it.
    pub fn run(self, json: bool) -> Outcome {
        let Action::Check = self.action;
        let path = startup::config_file()?;
        let config = config::load(&path)?;
        let presets: Vec<String> = presets::presets(&config.presets)?.into_keys().collect();
        let sets: Vec<String> = tools::sets(&config.tools)?.into_keys().collect();
        let profiles: Vec<String> = config.profiles.keys().map(ToString::to_string).collect();
        let home = startup::home().unwrap_or_default();
        let mut policy_files = Vec::new();
        for run in std::iter::once(&config.run).chain(config.profiles.values()) {
            let files = [&config.run.policy[..], &run.policy].concat();
            for warning in policies::read(&files, Path::new(""), &home)?.warnings {
                eprintln!("sessile: {warning}");
            }
            policy_files.extend(run.policy.iter().map(|p| p.display().to_string()));
        }
        let detach_key = config.detach_key.unwrap_or_default();
        if json {
            print_json(&serde_json::json!({
                "path": path, "exists": path.exists(), "detach_key": detach_key.name(),
                "profiles": profiles, "presets": presets, "tools": sets,
                "policies": policy_files,
            }))?;
            return Ok(Status::OK);
        }
        let listed = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(" ") };
        let state = if path.exists() { "valid" } else { "does not exist; defaults hold" };
        let rows = [
            ["file", &format!("{} ({state})", path.display())],
            ["detach key", detach_key.name()],
            ["profiles", &listed(&profiles)],
            ["presets", &listed(&presets)],
            ["tools", &listed(&sets)],
            ["policies", &listed(&policy_files)],
        ];
        print(&table(&rows.map(|r| r.map(str::to_owned).to_vec())))?;
        Ok(Status::OK)
    }
}
