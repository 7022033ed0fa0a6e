//! What holds for every sequence of events, sensible or not.

mod support;

use proptest::prelude::*;
use sessile_model::receipt::{WipeEvidence, WipeStep};
use sessile_model::state::{Component, EndedBy, Exit};
use sessile_model::{AppName, Millis, Property, PropertyStatus, State};
use sessile_session::{BringupStep, Effect, Event, Fact, MainCommand, Opening, Session, Violation};
use support::{Life, START, good};

/// One move of the driver.
#[derive(Clone, Debug)]
enum Move {
    /// Hands in the n-th outcome that is on its way.
    Answer(usize),
    /// Hands in any event after this time.
    Any(Event, u64),
}

fn app() -> impl Strategy<Value = AppName> {
    prop_oneof![Just("main"), Just("one"), Just("two")].prop_map(|name| name.parse().expect("a name"))
}

fn violation() -> Violation {
    Violation { role: "A".into(), code: "not-offered".into(), label: Some("m".into()) }
}

fn event() -> impl Strategy<Value = Event> {
    let step = || prop::sample::select(BringupStep::ALL.to_vec());
    let property = prop::sample::select(Property::ALL.to_vec());
    let wiping = prop::sample::select(WipeStep::ALL.to_vec());
    let status = prop_oneof![
        6 => Just(good()),
        1 => Just(PropertyStatus::default()),
        1 => Just(PropertyStatus { weaker_because: vec!["old kernel".into()], ..good() }),
    ];
    let evidence = prop_oneof![
        Just(WipeEvidence::NothingToDo),
        Just(WipeEvidence::Failed { why: "busy".into() }),
        Just(WipeEvidence::NotPossible { why: "gone".into() }),
    ];
    let turn = 0..4u32;
    prop_oneof![
        step().prop_map(|step| Event::StepDone { step }),
        step().prop_map(|step| Event::StepFailed { step, cause: "no".into() }),
        step().prop_map(|step| Event::UndoDone { step }),
        (property, status).prop_map(|(property, status)| Event::Probed { property, status }),
        app().prop_map(|app| Event::AppStarted { app }),
        app().prop_map(|app| Event::AppExited { app, exit: Exit::Code { code: 1 } }),
        Just(Event::ClientAttached),
        Just(Event::ClientDetached),
        Just(Event::Activity),
        (0..20_000u64).prop_map(|g| Event::EndRequested { by: EndedBy::Operator, grace: Millis(g) }),
        prop::bool::ANY.prop_map(|ends| Event::Violated { violation: violation(), ends }),
        Just(Event::PauseRequested),
        Just(Event::ResumeRequested),
        turn.clone().prop_map(|turn| Event::Frozen { turn }),
        turn.clone().prop_map(|turn| Event::FreezeFailed { turn }),
        turn.clone().prop_map(|turn| Event::Thawed { turn }),
        turn.prop_map(|turn| Event::ThawFailed { turn, cause: "stuck".into() }),
        Just(Event::Collected),
        Just(Event::AnchorDied),
        Just(Event::ComponentFailed { component: Component::Route, cause: "down".into() }),
        (wiping, 1..3u8, evidence).prop_map(|(step, attempt, evidence)| Event::WipeStepDone {
            step,
            attempt,
            evidence,
            took_us: 7,
        }),
        Just(Event::Tick),
        Just(Event::KeeperRestarted),
    ]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        5 => (0..3usize).prop_map(Move::Answer),
        1 => (event(), 0..5_000u64).prop_map(|(event, wait)| Move::Any(event, wait)),
    ];
    prop::collection::vec(one, 0..120)
}

fn opening() -> impl Strategy<Value = Opening> {
    let command = prop_oneof![
        Just(MainCommand::None),
        Just(MainCommand::Kept),
        (0..60_000u64).prop_map(|l| MainCommand::Ends { linger: Millis(l) }),
    ];
    let span = || prop::option::weighted(0.2, (1..100_000u64).prop_map(Millis));
    (command, span(), span(), prop::sample::subsequence(Property::ALL.to_vec(), 0..3)).prop_map(
        |(command, ttl, idle_timeout, accept_weaker)| Opening { command, ttl, idle_timeout, accept_weaker },
    )
}

/// Makes one move; the event that was handed in.
fn make(life: &mut Life, one: &Move) -> Option<Event> {
    let event = match one {
        Move::Answer(n) => {
            let last = life.pending.len().checked_sub(1)?;
            life.pending.remove((*n).min(last))?
        }
        Move::Any(event, wait) => {
            life.now = life.now.plus(Millis(*wait));
            event.clone()
        }
    };
    life.hand_in(event.clone());
    Some(event)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn order_is_kept_whatever_comes_in(opening in opening(), moves in moves()) {
        let mut life = Life::open(opening.clone());
        let mut steps = 0;
        let mut verified: Vec<Property> = Vec::new();
        let mut lines = 0;
        let mut undoing: Option<BringupStep> = None;
        for one in &moves {
            let before = life.session.clone();
            let Some(event) = make(&mut life, one) else { continue };
            let state = life.session.state();
            if before.state() == State::Closed {
                prop_assert_eq!(&life.session, &before, "closed is final");
            }
            if before.state() == State::Bringup {
                if let Event::StepDone { step } = &event {
                    steps += usize::from(BringupStep::ALL.get(steps) == Some(step));
                }
                if let Event::Probed { property, status } = &event
                    && steps == 7
                    && opening.accepts(*property, status)
                    && !verified.contains(property)
                {
                    verified.push(*property);
                }
            }
            if undoing.is_some_and(|step| event == Event::UndoDone { step }) {
                undoing = None;
            }
            for effect in &life.last {
                match effect {
                    Effect::Do(step) => prop_assert_eq!(BringupStep::ALL.get(steps), Some(step)),
                    Effect::Probe(_) => prop_assert_eq!(steps, 7),
                    Effect::StartMain | Effect::Freeze { .. } | Effect::Thaw { .. } => {
                        prop_assert_eq!(verified.len(), 4, "something runs unverified");
                    }
                    Effect::Wipe { step, .. } => {
                        prop_assert_eq!(undoing, None, "what is in flight is undone first");
                        prop_assert_eq!(WipeStep::ALL.get(life.session.wipe_lines().len()), Some(step));
                    }
                    Effect::Finish => prop_assert_eq!(state, State::Closed),
                    Effect::CutRoute => prop_assert_eq!(Some(effect), life.last.first()),
                    Effect::Checkpoint => prop_assert!(life.session.wipe_lines().len() < 10),
                    Effect::Undo(step) => undoing = Some(*step),
                    Effect::Journal(_) | Effect::RecordChanged => {}
                }
            }
            let now = life.session.wipe_lines().len();
            prop_assert!(now == lines || now == lines + 1, "one step at a time");
            lines = now;
            prop_assert_eq!(state == State::Closed, lines == WipeStep::ALL.len());
            if matches!(state, State::Active | State::Paused) {
                prop_assert_eq!(verified.len(), 4);
            }
        }
    }

    #[test]
    fn a_snapshot_between_any_two_events_behaves_the_same(
        opening in opening(), moves in moves(), cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(moves.len() + 1);
        let mut life = Life::open(opening);
        for one in &moves[..cut] {
            make(&mut life, one);
        }
        let stored = serde_json::to_string(&life.session).unwrap();
        let mut restored = life.clone();
        restored.session = serde_json::from_str::<Session>(&stored).unwrap();
        prop_assert_eq!(&restored.session, &life.session);
        for one in &moves[cut..] {
            make(&mut life, one);
            make(&mut restored, one);
            prop_assert_eq!(&restored.session, &life.session);
            prop_assert_eq!(&restored.last, &life.last);
        }
    }

    #[test]
    fn the_journal_alone_brings_a_wipe_to_its_end(opening in opening(), moves in moves()) {
        let mut life = Life::open(opening);
        for one in &moves {
            make(&mut life, one);
        }
        let torn = matches!(life.session.state(), State::Ending | State::Failed | State::Closed);
        let mut effects = sessile_session::Effects::new();
        let mut session =
            Session::recover(&life.journal, Component::Keeper, "lost", life.now, &mut effects).unwrap();
        prop_assert_eq!(session.opened_at(), START);
        prop_assert_eq!(session.wipe_lines(), life.session.wipe_lines());
        if torn {
            prop_assert_eq!(session.outcome(), life.session.outcome());
        } else {
            prop_assert_eq!(session.state(), State::Failed);
        }
        for _ in 0..WipeStep::ALL.len() {
            let next = effects.drain().collect::<Vec<_>>().iter().find_map(support::outcome);
            let Some(event) = next else { break };
            session = session.advance(event, life.now, &mut effects);
        }
        prop_assert_eq!(session.state(), State::Closed);
        let began = life.journal.iter().find(|e| matches!(e.fact, Fact::TearingDown { .. })).map(|e| e.at);
        let receipt = session.wipe_receipt().expect("closed");
        prop_assert_eq!(receipt.started_at(), began.unwrap_or(life.now));
        if let Some(whole) = life.session.wipe_receipt() {
            prop_assert_eq!(receipt, whole);
        }
    }

    #[test]
    fn an_end_comes_to_its_end(opening in opening(), moves in moves()) {
        let mut life = Life::open(opening);
        for one in &moves {
            make(&mut life, one);
        }
        // A keeper that takes over asks again for whatever was lost on the way.
        life.pending.clear();
        life.hand_in(Event::KeeperRestarted);
        life.pending.clear();
        life.hand_in(Event::EndRequested { by: EndedBy::Operator, grace: Millis(0) });
        life.hand_in(Event::KeeperRestarted).settle();
        prop_assert_eq!(life.session.state(), State::Closed);
        prop_assert_eq!(life.session.wipe_lines().len(), WipeStep::ALL.len());
        let closed = life.journal.iter().filter(|e| matches!(e.fact, Fact::Closed { .. })).count();
        prop_assert_eq!(closed, 1);
    }
}

#[test]
fn a_snapshot_of_another_version_is_refused() {
    let life = Life::active(support::opening(MainCommand::None));
    let stored = serde_json::to_string(&life.session).unwrap();
    assert!(stored.starts_with(r#"{"version":1,"#), "{stored}");
    let other = stored.replacen(r#""version":1"#, r#""version":2"#, 1);
    assert!(serde_json::from_str::<Session>(&other).is_err());
}
