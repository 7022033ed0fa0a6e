//! `protocol`: protocol files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use sessile_model::problem::ProblemKind;
use sessile_protocol::machine::{Protocol, Role, State};
use sessile_protocol::{
    Diagnostic, Judgement, Limits, NoImports, Outline, Source, Stage, check, check_all, module_name, outline,
};

use crate::failure::{Failure, Outcome, Status, render};
use crate::output::{counted, print, print_json, say, table};
use crate::protocols::shipped::{self, Shipped};
use crate::protocols::{self, File, Wanted, diagnostics, diagram, machine, svg};

/// Check and look at files of protocols: who may say what to whom, and in which order
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile protocol check talk.scr
  sessile protocol check --discipline scribble *.scr
  sessile protocol project talk.scr Agent --dot | dot -Tsvg > agent.svg
  sessile protocol explain talk.scr
  sessile protocol list

@NAME stands for a protocol that comes with sessile wherever a file does.

Protocols are written in Scribble (https://www.scribble.org). A file of them, talk.scr:
  module talk;
  global protocol Talk(role User, role Agent) {
      rec Round {
          prompt() from User to Agent;
          rec More {
              choice at Agent { part() from Agent to User; continue More; }
              or { done() from Agent to User; continue Round; }
          }
      }
  }")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The protocols that come with sessile
    #[command(after_help = "Examples:
  sessile protocol list
  sessile protocol explain @tool-approval
  sessile run --protocol @conversation --role User=operator --role Agent=app:main -- ./agent.sh")]
    List,
    /// Check every protocol of files, and of the files that they import
    #[command(after_help = "Examples:
  sessile protocol check talk.scr
  sessile protocol check --import-path ~/protocols talk.scr

A protocol is accepted, or refused with the place and the shortest run that shows what is wrong (exit
code 64), or a limit was reached first (71). A protocol that is `aux` is told only where it is refused.")]
    Check {
        /// The files; with #NAME one protocol alone
        #[arg(required = true, value_name = "FILE[#NAME]")]
        files: Vec<Wanted>,
        #[command(flatten)]
        how: How,
    },
    /// What one role does: a state machine
    #[command(after_help = "Examples:
  sessile protocol project talk.scr Agent
  sessile protocol project talk.scr Agent --dot | dot -Tsvg > agent.svg")]
    Project {
        /// The file, and where it has several the protocol
        #[arg(value_name = "FILE[#NAME]")]
        file: Wanted,
        /// The role
        role: String,
        /// Print a graph for Graphviz
        #[arg(long)]
        dot: bool,
        #[command(flatten)]
        how: How,
    },
    /// Who talks to whom, what each role does first, and a sequence diagram
    #[command(after_help = "Examples:
  sessile protocol explain talk.scr
  sessile protocol explain talk.scr --svg > talk.svg")]
    Explain {
        /// The file, and where it has several the protocol
        #[arg(value_name = "FILE[#NAME]")]
        file: Wanted,
        /// Print the diagram alone, as SVG
        #[arg(long)]
        svg: bool,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    /// What a protocol must be
    #[arg(long, value_enum, default_value = "complete")]
    discipline: Discipline,
    /// Look here too for modules that are imported; first beside the file
    #[arg(long, value_name = "FOLDER")]
    import_path: Vec<PathBuf>,
}

/// A discipline, as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Discipline {
    /// It can be implemented, whatever the queues hold
    Complete,
    /// As Scribble's own tool judges
    Scribble,
}

impl From<Discipline> for sessile_protocol::Discipline {
    fn from(discipline: Discipline) -> Self {
        match discipline {
            Discipline::Complete => Self::Complete,
            Discipline::Scribble => Self::Scribble,
        }
    }
}

impl Args {
    /// Checks or shows.
    pub fn run(self, json: bool) -> Outcome {
        match self.action {
            Action::List => list(json)?,
            Action::Check { files, how } => check_files(&files, &how, json)?,
            Action::Project { file: Wanted { path, protocol: name }, role, dot, how } => {
                let mut file = File::read(&path, &how.import_path)?;
                let Accepted { protocol, waiting } = how.accepted(&mut file, name.as_deref(), json)?;
                let found = protocol.roles.iter().position(|known| **known == *role);
                let role = found.map(|at| Role(at as u16)).ok_or_else(|| {
                    let detail = format!("{} has no role {role}", protocol.name);
                    Failure::new(ProblemKind::BadRequest, detail)
                        .hint(format!("there are {}", protocol.roles.join(", ")))
                })?;
                match (dot, json) {
                    (true, true) => print_json(&json!({ "dot": machine::dot(&protocol, &waiting, role) }))?,
                    (true, false) => print(&machine::dot(&protocol, &waiting, role))?,
                    (false, true) => print_json(&machine::described(&protocol, &waiting, role))?,
                    (false, false) => print(&machine::rows(&protocol, &waiting, role))?,
                }
            }
            Action::Explain { file: Wanted { path, protocol: name }, svg, how } => {
                let mut file = File::read(&path, &how.import_path)?;
                let accepted = how.accepted(&mut file, name.as_deref(), json)?;
                let found =
                    file.look(|source, loader| outline(source, loader, name.as_deref(), Limits::default()))?;
                let outline = found.map_err(|all| protocols::refused(file.name(), &all, json))?;
                match (svg, json) {
                    (true, true) => print_json(&json!({ "svg": svg::text(&outline) }))?,
                    (true, false) => print(&svg::text(&outline))?,
                    (false, true) => print_json(&described(&outline, &accepted))?,
                    (false, false) => print(&explained(&outline, &accepted))?,
                }
            }
        }
        Ok(Status::OK)
    }
}

fn list(json: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut all = Vec::new();
    for Shipped { name, file, text, about } in shipped::ALL {
        let source = Source { name: file, text };
        let found = outline(&source, &mut NoImports, None, Limits::default());
        let roles = found.map(|outline| outline.roles.iter().map(ToString::to_string).collect::<Vec<_>>());
        let roles = roles.unwrap_or_default();
        rows.push(vec![format!("@{name}"), roles.join(", "), about.to_owned()]);
        all.push(json!({ "name": format!("@{name}"), "roles": roles, "about": about, "text": text }));
    }
    if json { print_json(&all) } else { print(&table(&rows)) }
}

/// A protocol that can be held to.
struct Accepted {
    protocol: Protocol,
    /// Where a role may wait although nothing needs to come.
    waiting: Vec<(Role, State)>,
}

impl How {
    fn accepted(&self, file: &mut File, name: Option<&str>, json: bool) -> Result<Accepted, Failure> {
        let discipline = self.discipline.into();
        let found = file.look(|source, loader| check(source, loader, name, discipline, Limits::default()))?;
        match found {
            Ok((protocol, report)) => Ok(Accepted { protocol, waiting: report.waiting }),
            Err(all) => Err(protocols::refused(file.name(), &all, json)),
        }
    }
}

/// What became of a file: what is wrong with its names, or a judgement of each protocol.
type Judged = Result<Vec<Judgement>, Vec<Diagnostic>>;

fn check_files(files: &[Wanted], how: &How, json: bool) -> Result<(), Failure> {
    let mut judged = Vec::with_capacity(files.len());
    // The others are judged all the same.
    let mut unread = Vec::new();
    for wanted in files {
        match judge(wanted, how) {
            Ok(found) => judged.push(found),
            Err(Failure::Problem(problem)) => unread.push(problem),
            Err(Failure::ClosedPipe) => return Err(Failure::ClosedPipe),
        }
    }
    if json {
        print_json(&judged.iter().map(|(file, found)| in_json(file, found)).collect::<Vec<_>>())?;
    } else {
        print(&verdicts(&judged))?;
        judged.iter().flat_map(|(_, found)| problems(found)).for_each(protocols::tell);
    }
    let all: Vec<&Diagnostic> = judged.iter().flat_map(|(_, found)| problems(found)).collect();
    let last = if all.is_empty() { unread.pop() } else { None };
    unread.iter().for_each(|problem| say(render(problem, json).trim_end()));
    if let Some(problem) = last {
        return Err(Failure::Problem(problem));
    }
    if all.is_empty() {
        return Ok(());
    }
    let undecided = all.iter().filter(|problem| diagnostics::is_undecided(problem)).count();
    let detail = match (all.len() - undecided, undecided) {
        (0, undecided) => {
            format!("{} not decided", counted(undecided as u64, "protocol was", "protocols were"))
        }
        (errors, 0) => counted(errors as u64, "error", "errors"),
        (errors, undecided) => {
            format!("{}, {undecided} not decided", counted(errors as u64, "error", "errors"))
        }
    };
    Err(protocols::refusal(detail, undecided == all.len()))
}

fn judge(wanted: &Wanted, how: &How) -> Result<(String, Judged), Failure> {
    let mut file = File::read(&wanted.path, &how.import_path)?;
    let (discipline, limits) = (how.discipline.into(), Limits::default());
    let found = match &wanted.protocol {
        None => file.look(|source, loader| check_all(source, loader, discipline, limits))?,
        Some(name) => {
            let found = file.look(|source, loader| check(source, loader, Some(name), discipline, limits))?;
            let module = module_name(file.text()).unwrap_or_default();
            found.map(|_| vec![Judgement { module, protocol: name.clone(), problem: None }])
        }
    };
    Ok((file.name().to_owned(), found))
}

fn problems(judged: &Judged) -> Vec<&Diagnostic> {
    match judged {
        Ok(judgements) => judgements.iter().filter_map(|judgement| judgement.problem.as_ref()).collect(),
        Err(all) => all.iter().collect(),
    }
}

fn verdict(problem: Option<&Diagnostic>) -> &'static str {
    match problem {
        None => "accepted",
        Some(problem) if diagnostics::is_undecided(problem) => "unknown",
        Some(_) => "refused",
    }
}

/// A row for each protocol, and for each file that cannot be read as one.
fn verdicts(judged: &[(String, Judged)]) -> String {
    let mut rows = Vec::new();
    for (file, found) in judged {
        match found {
            Err(all) => rows.push(vec![file.clone(), "-".to_owned(), verdict(all.first()).to_owned()]),
            Ok(all) if all.is_empty() => {
                rows.push(vec![file.clone(), "-".to_owned(), "nothing to check".to_owned()])
            }
            Ok(all) => rows.extend(all.iter().map(|judgement| {
                let name = format!("{}.{}", judgement.module, judgement.protocol);
                vec![file.clone(), name, verdict(judgement.problem.as_ref()).to_owned()]
            })),
        }
    }
    table(&rows)
}

fn in_json(file: &str, found: &Judged) -> Value {
    let judgement = |judgement: &Judgement| {
        json!({
            "module": judgement.module,
            "protocol": judgement.protocol,
            "verdict": verdict(judgement.problem.as_ref()),
            "problem": judgement.problem.as_ref().map(diagnostics::described),
        })
    };
    match found {
        Ok(all) => {
            json!({ "file": file, "protocols": all.iter().map(judgement).collect::<Vec<_>>(), "problems": [] })
        }
        Err(all) => {
            let problems: Vec<Value> = all.iter().map(diagnostics::described).collect();
            json!({ "file": file, "protocols": [], "problems": problems })
        }
    }
}

/// The messages of each pair of roles, in the order in which the file has them.
fn channels(outline: &Outline) -> Vec<((Role, Role), Vec<&str>)> {
    fn visit<'a>(body: &'a [Stage], found: &mut BTreeMap<(Role, Role), Vec<&'a str>>) {
        for stage in body {
            match stage {
                Stage::Meeting { from, to, message, .. } => {
                    let messages = found.entry((*from, *to)).or_default();
                    if !message.is_empty() && !messages.contains(&&**message) {
                        messages.push(message);
                    }
                }
                Stage::Choice { branches, .. } => branches.iter().for_each(|branch| visit(branch, found)),
                Stage::Round { body, .. } => visit(body, found),
                Stage::Again { .. } => {}
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(&outline.body, &mut found);
    found.into_iter().collect()
}

/// What a role does in its first state.
fn firsts(protocol: &Protocol, role: usize) -> Vec<String> {
    let Some(first) = protocol.machines[role].states.first() else { return Vec::new() };
    first.steps.iter().map(|step| machine::step(protocol, first, step)).collect()
}

fn explained(outline: &Outline, accepted: &Accepted) -> String {
    let Accepted { protocol, waiting } = accepted;
    let name = |role: Role| outline.roles[usize::from(role.0)].to_string();
    let mut text = format!("{}.{}\n\nRoles, and what each does first:\n", outline.module, outline.protocol);
    let roles: Vec<Vec<String>> = (0..outline.roles.len())
        .map(|role| {
            let mut does = firsts(protocol, role).join(", or ");
            if waiting.iter().any(|(waits, _)| usize::from(waits.0) == role) {
                does += " (it may be left waiting when all others are done)";
            }
            vec![format!("  {}", outline.roles[role]), does]
        })
        .collect();
    text += &table(&roles);
    text += "\nWho says what to whom:\n";
    let rows: Vec<Vec<String>> = channels(outline)
        .into_iter()
        .map(|((from, to), messages)| vec![format!("  {} → {}", name(from), name(to)), messages.join(", ")])
        .collect();
    text + &table(&rows) + "\n" + &diagram::text(outline)
}

fn described(outline: &Outline, accepted: &Accepted) -> Value {
    let Accepted { protocol, waiting } = accepted;
    let name = |role: Role| &outline.roles[usize::from(role.0)];
    let roles: Vec<Value> = (0..outline.roles.len())
        .map(|role| {
            let waits = waiting.iter().any(|(waits, _)| usize::from(waits.0) == role);
            let first = firsts(protocol, role);
            json!({ "role": outline.roles[role], "first": first, "may_be_left_waiting": waits })
        })
        .collect();
    let channels: Vec<Value> = channels(outline)
        .into_iter()
        .map(|((from, to), messages)| json!({ "from": name(from), "to": name(to), "messages": messages }))
        .collect();
    json!({
        "module": outline.module,
        "protocol": outline.protocol,
        "roles": roles,
        "channels": channels,
        "diagram": diagram::text(outline),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::diagram::tests::TALK;

    fn how() -> How {
        How { discipline: Discipline::Complete, import_path: Vec::new() }
    }

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_protocol_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::read(&file(&folder, "talk.scr", TALK), &[]).unwrap();
        let accepted = how().accepted(&mut file, None, false).unwrap();
        let outline =
            file.look(|source, loader| outline(source, loader, None, Limits::default())).unwrap().unwrap();
        insta::assert_snapshot!(explained(&outline, &accepted), @r"
        talk.Talk

        Roles, and what each does first:
          User   sends prompt(Text) to Agent
          Agent  receives prompt(Text) from User

        Who says what to whom:
          User → Agent  prompt(Text)
          Agent → User  part(Text), done(), sorry()

                               User                             Agent
        ┌─ round 1               │                                │
        │                        ├─ prompt(Text) ────────────────▶│
        │ ┌─ round 2             │                                │
        │ │ ┌─ Agent chooses     │                                │
        │ │ │                    │◀─────── part(Text) within 30s ─┤
        │ │ │ ↑ round 2 again    │                                │
        │ │ ├─ or                │                                │
        │ │ │                    │◀─────────── done() within 30s ─┤
        │ │ │ ↑ round 1 again    │                                │
        │ │ ├─ or                │                                │
        │ │ │                    │◀─── sorry() when time is over ─┤
        │ │ └─                   │                                │
        │ └─                     │                                │
        └─                       │                                │
        ");
        let json = described(&outline, &accepted);
        assert_eq!(json["channels"][1]["messages"], json!(["part(Text)", "done()", "sorry()"]));
    }

    #[test]
    fn every_file_and_protocol_has_its_verdict() {
        let good = Judgement { module: "a".into(), protocol: "Good".into(), problem: None };
        let source = sessile_protocol::Source { name: "b.scr", text: "module b; global" };
        let wrong = check_all(
            &source,
            &mut sessile_protocol::NoImports,
            sessile_protocol::Discipline::Complete,
            Limits::default(),
        );
        let judged = [
            ("a.scr".to_owned(), Ok(vec![good])),
            ("b.scr".to_owned(), wrong),
            ("c.scr".to_owned(), Ok(Vec::new())),
        ];
        insta::assert_snapshot!(verdicts(&judged), @r"
        a.scr  a.Good  accepted
        b.scr  -       refused
        c.scr  -       nothing to check
        ");
        assert_eq!(in_json("b.scr", &judged[1].1)["problems"][0]["code"], "P002");
    }

    #[test]
    fn a_limit_that_is_reached_is_no_mistake_of_the_file() {
        let kind = |undecided| match protocols::refusal(String::new(), undecided) {
            Failure::Problem(problem) => problem.kind.exit_code(),
            Failure::ClosedPipe => 0,
        };
        assert_eq!((kind(false), kind(true)), (64, 71));
    }
}
