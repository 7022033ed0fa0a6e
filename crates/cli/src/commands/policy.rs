//! `policy`: policy files.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::failure::{Outcome, Status};
use crate::output::{print, print_json};
use crate::policies::{self, Read};

/// Check files of policies about where a session may go
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile policy check work.cedar
  sessile policy schema
  sessile run --policy work.cedar -- claude

Policies are written in Cedar (https://docs.cedarpolicy.com). A file of them:
  // Everything of example.org, for all sandboxes of the session.
  @id(\"ours\")
  permit (principal, action, resource in Host::\"example.org\");
  // You are asked about the rest of the web.
  @id(\"web\") @decision(\"ask\")
  permit (principal == App::\"main\", action == Action::\"connect\", resource)
  when { [80, 443].contains(context.port) };
  // Only reading. Where requests cannot be seen, nothing is sent at all.
  @id(\"reads\")
  forbid (principal, action == Action::\"request\", resource == Host::\"api.example.org\")
  unless { context.method == \"GET\" && context.path like \"/v1/*\" };

What a policy forbids, no --allow and no answer allows. Where a policy and an option are both about
a connection, the stricter counts.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check files, together
    #[command(after_help = "Examples:\n  sessile policy check work.cedar home.cedar")]
    Check {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print what policies may speak of, as a schema of Cedar
    #[command(after_help = "Examples:\n  sessile policy schema > sessile.cedarschema")]
    Schema,
}

impl Args {
    /// Checks them, or prints the schema.
    pub fn run(self, json: bool) -> Outcome {
        match self.action {
            Action::Check { files } => {
                let Read { count, warnings, .. } = policies::read(&files, Path::new(""), Path::new(""))?;
                if json {
                    print_json(&serde_json::json!({ "policies": count, "warnings": warnings }))?;
                    return Ok(Status::OK);
                }
                for warning in warnings {
                    eprintln!("sessile: {warning}");
                }
                print(&format!("valid: {count} {}\n", if count == 1 { "policy" } else { "policies" }))?;
            }
            Action::Schema if json => print_json(&serde_json::json!({ "schema": sessile_policy::SCHEMA }))?,
            Action::Schema => print(sessile_policy::SCHEMA)?,
        }
        Ok(Status::OK)
    }
}
