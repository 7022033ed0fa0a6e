//! `cargo xtask bench session`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::fleet;
use super::house::{House, first_byte};
use super::measure::{Contender, Table, medians, millis};
use super::peers::{self, Bundle, Mount, Signal};
use crate::{command, setup};

/// Builds, installs the peers, measures everything and prints the table.
///
/// # Errors
/// When something cannot be built, installed or run.
pub fn run(rounds: usize, sessions: usize) -> Result<()> {
    setup::run(setup::For::Bench)?;
    let program = build()?;
    let mut table = Table::default();
    eprintln!("bench: starting programs ({rounds} rounds each)");
    start(&program, rounds, &mut table)?;
    eprintln!("bench: {sessions} sessions at once");
    fleet::measure(&program, sessions, &mut table)?;
    eprintln!("bench: wiping memory");
    scrub(&program, &mut table)?;
    print!("{}", table.render());
    Ok(())
}

/// The program as users have it.
///
/// # Errors
/// When it does not build.
pub fn build() -> Result<PathBuf> {
    command::run(command::cargo().args(["build", "--release", "--locked", "--bin", "sessile"]))?;
    Ok(target_folder()?.join("release/sessile"))
}

fn target_folder() -> Result<PathBuf> {
    let metadata = command::read(command::cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    Ok(PathBuf::from(metadata["target_directory"].as_str().context("Cargo names no target folder")?))
}

/// Time to an app's first byte: sealed sessions and sandboxes, then terminals that seal nothing.
fn start(program: &Path, rounds: usize, table: &mut Table) -> Result<()> {
    let house = House::new(program, "start")?;
    let project = house.project();
    let shown = command::read(&mut house.sessile(&["run", "--", "cat", "/proc/self/mountinfo"]))?;
    let mounts = Mount::all(&shown);
    let mut contenders = vec![
        Contender {
            name: "sessile run",
            once: Box::new(|| {
                let [name, argument] = peers::COMMAND;
                first_byte(house.sessile(&["run", "--", name, argument]))
            }),
        },
        Contender { name: "bwrap", once: Box::new(|| first_byte(peers::bubblewrap(&project, &mounts))) },
    ];
    if command::is_root() {
        let mut bundle = Bundle::new(&house.peers(), &project, &mounts)?;
        contenders.push(Contender { name: "runc run", once: Box::new(move || first_byte(bundle.run())) });
    }
    let launcher = launcher()?;
    if let Some(launcher) = launcher {
        let folder = house.peers().join("storage");
        std::fs::create_dir_all(&folder)?;
        let project = project.clone();
        let once = move || {
            let mut command = Command::new(&launcher);
            command.arg("--folder").arg(&folder).arg("--project").arg(&project);
            if command::is_root() {
                command.args(["--base", SUBORDINATE_BASE]);
            }
            command.arg(peers::COMMAND.join(" "));
            first_byte(command)
        };
        contenders.push(Contender { name: "sandbox alone", once: Box::new(once) });
    }
    let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
    let times = medians(&mut contenders, rounds)?;
    drop(contenders);
    for (name, &time) in names.iter().zip(&times) {
        table.add(format!("first byte: {name}"), millis(time), "");
    }
    let of = |wanted: &str| names.iter().position(|name| *name == wanted).map(|at| times[at]);
    let mut ratio = |ours: &str, peer: &str, floor: &str| match (of(ours), of(peer)) {
        (Some(a), Some(b)) => table.add_ratio(format!("{ours} / {peer}"), a, b, floor),
        (None, _) | (_, None) => table.add(format!("{ours} / {peer}"), "not available", floor),
    };
    ratio("sessile run", "bwrap", "≤ 1.5x");
    ratio("sessile run", "runc run", "≤ 0.4x");
    ratio("sandbox alone", "bwrap", "≤ 0.8x");
    terminals(&house, rounds, table)
}

/// First of the host ids that a sandbox alone takes as root: far from any that are given out.
const SUBORDINATE_BASE: &str = "1900000000";

/// The sandbox crate's own example, where it has one.
fn launcher() -> Result<Option<PathBuf>> {
    if !command::root().join("crates/sandbox/examples/launch.rs").exists() {
        return Ok(None);
    }
    let package = ["build", "--release", "--locked", "--package", "sessile-sandbox", "--example", "launch"];
    command::run(command::cargo().args(package))?;
    Ok(Some(target_folder()?.join("release/examples/launch")))
}

fn terminals(house: &House, rounds: usize, table: &mut Table) -> Result<()> {
    let folder = house.peers();
    let mut tmux_signal = Signal::new(folder.join("tmux.signal"))?;
    let mut dtach_signal = Signal::new(folder.join("dtach.signal"))?;
    let socket = folder.join("tmux.socket");
    let tmux = |arguments: &[&str]| {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&socket).args(["-f", "/dev/null"]).args(arguments);
        command
    };
    command::read(&mut tmux(&["new-session", "-d", "-s", "kept", "sleep infinity"]))?;
    let given = tmux_signal.given();
    let mut opened = 0;
    let mut contenders = [
        Contender {
            name: "tmux",
            once: Box::new(|| tmux_signal.time(&mut tmux(&["new-session", "-d", &given]))),
        },
        Contender {
            name: "dtach",
            once: Box::new(|| {
                opened += 1;
                let mut command = Command::new("dtach");
                command.arg("-n").arg(folder.join(format!("dtach.{opened}")));
                command.args(["sh", "-c", &dtach_signal.given()]);
                dtach_signal.time(&mut command)
            }),
        },
    ];
    let times = medians(&mut contenders, rounds);
    drop(contenders);
    command::read(&mut tmux(&["kill-server"]))?;
    for (name, time) in ["tmux (not sealed)", "dtach (not sealed)"].into_iter().zip(times?) {
        table.add(format!("first byte: {name}"), millis(time), "");
    }
    Ok(())
}

/// Rate of overwriting an app's heap, and what a huge mapping without pages costs.
fn scrub(program: &Path, table: &mut Table) -> Result<()> {
    let house = House::new(program, "scrub")?;
    let full = "b = b'x' * (1 << 29)\nprint('ready', flush=True)\nimport time\ntime.sleep(1e6)";
    let (bytes, took) = scrubbed(&house, full)?;
    let rate = bytes as f64 / took.as_secs_f64().max(f64::EPSILON) / f64::from(1 << 30);
    table.add("scrub of a 512 MiB heap", format!("{rate:.1} GiB/s"), "≥ 3.5 GiB/s");
    let sparse = "import mmap, time\n\
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000\n\
        m = mmap.mmap(-1, 100 << 30, flags=flags)\nm[0] = 1\n\
        print('ready', flush=True)\ntime.sleep(1e6)";
    let (_, took) = scrubbed(&house, sparse)?;
    table.add("scrub of a sparse 100 GiB mapping", millis(took), "≤ 50 ms");
    Ok(())
}

/// Runs a Python program until it says that it is ready, ends its session, and reads from the
/// receipt how many bytes of memory were overwritten, and in which time.
fn scrubbed(house: &House, python: &str) -> Result<(u64, Duration)> {
    house.read(&["run", "--detach", "--name", "scrub", "--", "python3", "-c", python])?;
    house.read(&["wait", "scrub", "--pattern", "ready", "--timeout", "60s"])?;
    let id = house.json(&["show", "scrub", "--json"])?["id"].as_str().context("no id")?.to_owned();
    house.read(&["end", "scrub", "--grace", "0s"])?;
    let envelope = house.json(&["receipt", &id, "--json"])?;
    let payload = STANDARD.decode(envelope["payload"].as_str().context("the receipt has no payload")?)?;
    let receipt: Value = serde_json::from_slice(&payload)?;
    let steps = receipt["steps"].as_array().context("the receipt has no steps")?;
    let mut sum = (0, Duration::ZERO);
    for step in steps.iter().filter(|step| step["step"] == "scrub_memory") {
        sum.0 += step["evidence"]["bytes"].as_u64().unwrap_or(0);
        sum.1 += Duration::from_micros(step["took_us"].as_u64().unwrap_or(0));
    }
    Ok(sum)
}
