//! How much later a typed character comes back than on a bare terminal.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::multiplexers::{Kind, Multiplexer};
use super::window::Window;
use crate::bench::measure::{Table, median};

/// Keys typed into each contender in a round.
pub const KEYS_A_ROUND: usize = 40;
const NAME: &str = "echo";
/// Gives back every byte as it comes, by itself.
const SCRIPT: &str = "stty raw -echo; exec cat";
/// Between two keys, so that nothing of the last one is still under way.
const PAUSE: Duration = Duration::from_millis(2);

/// Types into every contender in turn and adds a row for each.
///
/// # Errors
/// When one does not start, or does not give back what was typed.
pub fn measure(multiplexers: &[Multiplexer<'_>], rounds: usize, table: &mut Table) -> Result<()> {
    let mut windows = Vec::new();
    for multiplexer in multiplexers {
        multiplexer.start(NAME, SCRIPT).with_context(|| multiplexer.name())?;
        let mut window = Window::open(&multiplexer.attach(NAME, SCRIPT))?;
        window.settle(Duration::from_millis(500))?;
        window.send(b"@")?;
        window.wait_for(b"@").with_context(|| multiplexer.name())?;
        windows.push(window);
    }
    let mut times = vec![Vec::new(); windows.len()];
    for round in 0..rounds {
        let mut turns: Vec<_> = windows.iter_mut().zip(&mut times).collect();
        // What ran just before leaves its traces in the caches: not always the same.
        if round % 2 == 1 {
            turns.reverse();
        }
        for (window, times) in turns {
            window.send(b"\r\n")?;
            window.settle(Duration::from_millis(20))?;
            for key in (0..KEYS_A_ROUND).map(|key| if key % 2 == 0 { b"|" } else { b"}" }) {
                std::thread::sleep(PAUSE);
                let start = Instant::now();
                window.send(key)?;
                window.wait_for(key)?;
                times.push(start.elapsed());
            }
        }
    }
    drop(windows);
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    let raw = medians.first().copied().unwrap_or_default();
    for (multiplexer, took) in multiplexers.iter().zip(medians) {
        let name = multiplexer.name();
        if multiplexer.kind == Kind::Raw {
            table.add(format!("keystroke to echo: {name}"), micros(took), "");
        } else {
            let floor = if multiplexer.kind == Kind::Sessile { "≤ tmux" } else { "" };
            let added = format!("+{}", micros(took.saturating_sub(raw)));
            table.add(format!("keystroke to echo, added: {name}"), added, floor);
        }
        multiplexer.end_all();
    }
    Ok(())
}

fn micros(time: Duration) -> String {
    format!("{} us", time.as_micros())
}
