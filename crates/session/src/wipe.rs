//! The wipe as a straight line: sixteen steps, forward only, each with its evidence.
//!
//! A [`Wipe`] stands at one step; only evidence for that step moves it on, and the last step
//! turns it into a [`WipeReceipt`], which nothing else can make. Both check their lines when they
//! are restored, so that a damaged snapshot cannot claim a step that was not taken.

use serde::{Deserialize, Serialize};
use sessile_model::Timestamp;
use sessile_model::receipt::{WipeEvidence, WipeLine, WipeStep};
use thiserror::Error;

/// Attempts at a step that failed and may succeed when tried again.
const ATTEMPTS: u8 = 2;

/// A wipe in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Lines", into = "Lines")]
pub(crate) struct Wipe {
    started_at: Timestamp,
    /// One line per step that is complete: a strict prefix of [`WipeStep::ALL`].
    lines: Vec<WipeLine>,
    step: WipeStep,
    attempt: u8,
}

/// A complete wipe: one line per step, in order. Only the last step of a wipe makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Lines", into = "Lines")]
pub struct WipeReceipt {
    started_at: Timestamp,
    ended_at: Timestamp,
    lines: Vec<WipeLine>,
}

/// Where a wipe stands after evidence came in.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The evidence is about another step or attempt.
    Unmoved(Wipe),
    /// The step failed and is tried once more.
    Again(Wipe),
    /// The next step's turn.
    Next(Wipe),
    /// That was the last.
    Complete(WipeReceipt),
}

impl Wipe {
    /// Stands at the first step.
    pub(crate) fn begin(now: Timestamp) -> Self {
        Self { started_at: now, lines: Vec::new(), step: WipeStep::ALL[0], attempt: 1 }
    }

    /// The step whose evidence is awaited.
    pub(crate) fn step(&self) -> WipeStep {
        self.step
    }

    /// Which attempt at it.
    pub(crate) fn attempt(&self) -> u8 {
        self.attempt
    }

    /// The complete lines.
    pub(crate) fn lines(&self) -> &[WipeLine] {
        &self.lines
    }

    /// Whether apps may still run: their end is not yet behind.
    pub(crate) fn apps_may_run(&self) -> bool {
        self.step <= WipeStep::Kill
    }

    /// Whether the checkpoint may still be written.
    pub(crate) fn has_checkpoint(&self) -> bool {
        self.step < WipeStep::OverwriteRings
    }

    /// Takes in evidence.
    pub(crate) fn done(
        mut self,
        step: WipeStep,
        attempt: u8,
        evidence: WipeEvidence,
        took_us: u64,
        now: Timestamp,
    ) -> Progress {
        if step != self.step || attempt != self.attempt {
            return Progress::Unmoved(self);
        }
        let failed = matches!(evidence, WipeEvidence::Failed { .. });
        if failed && self.attempt < ATTEMPTS && worth_another(step) {
            self.attempt += 1;
            return Progress::Again(self);
        }
        self.push(WipeLine { step, app: None, evidence, took_us }, now)
    }

    /// Takes in a complete line of the present step; any other is passed over.
    pub(crate) fn replay(self, line: WipeLine, now: Timestamp) -> Progress {
        if line.step == self.step { self.push(line, now) } else { Progress::Unmoved(self) }
    }

    fn push(mut self, line: WipeLine, now: Timestamp) -> Progress {
        assert_eq!(line.step, self.step, "a wipe's line is out of order");
        self.lines.push(line);
        self.attempt = 1;
        match WipeStep::ALL.get(self.lines.len()) {
            Some(&step) => {
                self.step = step;
                Progress::Next(self)
            }
            None => Progress::Complete(WipeReceipt {
                started_at: self.started_at,
                ended_at: now,
                lines: self.lines,
            }),
        }
    }
}

impl WipeReceipt {
    /// When the wipe began.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// When it was complete.
    pub fn ended_at(&self) -> Timestamp {
        self.ended_at
    }

    /// One line per step, in order.
    pub fn lines(&self) -> &[WipeLine] {
        &self.lines
    }
}

/// Whether a step that failed may succeed when tried again. Telling clients, waiting for apps and
/// declaring or closing something are said once.
const fn worth_another(step: WipeStep) -> bool {
    match step {
        WipeStep::CutRoute
        | WipeStep::Freeze
        | WipeStep::ScrubOpenFiles
        | WipeStep::ScrubMemory
        | WipeStep::Kill
        | WipeStep::UnmountApps
        | WipeStep::OverwriteStorage
        | WipeStep::UnmountStorage
        | WipeStep::OverwriteRings
        | WipeStep::DestroyKeys
        | WipeStep::RemoveTraces
        | WipeStep::Verify => true,
        WipeStep::RefuseAttaches | WipeStep::SignalApps | WipeStep::RetireRoute | WipeStep::FinaliseAudit => {
            false
        }
    }
}

/// Both as they are stored.
#[derive(Serialize, Deserialize)]
struct Lines {
    started_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u8>,
    lines: Vec<WipeLine>,
}

/// Why stored lines are not a wipe.
#[derive(Debug, Error)]
#[error("the wipe's lines are not the steps of a wipe in their order")]
struct NotAWipe;

impl Lines {
    fn in_order(&self) -> bool {
        self.lines.len() <= WipeStep::ALL.len()
            && self.lines.iter().zip(WipeStep::ALL).all(|(line, step)| line.step == step)
    }
}

impl From<Wipe> for Lines {
    fn from(wipe: Wipe) -> Self {
        Self { started_at: wipe.started_at, ended_at: None, attempt: Some(wipe.attempt), lines: wipe.lines }
    }
}

impl TryFrom<Lines> for Wipe {
    type Error = NotAWipe;

    fn try_from(stored: Lines) -> Result<Self, NotAWipe> {
        let step = *WipeStep::ALL.get(stored.lines.len()).ok_or(NotAWipe)?;
        let attempt = stored.attempt.filter(|a| (1..=ATTEMPTS).contains(a)).ok_or(NotAWipe)?;
        if !stored.in_order() {
            return Err(NotAWipe);
        }
        Ok(Self { started_at: stored.started_at, lines: stored.lines, step, attempt })
    }
}

impl From<WipeReceipt> for Lines {
    fn from(receipt: WipeReceipt) -> Self {
        Self {
            started_at: receipt.started_at,
            ended_at: Some(receipt.ended_at),
            attempt: None,
            lines: receipt.lines,
        }
    }
}

impl TryFrom<Lines> for WipeReceipt {
    type Error = NotAWipe;

    fn try_from(stored: Lines) -> Result<Self, NotAWipe> {
        let ended_at = stored.ended_at.ok_or(NotAWipe)?;
        if !stored.in_order() || stored.lines.len() != WipeStep::ALL.len() {
            return Err(NotAWipe);
        }
        Ok(Self { started_at: stored.started_at, ended_at, lines: stored.lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn failed() -> WipeEvidence {
        WipeEvidence::Failed { why: "busy".into() }
    }

    fn at(step: WipeStep) -> Wipe {
        let mut wipe = Wipe::begin(T);
        while wipe.step() != step {
            let here = wipe.step();
            let Progress::Next(next) = wipe.done(here, 1, WipeEvidence::NothingToDo, 1, T) else { panic!() };
            wipe = next;
        }
        wipe
    }

    #[test]
    fn a_failed_step_is_tried_once_more_and_then_reported() {
        let wipe = at(WipeStep::Kill);
        let Progress::Again(wipe) = wipe.done(WipeStep::Kill, 1, failed(), 5, T) else { panic!() };
        let Progress::Unmoved(wipe) = wipe.done(WipeStep::Kill, 1, failed(), 5, T) else { panic!() };
        let Progress::Next(wipe) = wipe.done(WipeStep::Kill, 2, failed(), 5, T) else { panic!() };
        assert_eq!(wipe.step(), WipeStep::UnmountApps);
        assert_eq!(wipe.lines().last().unwrap().evidence, failed());
    }

    #[test]
    fn steps_that_are_said_once_are_not_tried_again() {
        let wipe = at(WipeStep::RetireRoute);
        let Progress::Next(_) = wipe.done(WipeStep::RetireRoute, 1, failed(), 5, T) else { panic!() };
    }

    #[test]
    fn evidence_for_another_step_moves_nothing() {
        let wipe = at(WipeStep::Freeze);
        for other in [WipeStep::CutRoute, WipeStep::Kill] {
            let same = wipe.clone().done(other, 1, WipeEvidence::NothingToDo, 1, T);
            assert!(matches!(same, Progress::Unmoved(w) if w == wipe));
        }
    }

    #[test]
    fn only_the_last_step_makes_a_receipt_and_stored_ones_are_checked() {
        let wipe = at(WipeStep::Verify);
        let Progress::Complete(receipt) = wipe.done(WipeStep::Verify, 1, WipeEvidence::NothingToDo, 1, T)
        else {
            panic!()
        };
        assert_eq!(receipt.lines().len(), WipeStep::ALL.len());
        let text = serde_json::to_string(&receipt).unwrap();
        assert_eq!(serde_json::from_str::<WipeReceipt>(&text).unwrap(), receipt);
        assert!(serde_json::from_str::<Wipe>(&text).is_err(), "a complete wipe is not in progress");

        let mut short = receipt.clone();
        short.lines.pop();
        let mut swapped = receipt;
        swapped.lines.swap(3, 4);
        for bad in [short, swapped] {
            let text = serde_json::to_string(&bad).unwrap();
            assert!(serde_json::from_str::<WipeReceipt>(&text).is_err());
        }
    }
}
