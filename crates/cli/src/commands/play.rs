//! `play`: replays a recording.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sessile_model::problem::ProblemKind;
use sessile_model::quantity::Millis;
use sessile_model::recording::Happening;

use sessile_terminal::TerminalModes;

use crate::attachment::terminal_size;
use crate::failure::{Failure, Outcome, Status};
use crate::output::{print_bytes, print_json, say};
use crate::player::{self, Pace, Silent, Source};

/// Replay a recording on this terminal
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile play work.cast
  sessile play --speed 4 --idle-limit 2s work.cast
  sessile play --seek 1m work.cast          begins there, with the screen as it was
  sessile play --to-end work.cast | less -R
  sessile play --json work.cast             its size, length and number of events

Space pauses and goes on, `.` shows the next event alone, the arrow keys go 5 seconds back or on, q
quits. A recording that ends on a full screen stays there until one of these. What a recording holds is shown as the program wrote it, as `sessile attach` shows it; play
those of others with the care that you would give their output. Reads asciicast, versions 2 and 3.")]
pub struct Args {
    /// How many times as fast as it was recorded, 0.01 to 1000
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    speed: Speed,
    /// Begin at this time of the replay, such as 1m
    #[arg(long, value_name = "TIME", conflicts_with = "to_end")]
    seek: Option<Millis>,
    /// Cut pauses to this long, such as 2s [default: what the recording says]
    #[arg(long, value_name = "TIME")]
    idle_limit: Option<Millis>,
    /// Print all of it at once; needs no terminal
    #[arg(long)]
    to_end: bool,
    /// The recording
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Speed(f64);

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let bad = "not a speed from 0.01 to 1000 (examples: 2, 0.5)";
        text.parse().ok().filter(|speed| (0.01..=1000.0).contains(speed)).map(Self).ok_or(bad)
    }
}

impl Args {
    /// Plays it.
    pub fn run(self, json: bool) -> Outcome {
        let mut source = Source::open(&self.file)?;
        if json {
            return summary(source);
        }
        if self.to_end {
            return print_all(&mut source);
        }
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Err(Failure::new(
                ProblemKind::BadRequest,
                "a recording is replayed on a terminal, and here is none",
            )
            .hint("`--to-end` prints all of it at once"));
        }
        let (recorded, here) = (source.header().size, terminal_size());
        if recorded.cols > here.cols || recorded.rows > here.rows {
            say(&format!(
                "sessile: recorded at {}x{}, and this terminal has {}x{}: some of it will be out of place",
                recorded.cols, recorded.rows, here.cols, here.rows
            ));
        }
        let idle_limit = self.idle_limit.map(Millis::as_duration).or(source.header().idle_limit);
        let seek = self.seek.map_or(Duration::ZERO, Millis::as_duration);
        player::play(source, Pace { speed: self.speed.0, seek, idle_limit })
    }
}

/// Prints all output, and undoes on a terminal what it changed.
fn print_all(source: &mut Source) -> Outcome {
    let mut modes = TerminalModes::default();
    let mut silent = std::io::stdout().is_terminal().then(Silent::default);
    while let Some(happened) = source.next()? {
        if let Happening::Output(text) = &happened.what {
            modes.watch(text.as_bytes());
            match &mut silent {
                Some(silent) => print_bytes(&silent.pass(text.as_bytes()))?,
                None => print_bytes(text.as_bytes())?,
            }
        }
    }
    if std::io::stdout().is_terminal() {
        print_bytes(&[&modes.undo()[..], b"\n"].concat())?;
    }
    Ok(Status::OK)
}

fn summary(mut source: Source) -> Outcome {
    let (mut events, mut length) = (0u64, Duration::ZERO);
    while let Some(happened) = source.next()? {
        events += 1;
        length = happened.at;
    }
    let header = source.header();
    print_json(&serde_json::json!({
        "version": header.version,
        "cols": header.size.cols,
        "rows": header.size.rows,
        "length_ms": length.as_millis() as u64,
        "events": events,
    }))?;
    Ok(Status::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        assert_eq!("0.5".parse(), Ok(Speed(0.5)));
        for bad in ["0", "-1", "NaN", "inf", "x", "1001"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }
}
