//! What the specification says about ends, one case each.

mod support;

use sessile_model::protocol::Closing;
use sessile_model::receipt::{WipeEvidence, WipeStep};
use sessile_model::state::{Component, EndedBy, Exit, Outcome};
use sessile_model::{AppName, Millis, Property, PropertyStatus, State};
use sessile_session::{
    Admission, BringupStep, DEFAULT_LINGER, Denied, Effect, Entry, Event, Fact, MainCommand, Note, Request,
    SILENT_PROBES, Violation,
};
use support::{Life, opening};

const ENDS: MainCommand = MainCommand::Ends { linger: DEFAULT_LINGER };

trait Wait {
    /// Lets time pass, with one tick at its end.
    fn then_wait(&mut self, time: Millis) -> &mut Self;
}

impl Wait for Life {
    fn then_wait(&mut self, time: Millis) -> &mut Self {
        self.now = self.now.plus(time);
        self.hand_in(Event::Tick).settle()
    }
}

fn exited(code: u8) -> Event {
    Event::AppExited { app: AppName::main(), exit: Exit::Code { code } }
}

fn ended(by: EndedBy) -> Option<Outcome> {
    Some(Outcome::Ended { by })
}

#[test]
fn a_watched_exit_ends_the_session() {
    let mut life = Life::active(opening(ENDS));
    life.hand_in(Event::ClientAttached).hand_in(exited(0)).settle();
    assert_eq!(life.session.state(), State::Closed);
    assert_eq!(life.session.outcome(), ended(EndedBy::MainExited));
    assert_eq!(life.session.wipe_lines().len(), WipeStep::ALL.len());
}

#[test]
fn an_unwatched_exit_waits_to_be_collected() {
    let mut life = Life::active(opening(ENDS));
    assert_eq!(life.session.admit(&Request::Collect), Err(Denied::NothingToCollect));
    life.hand_in(Event::ClientAttached).hand_in(Event::ClientDetached).hand_in(exited(3)).settle();
    assert_eq!(life.session.state(), State::Active);
    assert_eq!(life.session.main_exit(), Some(&Exit::Code { code: 3 }));
    assert!(life.session.has_result_to_collect());
    life.then_wait(Millis(DEFAULT_LINGER.0 - 1));
    assert_eq!(life.session.state(), State::Active);
    assert_eq!(life.session.admit(&Request::Collect), Ok(Admission::Granted));
    let mut uncollected = life.clone();
    life.hand_in(Event::Collected).settle();
    assert_eq!(life.session.outcome(), ended(EndedBy::MainExited));
    uncollected.then_wait(Millis(1));
    assert_eq!(uncollected.session.outcome(), ended(EndedBy::Linger));
}

#[test]
fn a_result_does_not_time_out_while_another_app_runs() {
    let mut life = Life::active(opening(ENDS));
    let app: AppName = "tests".parse().unwrap();
    life.hand_in(Event::AppStarted { app: app.clone() }).hand_in(exited(0));
    life.then_wait(Millis(DEFAULT_LINGER.0 * 2));
    assert_eq!(life.session.state(), State::Active);
    life.hand_in(Event::AppExited { app, exit: Exit::Code { code: 0 } });
    life.then_wait(DEFAULT_LINGER);
    assert_eq!(life.session.outcome(), ended(EndedBy::Linger));
}

#[test]
fn no_exit_ends_a_kept_session_or_one_without_a_command() {
    for command in [MainCommand::Kept, MainCommand::None] {
        let mut life = Life::active(opening(command));
        life.hand_in(Event::ClientAttached).hand_in(exited(0)).hand_in(Event::Collected).settle();
        life.then_wait(Millis(DEFAULT_LINGER.0 * 2));
        assert_eq!(life.session.state(), State::Active, "{command:?}");
    }
}

#[test]
fn a_command_that_cannot_start_is_an_exit() {
    let mut life = Life::open(opening(ENDS));
    while life.session.state() == State::Bringup {
        let event = life.pending.pop_front().unwrap();
        life.hand_in(event);
    }
    life.pending.clear();
    life.hand_in(Event::AppExited { app: AppName::main(), exit: Exit::NotStarted { errno: 2 } });
    assert!(life.session.has_result_to_collect());
    life.hand_in(Event::AppStarted { app: AppName::main() });
    assert!(life.session.has_result_to_collect(), "a late start does not revive it");
}

#[test]
fn a_client_keeps_a_session_from_being_idle_and_a_pause_does_too() {
    let mut facts = opening(MainCommand::None);
    facts.idle_timeout = Some(Millis(5_000));
    let mut life = Life::active(facts);
    life.hand_in(Event::ClientAttached).then_wait(Millis(60_000));
    assert_eq!(life.session.state(), State::Active);
    life.hand_in(Event::ClientDetached).then_wait(Millis(4_999));
    assert_eq!(life.session.state(), State::Active);
    life.hand_in(Event::Activity).then_wait(Millis(4_999));
    life.hand_in(Event::PauseRequested).settle().then_wait(Millis(60_000));
    assert_eq!(life.session.state(), State::Paused);
    life.hand_in(Event::ResumeRequested).settle().then_wait(Millis(4_999));
    assert_eq!(life.session.state(), State::Active);
    life.then_wait(Millis(1));
    assert_eq!(life.session.outcome(), ended(EndedBy::IdleTimeout));
}

#[test]
fn the_time_to_live_counts_from_the_opening_whatever_the_state() {
    let mut facts = opening(MainCommand::None);
    facts.ttl = Some(Millis(5_000));
    let mut opened = Life::open(facts.clone());
    opened.then_wait(Millis(5_000));
    assert_eq!(opened.session.outcome(), Some(Outcome::Cancelled { by: EndedBy::TimeToLive }));
    let mut paused = Life::active(facts);
    paused.hand_in(Event::ClientAttached).hand_in(Event::PauseRequested).settle().then_wait(Millis(5_000));
    assert_eq!(paused.session.outcome(), ended(EndedBy::TimeToLive));
}

#[test]
fn an_end_before_it_is_active_undoes_the_step_in_flight_and_cancels() {
    let mut life = Life::open(opening(ENDS));
    life.pending.clear();
    life.hand_in(Event::EndRequested { by: EndedBy::Operator, grace: Millis(10_000) });
    assert!(life.last.contains(&Effect::Undo(BringupStep::Preflight)));
    assert!(!life.last.iter().any(|e| matches!(e, Effect::Wipe { .. })), "the undo comes first");
    life.hand_in(Event::UndoDone { step: BringupStep::Sandbox });
    assert_eq!(life.last, [], "another step's undo is not the one that is waited for");
    life.settle();
    assert_eq!(life.session.outcome(), Some(Outcome::Cancelled { by: EndedBy::Cancelled }));
    assert_eq!(life.session.state(), State::Closed);
}

#[test]
fn a_broken_property_cuts_the_route_before_anything_else() {
    let mut life = Life::active(opening(ENDS));
    life.hand_in(Event::Probed { property: Property::Routing, status: PropertyStatus::default() });
    assert_eq!(life.last.first(), Some(&Effect::CutRoute));
    assert_eq!(life.session.state(), State::Failed);
    let found = Fact::Verified { property: Property::Routing, holds: false, weaker: false };
    assert!(life.journal.iter().any(|entry| entry.fact == found));
    let grace =
        life.last.iter().find_map(|e| if let Effect::Wipe { grace, .. } = e { Some(*grace) } else { None });
    assert_eq!(grace, Some(Millis(0)));
    life.hand_in(Event::EndRequested { by: EndedBy::Operator, grace: Millis(10_000) }).settle();
    let cause = "routing does not hold".to_owned();
    assert_eq!(life.session.outcome(), Some(Outcome::Failed { component: Component::Verification, cause }));
}

#[test]
fn an_accepted_weakness_is_recorded_and_another_one_fails() {
    let weak =
        PropertyStatus { holds: true, evidence: Vec::new(), weaker_because: vec!["swap is on".into()] };
    for (accepted, state) in [(vec![Property::Amnesia], State::Active), (Vec::new(), State::Closed)] {
        let mut facts = opening(MainCommand::None);
        facts.accept_weaker = accepted.clone();
        let mut life = Life::open(facts);
        while let Some(event) = life.pending.pop_front() {
            let about = matches!(event, Event::Probed { property: Property::Amnesia, .. });
            let event = if about {
                Event::Probed { property: Property::Amnesia, status: weak.clone() }
            } else {
                event
            };
            life.hand_in(event);
        }
        assert_eq!(life.session.state(), state);
        assert_eq!(life.session.weaker(), [Property::Amnesia]);
    }
}

#[test]
fn a_probe_that_never_answers_fails_the_session_but_sleep_does_not() {
    let mut life = Life::active(opening(MainCommand::None));
    life.then_wait(Millis(8 * 3_600_000));
    assert_eq!(life.session.state(), State::Active, "a closed lid is not a silent probe");
    for _ in 0..=SILENT_PROBES {
        assert_eq!(life.session.state(), State::Active);
        life.now = life.now.plus(Millis(1_000));
        life.hand_in(Event::Tick);
        life.pending.clear();
    }
    assert_eq!(life.session.state(), State::Failed);
}

#[test]
fn what_an_old_keeper_was_not_told_does_not_count_against_the_probes() {
    let mut life = Life::active(opening(MainCommand::None));
    for _ in 0..2 {
        for _ in 0..SILENT_PROBES - 1 {
            life.now = life.now.plus(Millis(1_000));
            life.hand_in(Event::Tick);
            life.pending.clear();
        }
        life.hand_in(Event::KeeperRestarted);
        life.pending.clear();
        assert_eq!(life.session.state(), State::Active);
    }
}

#[test]
fn pausing_and_resuming_wait_for_their_outcomes() {
    let mut life = Life::active(opening(ENDS));
    life.hand_in(Event::PauseRequested);
    assert_eq!(life.session.state(), State::Active);
    assert_eq!(life.session.admit(&Request::Pause), Ok(Admission::Already));
    assert_eq!(life.session.admit(&Request::Exec), Err(Denied::Paused));
    life.settle();
    assert_eq!(life.session.state(), State::Paused);
    assert_eq!(life.session.admit(&Request::Input { app: AppName::main() }), Err(Denied::Paused));
    life.hand_in(Event::Frozen { turn: 1 }).hand_in(Event::ResumeRequested);
    let late = Event::Frozen { turn: 1 };
    life.hand_in(late).settle();
    assert_eq!(life.session.state(), State::Active);
    life.hand_in(Event::PauseRequested).hand_in(Event::Frozen { turn: 1 });
    assert_eq!(life.session.state(), State::Active, "an answer to an earlier ask");
}

#[test]
fn a_thaw_that_fails_fails_the_session() {
    let mut life = Life::active(opening(ENDS));
    life.hand_in(Event::PauseRequested).settle().hand_in(Event::ResumeRequested);
    life.hand_in(Event::ThawFailed { turn: 2, cause: "stuck".into() });
    assert_eq!(life.session.state(), State::Failed);
}

#[test]
fn a_violation_is_journaled_and_ends_the_session_where_that_was_asked_for() {
    let violation = Violation { role: "A".into(), code: "not-offered".into(), label: None };
    let violated = |ends| Event::Violated { violation: violation.clone(), ends };
    let journaled = |life: &Life| {
        let fact = Fact::Violated { violation: violation.clone() };
        life.last.contains(&Effect::Journal(Entry { at: life.now, fact }))
    };
    let mut life = Life::active(opening(ENDS));
    life.hand_in(violated(false));
    assert!(journaled(&life) && life.session.state() == State::Active);
    life.hand_in(Event::PauseRequested).settle().hand_in(violated(true));
    assert!(journaled(&life) && life.session.state() == State::Ending);
    life.settle();
    let faulted = Outcome::Faulted { violation: "not-offered: A listens".into() };
    assert_eq!((life.session.state(), life.session.outcome()), (State::Closed, Some(faulted)));
}

#[test]
fn a_second_end_can_only_leave_less_time() {
    let mut life = Life::active(opening(ENDS));
    life.pending.clear();
    life.hand_in(Event::EndRequested { by: EndedBy::Operator, grace: Millis(10_000) });
    let next = life.pending.pop_front().unwrap();
    life.hand_in(next);
    let asked = |grace| Effect::Wipe { step: WipeStep::SignalApps, attempt: 1, grace: Millis(grace) };
    assert!(life.last.contains(&asked(10_000)));
    life.hand_in(Event::EndRequested { by: EndedBy::Operator, grace: Millis(20_000) });
    assert_eq!(life.last, []);
    life.hand_in(Event::EndRequested { by: EndedBy::Operator, grace: Millis(0) });
    assert!(life.last.contains(&asked(0)));
}

#[test]
fn the_anchors_death_fails_the_session_wherever_it_is() {
    let failed = |life: &Life| {
        matches!(life.session.outcome(), Some(Outcome::Failed { component: Component::Anchor, .. }))
    };
    let mut bringup = Life::open(opening(ENDS));
    bringup.pending.clear();
    bringup.hand_in(Event::AnchorDied).settle();
    assert!(failed(&bringup));
    let mut active = Life::active(opening(ENDS));
    active.hand_in(Event::AnchorDied).settle();
    assert!(failed(&active));
    let mut ending = Life::active(opening(ENDS));
    ending.hand_in(Event::EndRequested { by: EndedBy::Operator, grace: Millis(0) });
    while ending.session.wipe_lines().len() < 8 {
        let event = ending.pending.pop_front().unwrap();
        ending.hand_in(event);
    }
    ending.pending.clear();
    ending.hand_in(Event::AnchorDied);
    assert_eq!(ending.session.wipe_lines().len(), 8, "the wipe goes on where it is");
    ending.settle();
    assert!(failed(&ending));
    assert_eq!(ending.session.state(), State::Closed);
}

#[test]
fn a_step_that_fails_twice_is_in_the_receipt() {
    let mut life = Life::active(opening(ENDS));
    life.hand_in(Event::EndRequested { by: EndedBy::Operator, grace: Millis(0) });
    let failed = WipeEvidence::Failed { why: "busy".into() };
    while let Some(event) = life.pending.pop_front() {
        let event = if let Event::WipeStepDone { step: WipeStep::UnmountStorage, attempt, took_us, .. } =
            event
        {
            Event::WipeStepDone { step: WipeStep::UnmountStorage, attempt, evidence: failed.clone(), took_us }
        } else {
            event
        };
        life.hand_in(event);
    }
    let receipt = life.session.wipe_receipt().expect("a failed step does not stop the wipe");
    let line = receipt.lines().iter().find(|l| l.step == WipeStep::UnmountStorage).unwrap();
    assert_eq!(line.evidence, failed);
}

#[test]
fn a_note_stands_in_the_journal_as_any_fact() {
    let note = Note::TalkClosed { role: Some("Agent".into()), how: Closing::Drain };
    let written = serde_json::to_string(&Fact::Noted(note.clone())).unwrap();
    assert_eq!(written, r#"{"fact":"talk_closed","role":"Agent","how":"drain"}"#);
    assert_eq!(serde_json::from_str::<Fact>(&written).unwrap(), Fact::Noted(note));
    let restarted = serde_json::to_string(&Fact::KeeperRestarted).unwrap();
    assert_eq!(serde_json::from_str::<Fact>(&restarted).unwrap(), Fact::KeeperRestarted);
    let short = serde_json::from_str::<Fact>(r#"{"fact":"typed","app":"main"}"#).unwrap_err().to_string();
    assert!(short.contains("missing field `client`") || short.contains("missing field `bytes`"), "{short}");
}
