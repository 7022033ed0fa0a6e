//! What a terminal costs that nobody looks at.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::multiplexers::{Kind, Multiplexer};
use super::window::Window;
use crate::bench::account::Account;
use crate::bench::measure::Table;

const TERMINALS: usize = 20;
const SCRIPT: &str = "seq 1000; exec sleep 1000000";
/// Between two looks at the account.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks until memory is taken for settled, whatever else goes on.
const LOOKS: usize = 20;
/// What it may differ by between two looks, in bytes.
const STEADY: u64 = 256 << 10;

/// What one terminal takes, in bytes.
#[derive(Clone, Copy, Default)]
struct Weight {
    /// Proportional set sizes of all its processes, with the program in it.
    processes: f64,
    /// Of those, our own processes'.
    ours: f64,
    /// By the account: with what the kernel holds for them.
    used: f64,
}

/// Holds some terminals with 1,000 lines each and adds rows for each contender.
///
/// # Errors
/// When a terminal cannot be started or weighed.
pub fn measure(multiplexers: &[Multiplexer<'_>], account: &Account, table: &mut Table) -> Result<()> {
    let mut bare = Weight::default();
    for multiplexer in multiplexers {
        let name = multiplexer.name();
        let weight = weigh(multiplexer, account, |number| open(multiplexer, &format!("idle{number}")))?;
        let what = match multiplexer.kind {
            Kind::Sessile => format!("idle, 1,000 lines: {name}, with its sandbox"),
            Kind::Raw | Kind::Screen | Kind::Tmux | Kind::Dtach | Kind::Shpool => {
                format!("idle, 1,000 lines: {name}")
            }
        };
        table.add(format!("{what}: processes"), kibibytes(weight.processes), "");
        table.add(format!("  {}", account.scope()), kibibytes(weight.used), "");
        match multiplexer.kind {
            Kind::Raw => bare = weight,
            Kind::Sessile => {
                let pipes = weigh(multiplexer, account, |_| without_terminal(multiplexer))?;
                // The processes that hold a terminal are no part of its sandbox.
                let apart = weight.used - (pipes.used - pipes.ours) + bare.used;
                let what = "  less a sandbox with pipes, but its processes and the bare terminal's";
                table.add(what, kibibytes(apart), "≤ 700 KiB");
            }
            Kind::Screen | Kind::Tmux | Kind::Dtach | Kind::Shpool => {}
        }
    }
    Ok(())
}

/// What each of some takes.
fn weigh(
    multiplexer: &Multiplexer<'_>,
    account: &Account,
    open: impl Fn(usize) -> Result<Vec<Window>>,
) -> Result<Weight> {
    // What all of them share is there before the first that counts.
    let mut windows = open(TERMINALS)?;
    let used = settled(account)?;
    let (all, ours) = multiplexer.held()?;
    for number in 0..TERMINALS {
        windows.extend(open(number)?);
    }
    let each = |before: u64, after: u64| (after as f64 - before as f64) / TERMINALS as f64;
    let used = each(used, settled(account)?);
    let (all_after, ours_after) = multiplexer.held()?;
    drop(windows);
    multiplexer.end_all();
    Ok(Weight { processes: each(all, all_after), ours: each(ours, ours_after), used })
}

/// One terminal; the window when that is all there is.
fn open(multiplexer: &Multiplexer<'_>, name: &str) -> Result<Vec<Window>> {
    multiplexer.start(name, SCRIPT).with_context(|| multiplexer.name())?;
    if multiplexer.kind != Kind::Raw {
        return Ok(Vec::new());
    }
    let mut window = Window::open(&multiplexer.attach(name, SCRIPT))?;
    window.wait_for(b"1000")?;
    Ok(vec![window])
}

/// One of ours with pipes in place of a terminal, which its client has left.
fn without_terminal(multiplexer: &Multiplexer<'_>) -> Result<Vec<Window>> {
    let mut client = multiplexer.with_pipes(SCRIPT);
    let mut client = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut output = client.stdout.take().context("no pipe")?;
    let mut seen = Vec::new();
    while !seen.ends_with(b"\n1000\n") {
        let mut chunk = [0; 4096];
        let count = std::io::Read::read(&mut output, &mut chunk)?;
        anyhow::ensure!(count > 0, "a session with pipes wrote too little");
        seen.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    client.kill()?;
    client.wait()?;
    Ok(Vec::new())
}

/// Bytes in use once nothing is under way: what ended before may still be given back.
fn settled(account: &Account) -> Result<u64> {
    std::thread::sleep(PAUSE);
    let mut last = account.bytes()?;
    for _ in 0..LOOKS {
        std::thread::sleep(PAUSE);
        let now = account.bytes()?;
        if now.abs_diff(last) <= STEADY {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

fn kibibytes(bytes: f64) -> String {
    format!("{:.0} KiB", bytes / 1024.0)
}
