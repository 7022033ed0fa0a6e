//! What a terminal costs that nobody looks at.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::multiplexers::{Kind, Multiplexer};
use super::window::Window;
use crate::bench::measure::Table;
use crate::bench::processes;

const TERMINALS: usize = 20;
const SCRIPT: &str = "seq 1000; exec sleep 1000000";

/// Holds some terminals with 1,000 lines each and adds a row for each contender: bytes that are no
/// longer available, so all processes and the kernel, with the program in the terminal.
///
/// # Errors
/// When a terminal cannot be started.
pub fn measure(multiplexers: &[Multiplexer<'_>], table: &mut Table) -> Result<()> {
    for multiplexer in multiplexers {
        let name = multiplexer.name();
        // What all of them share is there before the first that counts.
        let mut windows = open(multiplexer, "warm")?;
        let before = settled()?;
        for number in 0..TERMINALS {
            windows.extend(open(multiplexer, &format!("idle{number}"))?);
        }
        let used = before as f64 - settled()? as f64;
        let figure = format!("{:.0} KiB", used / TERMINALS as f64 / 1024.0);
        let what = match multiplexer.kind {
            Kind::Sessile => format!("idle, 1,000 lines: {name}, with its sandbox"),
            Kind::Raw | Kind::Screen | Kind::Tmux | Kind::Dtach | Kind::Shpool => {
                format!("idle, 1,000 lines: {name}")
            }
        };
        table.add(what, figure, "");
        drop(windows);
        multiplexer.end_all();
    }
    Ok(())
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

/// Available bytes once nothing is under way.
fn settled() -> Result<u64> {
    std::thread::sleep(Duration::from_secs(2));
    processes::available_bytes()
}
