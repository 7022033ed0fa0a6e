//! Many sessions at once: opening, holding, finding again and ending them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::house::{House, kill};
use super::measure::{Table, mebibytes, median, millis};
use super::processes;

const APP: [&str; 2] = ["/bin/sleep", "infinity"];
/// Rounds of what kills a process of ours.
const ROUNDS: usize = 5;

/// Opens, weighs, kills and ends, and adds what it saw to the table.
///
/// # Errors
/// When a command fails or a session gets lost.
pub fn measure(program: &Path, sessions: usize, table: &mut Table) -> Result<()> {
    let empty = House::new(program, "empty")?;
    let house = House::new(program, "fleet")?;
    // A session before the measured ones starts the daemon and warms what all of them share.
    house.read(&["run", "--detach", "--name", "warm", "--", APP[0], APP[1]])?;

    let before = processes::used_bytes()?;
    let start = Instant::now();
    for number in 0..sessions {
        house.read(&["run", "--detach", "--name", &format!("s{number}"), "--", APP[0], APP[1]])?;
    }
    table.add(format!("{sessions} sessions opened"), millis(start.elapsed()), "≤ 3 s");
    weigh(&house, sessions, before, table)?;
    adopt(&house, &empty, sessions + 1, table)?;
    replace_keeper(&house, table)?;

    let took = house.time(&["end", "--all", "--grace", "1s"])?;
    table.add(format!("{sessions} sessions ended with wipe"), millis(took), "≤ 3 s");
    ensure!(open(&house)? == 0, "sessions are left after `end --all`");
    Ok(())
}

fn weigh(house: &House, sessions: usize, before: u64, table: &mut Table) -> Result<()> {
    let per_session = |bytes: f64| mebibytes(bytes / sessions as f64);
    let used = processes::used_bytes()? as f64 - before as f64;
    match processes::held(&house.runtime()) {
        Ok(held) => {
            let warm = (sessions + 1) as f64 / sessions as f64;
            let (ours, apps) = (held.ours_bytes as f64 / warm, held.apps_bytes as f64 / warm);
            table.add("idle session: our processes", per_session(ours), "");
            table.add("idle session: our processes and kernel", per_session(used - apps), "≤ 1.3 MiB");
        }
        Err(error) => table.add("idle session: our processes", format!("not available ({error:#})"), ""),
    }
    table.add("idle session: everything, its app too", per_session(used), "");
    let daemon = processes::resident_bytes(house.daemon()?)?;
    table.add("daemon, resident", mebibytes(daemon as f64), "≤ 15 MiB");
    Ok(())
}

/// Kills the daemon and times the command that starts the next one, here and where there is
/// no session to find: the difference is what finding them costs.
fn adopt(house: &House, empty: &House, expected: usize, table: &mut Table) -> Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    empty.read(&["ls", "--json"])?;
    for _ in 0..ROUNDS {
        for (house, times) in [house, empty].into_iter().zip(&mut times) {
            kill(house.daemon()?)?;
            times.push(house.time(&["ls", "--json"])?);
        }
    }
    ensure!(open(house)? == expected, "a session was lost with the daemon");
    let [with, without] = times.map(median);
    table.add("daemon killed: `ls` answers with all", millis(with), "");
    table.add("daemon killed: `ls` answers, no session", millis(without), "");
    table.add("daemon killed: finding them all", millis(with.saturating_sub(without)), "≤ 50 ms");
    Ok(())
}

fn replace_keeper(house: &House, table: &mut Table) -> Result<()> {
    let id = house.json(&["show", "warm", "--json"])?["id"].as_str().context("no id")?.to_owned();
    let (mut replaced, mut live) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        live.push(house.time(&["screen", "warm"])?);
        kill(processes::part("keeper", &id, &house.runtime())?)?;
        replaced.push(house.time(&["screen", "warm"])?);
    }
    let [replaced, live]: [Duration; 2] = [replaced, live].map(median);
    table.add("keeper killed: `screen` answers", millis(replaced), "");
    table.add("keeper killed: its replacement", millis(replaced.saturating_sub(live)), "≤ 30 ms");
    Ok(())
}

fn open(house: &House) -> Result<usize> {
    let listed = house.json(&["ls", "--json"])?;
    let records = listed.as_array().context("`ls --json` printed no array")?;
    let is_open = |record: &&Value| record["state"] != "closed";
    Ok(records.iter().filter(is_open).count())
}
