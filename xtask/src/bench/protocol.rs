//! `cargo xtask bench protocol`.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::house::House;
use super::measure::Table;
use super::session;
use crate::command;

/// What a row is to be at most, in nanoseconds, and whether it may allocate.
const TARGETS: [(&str, f64, bool); 4] = [
    ("a monitor step", 30.0, false),
    ("send, queue and receive", 100.0, false),
    ("opening from a compiled plan", 1000.0, true),
    ("checking all", 1e9, true),
];
/// Where the files lie that the reference tool has judged, from the repository; `SESSILE_CORPORA` names another.
const CORPORA: &str = "../shared/corpora";
/// How often a line is answered.
const ROUNDS: &str = "2000";
const PROTOCOL: &str = "module bench;
type <text> \"text\" from \"bench\" as Text;
global protocol Bench(role User, role Agent) {
    rec Next { ping(Text) from User to Agent; pong(Text) from Agent to User; continue Next; }
}
";

/// Measures what holding sessions to their protocol costs, and prints the table.
///
/// # Errors
/// When something cannot be built or run.
pub fn run() -> Result<()> {
    let mut table = Table::default();
    eprintln!("bench: 10^8 events and more");
    let mut speed = command::example("sessile-protocol", "speed");
    match corpus() {
        Some(folder) => drop(speed.arg(folder)),
        None => eprintln!("skipped: no scribble corpus (set SESSILE_CORPORA to the folder that has it)"),
    }
    let printed = command::read(&mut speed)?;
    for line in printed.lines() {
        let mut words = line.split('\t');
        let mut next = || words.next().context("the example says something else");
        let (name, nanoseconds, allocations) = (next()?, next()?, next()?);
        let is_row = |row: &str| *row == *name || row == "checking all" && name.starts_with(row);
        let target = TARGETS.iter().find(|(row, ..)| is_row(row)).map_or(String::new(), |(_, most, may)| {
            format!("at most {}{}", time(*most), if *may { "" } else { ", 0 allocations" })
        });
        table.add(name, format!("{}, {allocations} allocations", time(nanoseconds.parse()?)), &target);
    }
    lines(&mut table)?;
    print!("{}", table.render());
    Ok(())
}

/// A time that is readable, however short.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        nanoseconds if nanoseconds < 1e4 => format!("{nanoseconds:.1} ns"),
        nanoseconds if nanoseconds < 1e7 => format!("{:.1} µs", nanoseconds / 1e3),
        nanoseconds => format!("{:.1} ms", nanoseconds / 1e6),
    }
}

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("SESSILE_CORPORA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(CORPORA), PathBuf::from);
    Some(folder.join("scribble")).filter(|folder| folder.is_dir())
}

/// Lines between real processes, by the sockets that they are given.
fn lines(table: &mut Table) -> Result<()> {
    eprintln!("bench: lines from end to end");
    let program = session::build()?;
    let example =
        ["build", "--release", "--locked", "--quiet", "--package", "sessile-keeper", "--example", "lines"];
    command::run(command::cargo().args(example))?;
    let house = House::new(&program, "lines")?;
    let client = house.project().join("lines");
    let built = program.parent().context("the program lies in a folder")?.join("examples/lines");
    std::fs::copy(built, &client)?;
    std::fs::write(house.project().join("bench.scr"), PROTOCOL)?;
    for signing in ["signed", "unsigned"] {
        for place in ["inside", "outside"] {
            let nanoseconds = talk(&house, &client, signing, place)?;
            table.add(format!("a line from end to end, {place}, {signing}"), time(nanoseconds), "");
        }
    }
    Ok(())
}

/// Has two talk in a session of their own; the nanoseconds of a line that was said, heard and taken.
fn talk(house: &House, client: &Path, signing: &str, place: &str) -> Result<f64> {
    let name = format!("{place}-{signing}");
    let roles = match place {
        "inside" => ["User=app:main", "Agent=app:second"],
        _ => ["User=operator", "Agent=operator:second"],
    };
    let mut run = vec!["run", "--detach", "--name", &name, "--protocol", "bench.scr"];
    run.extend(roles.iter().flat_map(|role| ["--role", role]));
    if signing == "unsigned" {
        run.push("--unsigned");
    }
    run.extend(["--", "sleep", "infinity"]);
    house.read(&run)?;
    let socket = house.runtime().join("daemon.sock");
    let start = |role: &str, app: &str| -> Result<Child> {
        let mut command = if place == "inside" {
            house.sessile(&["exec", &name, "--app", app, "--", "./lines", "inside", signing, role, ROUNDS])
        } else {
            let mut command = std::process::Command::new(client);
            command.args(["outside", signing, role, ROUNDS]).arg(&socket).arg(&name);
            command
        };
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
    };
    let agent = start("Agent", "second")?;
    let user = start("User", "main")?.wait_with_output()?;
    ensure!(user.status.success(), "who says lines failed");
    ensure!(agent.wait_with_output()?.status.success(), "who answers them failed");
    house.read(&["end", &name, "--grace", "0s"])?;
    Ok(String::from_utf8_lossy(&user.stdout).trim().parse()?)
}
