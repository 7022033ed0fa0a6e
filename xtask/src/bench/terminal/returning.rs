//! From a client's start to the complete screen.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::multiplexers::{Kind, Multiplexer};
use super::window::Window;
use crate::bench::measure::{Contender, Table, medians, millis};

const NAME: &str = "full";
/// The last of 23 lines in colours.
const LAST: &[u8] = b"the-last-line";
const SCRIPT: &str = "for n in $(seq 22); do printf '\\033[3%dmline %d \\033[1mof a full screen\\033[0m\\n' \
                      $((n % 8)) $n; done; printf 'the-last-line'; exec sleep 1000000";

/// Returns to every contender that keeps a screen, in turns, and adds a row for each.
///
/// # Errors
/// When one does not start or does not show its screen.
pub fn measure(multiplexers: &[Multiplexer<'_>], rounds: usize, table: &mut Table) -> Result<()> {
    // The others have nothing to show.
    let keeps = |m: &&Multiplexer<'_>| !matches!(m.kind, Kind::Raw | Kind::Dtach);
    let keepers: Vec<&Multiplexer<'_>> = multiplexers.iter().filter(keeps).collect();
    let mut contenders = Vec::new();
    for multiplexer in &keepers {
        multiplexer.start(NAME, SCRIPT).with_context(|| multiplexer.name())?;
        let once = move || {
            let start = Instant::now();
            let mut window = Window::open(&multiplexer.attach(NAME, SCRIPT))?;
            window.wait_for(LAST)?;
            let took = start.elapsed();
            drop(window);
            // The next client comes when this one is gone.
            std::thread::sleep(std::time::Duration::from_millis(30));
            Ok(took)
        };
        contenders.push(Contender { name: multiplexer.name(), once: Box::new(once) });
    }
    let times = medians(&mut contenders, rounds)?;
    drop(contenders);
    for (multiplexer, took) in keepers.iter().zip(times) {
        let floor = if multiplexer.kind == Kind::Sessile { "≤ tmux" } else { "" };
        table.add(format!("attach to a complete screen: {}", multiplexer.name()), millis(took), floor);
        multiplexer.end_all();
    }
    Ok(())
}
