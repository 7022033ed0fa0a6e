//! `net`: where a session's packets go.

use std::path::PathBuf;
use std::time::Duration;

use sessile_model::api::{Flow, Traffic, Verdict};
use sessile_model::problem::ProblemKind;
use sessile_model::quantity::ByteSize;

use crate::client::Daemon;
use crate::config;
use crate::failure::{Failure, Outcome, Status};
use crate::hosts;
use crate::output::{print, print_json, printable, say, table};
use crate::selector::SessionSelector;
use crate::startup;

/// How often `--follow` looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// Show where a session's packets go
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile net amber                        connections, what was decided, by which rule
  sessile net amber --follow               each connection as it begins and ends
  sessile net --presets                    what @github, @npm and the like open")]
pub struct Args {
    /// The session
    #[arg(required_unless_present = "presets")]
    session: Option<SessionSelector>,
    /// Go on, with a line for each connection that begins or ends
    #[arg(long, short = 'f', conflicts_with = "presets")]
    follow: bool,
    /// Show the lists of hosts for --allow
    #[arg(long, conflicts_with = "session")]
    presets: bool,
}

impl Args {
    /// Prints it.
    pub fn run(self, json: bool) -> Outcome {
        let Some(session) = self.session else { return presets(json) };
        let daemon = Daemon::reach()?;
        let path = session.path("/net");
        if self.follow {
            return follow(&daemon, &path, json);
        }
        let traffic: Traffic = daemon.get(&path)?;
        if json {
            print_json(&traffic)?;
        } else {
            print(&format!("route {}\n", traffic.route))?;
            if traffic.flows.is_empty() {
                say("no connections yet");
            } else {
                print(&shown(&traffic.flows))?;
            }
            if traffic.refused_packets > 0 {
                print(&format!(
                    "{} packets refused that were neither TCP nor DNS\n",
                    traffic.refused_packets
                ))?;
            }
        }
        Ok(Status::OK)
    }
}

/// Prints a line (or, with JSON, a document on a line) whenever a connection is new or differs in
/// more than its figures, until the session is over.
fn follow(daemon: &Daemon, path: &str, json: bool) -> Outcome {
    let mut known: Vec<(u64, Option<Verdict>, bool)> = Vec::new();
    loop {
        let traffic: Traffic = match daemon.get(path) {
            Ok(traffic) => traffic,
            // It is over.
            Err(Failure::Problem(p))
                if matches!(p.kind, ProblemKind::Conflict | ProblemKind::NotFound) && !known.is_empty() =>
            {
                return Ok(Status::OK);
            }
            Err(failure) => return Err(failure),
        };
        for flow in &traffic.flows {
            let state = (flow.number, flow.verdict, flow.open);
            if known.contains(&state) {
                continue;
            }
            known.retain(|(number, ..)| *number != flow.number);
            known.push(state);
            if json {
                let line = serde_json::to_string(flow)
                    .map_err(|e| Failure::new(ProblemKind::Internal, format!("cannot write JSON: {e}")))?;
                print(&(line + "\n"))?;
            } else {
                print(&(row(flow).join("  ").trim_end().to_owned() + "\n"))?;
            }
        }
        let oldest = traffic.flows.first().map_or(0, |flow| flow.number);
        known.retain(|(number, ..)| *number >= oldest);
        std::thread::sleep(INTERVAL);
    }
}

fn shown(flows: &[Flow]) -> String {
    let head = ["#", "APP", "HOST", "DECISION", "SENT", "RECEIVED", "RATE", "STATE"].map(str::to_owned);
    let rows: Vec<Vec<String>> = std::iter::once(head.to_vec()).chain(flows.iter().map(row)).collect();
    table(&rows)
}

fn row(flow: &Flow) -> Vec<String> {
    let decision = match flow.verdict {
        Some(Verdict::Allow) => format!("allowed ({})", printable(&flow.by)),
        Some(Verdict::Deny) => format!("denied ({})", printable(&flow.by)),
        None => "asked".to_owned(),
    };
    let state = match (&flow.problem, flow.open) {
        (Some(problem), _) => printable(problem),
        (None, true) => "open".to_owned(),
        (None, false) => "ended".to_owned(),
    };
    let bytes = |n: u64| ByteSize(n).to_string();
    let rate = if flow.open && flow.rate > 0 { format!("{}/s", bytes(flow.rate)) } else { String::new() };
    vec![
        flow.number.to_string(),
        flow.app.to_string(),
        format!("{}:{}", printable(&flow.host), flow.port),
        decision,
        bytes(flow.sent),
        bytes(flow.received),
        rate,
        state,
    ]
}

fn presets(json: bool) -> Outcome {
    let config = config::load(&startup::config_file()?)?;
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let lists = hosts::lists(&config.hosts, &home)?;
    if json {
        print_json(&lists)?;
    } else {
        let rows = lists.iter().flat_map(|(name, targets)| {
            targets.iter().enumerate().map(move |(n, target)| {
                vec![if n == 0 { format!("@{name}") } else { String::new() }, target.to_string()]
            })
        });
        print(&table(&rows.collect::<Vec<_>>()))?;
    }
    Ok(Status::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessile_model::{AppName, Timestamp};

    #[test]
    fn connections_are_shown_with_what_decided() {
        let flow = |number, verdict, by: &str, open, problem: Option<&str>| Flow {
            number,
            app: AppName::main(),
            host: "api.example.com".into(),
            port: 443,
            verdict,
            by: by.into(),
            opened_at: Timestamp::from_millis(0),
            open,
            sent: 1024,
            received: 3 << 20,
            rate: 2048,
            problem: problem.map(str::to_owned),
        };
        let flows = [
            flow(1, Some(Verdict::Allow), "allow *.example.com", true, None),
            flow(2, Some(Verdict::Deny), "no rule allows it", false, None),
            flow(3, None, "", true, None),
            flow(4, Some(Verdict::Allow), "answered", false, Some("no answer in time")),
        ];
        insta::assert_snapshot!(shown(&flows), @r"
        #  APP   HOST                 DECISION                       SENT   RECEIVED  RATE     STATE
        1  main  api.example.com:443  allowed (allow *.example.com)  1 KiB  3 MiB     2 KiB/s  open
        2  main  api.example.com:443  denied (no rule allows it)     1 KiB  3 MiB              ended
        3  main  api.example.com:443  asked                          1 KiB  3 MiB     2 KiB/s  open
        4  main  api.example.com:443  allowed (answered)             1 KiB  3 MiB              no answer in time
        ");
    }
}
