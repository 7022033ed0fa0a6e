//! Much output: through a client that reads, and beside one that does not.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::multiplexers::{Kind, Multiplexer};
use super::window::Window;
use crate::bench::measure::{Table, median};
use crate::bench::processes;

const NAME: &str = "flood";
const MEGABYTES: usize = 100;
const ROUNDS: usize = 3;
/// Who has not written everything by then is blocked.
const PATIENCE: Duration = Duration::from_secs(40);

/// How fast 100 MB reach a person's window.
///
/// # Errors
/// When a contender does not start or loses the end.
pub fn through_a_client(multiplexers: &[Multiplexer<'_>], table: &mut Table) -> Result<()> {
    let mut raw = 0.0;
    for multiplexer in multiplexers {
        let what = format!("100 MB through a client: {}", multiplexer.name());
        let rate = match rate(multiplexer).with_context(|| multiplexer.name()) {
            Ok(rate) => rate,
            Err(error) if multiplexer.kind.is_peer() => {
                table.add(what, format!("not available ({error:#})"), "");
                multiplexer.end_all();
                continue;
            }
            Err(error) => return Err(error),
        };
        table.add(what, format!("{rate:.0} MB/s"), "");
        match multiplexer.kind {
            Kind::Raw => raw = rate,
            Kind::Sessile => table.add("  of raw", format!("{:.2}x", rate / raw), "≥ 0.85x"),
            Kind::Screen | Kind::Tmux | Kind::Dtach | Kind::Shpool => {}
        }
    }
    Ok(())
}

/// MB a second that reach a window.
fn rate(multiplexer: &Multiplexer<'_>) -> Result<f64> {
    let text = Text::write(&multiplexer.project())?;
    let script = format!(
        "stty -echo; printf ready; read go; cat {}; printf 'the-%s\\n' end; exec sleep 1000000",
        text.path.display()
    );
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        multiplexer.start(NAME, &script)?;
        let mut window = Window::open(&multiplexer.attach(NAME, &script))?;
        window.settle(Duration::from_millis(500))?;
        let start = Instant::now();
        window.send(b"\n")?;
        window.wait_for(b"the-end")?;
        times.push(start.elapsed());
        drop(window);
        multiplexer.end_all();
    }
    Ok(MEGABYTES as f64 / median(times).as_secs_f64())
}

/// How long 300 MB take with a client that has stopped reading, against none, and what grows.
///
/// # Errors
/// When a contender does not start, or takes too long with no client at all.
pub fn beside_a_stalled_client(multiplexers: &[Multiplexer<'_>], table: &mut Table) -> Result<()> {
    for multiplexer in multiplexers.iter().filter(|m| m.kind != Kind::Raw) {
        let measured = Stalled::measure(multiplexer, false)
            .and_then(|alone| Ok((alone, Stalled::measure(multiplexer, true)?)))
            .with_context(|| multiplexer.name());
        let figure = match measured {
            Ok((Stalled { took: Some(alone), .. }, Stalled { took: Some(took), grown })) => {
                let ratio = took.as_secs_f64() / alone.as_secs_f64();
                format!("{ratio:.2}x the time, {grown:+.2} MiB")
            }
            Ok((Stalled { took: None, .. }, _)) => "blocks without any client".to_owned(),
            Ok((Stalled { took: Some(_), .. }, Stalled { took: None, .. })) => "blocks".to_owned(),
            Err(error) if multiplexer.kind.is_peer() => {
                multiplexer.end_all();
                format!("not available ({error:#})")
            }
            Err(error) => return Err(error),
        };
        let floor = if multiplexer.kind == Kind::Sessile { "1x, < 1 MiB" } else { "" };
        table.add(format!("300 MB, one client stalled: {}", multiplexer.name()), figure, floor);
    }
    Ok(())
}

struct Stalled {
    /// `None` when it was not over in time.
    took: Option<Duration>,
    /// In MiB, of all processes that hold the terminal.
    grown: f64,
}

impl Stalled {
    fn measure(multiplexer: &Multiplexer<'_>, with_client: bool) -> Result<Self> {
        let project = multiplexer.project();
        let text = Text::write(&project)?;
        let (go, done) = (project.join("go"), project.join("done"));
        for path in [&go, &done] {
            let _ = fs::remove_file(path);
        }
        let path = text.path.display();
        // What is kept of output in any case is full before anything is weighed.
        let script = format!(
            "head -c 8000000 {path}; until [ -e {} ]; do sleep 0.01; done; cat {path} {path} {path}; : > {}; exec sleep 1000000",
            go.display(),
            done.display()
        );
        multiplexer.start(NAME, &script).with_context(|| multiplexer.name())?;
        let window = with_client.then(|| Window::open(&multiplexer.attach(NAME, &script))).transpose()?;
        std::thread::sleep(Duration::from_secs(2));
        let before = held(multiplexer);
        let start = Instant::now();
        fs::write(&go, "")?;
        let took = loop {
            if done.exists() {
                break Some(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let grown = (held(multiplexer) as f64 - before as f64) / f64::from(1 << 20);
        drop(window);
        multiplexer.end_all();
        Ok(Self { took, grown })
    }
}

/// Resident bytes of the processes that hold its terminals.
fn held(multiplexer: &Multiplexer<'_>) -> u64 {
    multiplexer.servers().into_iter().filter_map(|pid| processes::resident_bytes(pid).ok()).sum()
}

/// 100 MB of lines such as a build prints.
struct Text {
    path: PathBuf,
}

impl Text {
    fn write(folder: &Path) -> Result<Self> {
        let path = folder.join("text");
        if path.exists() {
            return Ok(Self { path });
        }
        let mut block = Vec::new();
        let mut number = 0;
        while block.len() < 1_000_000 {
            writeln!(block, "[{number:>6}] compiling a crate of the workspace with all its features on")?;
            number += 1;
        }
        block.truncate(1_000_000);
        let mut file = fs::File::create(&path)?;
        for _ in 0..MEGABYTES {
            file.write_all(&block)?;
        }
        Ok(Self { path })
    }
}
