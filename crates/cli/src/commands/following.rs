//! `attach --lossless` and `output --follow --lossless`: what a terminal shows, from its recording.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::api::Recorded;
use sessile_model::ids::AppName;
use sessile_model::problem::ProblemKind;
use sessile_model::record::RecordingState;
use sessile_model::recording::{Happening, Reader};

use crate::client::{Daemon, with_query};
use crate::failure::{Failure, Outcome, Status};
use crate::output::{print_bytes, printable, say};
use crate::selector::SessionSelector;

/// Prints what was and will be recorded, until the command ends.
///
/// # Errors
/// When there is no recording, it ends before the command does, or it cannot be read.
pub fn follow(daemon: &Daemon, session: &SessionSelector, app: Option<&AppName>) -> Outcome {
    let mut reader = Reader::default();
    let mut cut = Vec::new();
    let mut from = 0;
    loop {
        let pairs = [
            ("app", app.map(ToString::to_string)),
            ("from", Some(u64::to_string(&from))),
            ("wait", Some("true".to_owned())),
        ];
        let recorded: Recorded = daemon.get(&with_query(&session.path("/recording"), &pairs))?;
        let bytes = STANDARD.decode(&recorded.data).map_err(|e| internal(&e))?;
        cut.extend_from_slice(&bytes);
        while let Some(end) = cut.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = cut.drain(..=end).collect();
            let happened = reader.line(&line[..end]).map_err(|e| internal(&e))?;
            match happened.map(|happened| happened.what) {
                Some(Happening::Output(text)) => print_bytes(text.as_bytes())?,
                // It says of what is missing here.
                Some(Happening::Marker(label)) => say(&format!("sessile: {}", printable(&label))),
                Some(Happening::Input(_) | Happening::Resize(_) | Happening::Exit(_) | Happening::Other)
                | None => {}
            }
        }
        from = recorded.to;
        if from < recorded.len {
            continue;
        }
        match recorded.state {
            RecordingState::Running => {}
            RecordingState::Ended => {
                // The result has reached somebody. A session that keeps it, or waits for none, does not
                // mind.
                let _: Result<(), Failure> = daemon.post(&session.path("/collect"), &());
                return Ok(Status::OK);
            }
            RecordingState::Stopped => return Err(over("it was stopped")),
            RecordingState::Full => return Err(over("its share of session storage is used up")),
            RecordingState::Failed => return Err(over("it could not be written")),
            RecordingState::Wiped | RecordingState::Freed => return Err(over("it is gone")),
        }
    }
}

fn over(why: &str) -> Failure {
    Failure::new(ProblemKind::Failed, format!("the recording ended before the command did: {why}"))
        .hint("what follows was not recorded; `sessile output --follow` goes on without")
}

fn internal(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(ProblemKind::Internal, format!("the recording cannot be read: {error}"))
}
