//! What happens to channels when keepers die, and who may say what.

mod repeats;
mod signed;

use std::collections::BTreeMap;

use sessile_model::protocol::{MAX_PROTOCOL_BYTES, ProtocolFile, ProtocolStatus};
use sessile_protocol::held::Unplanned;

use super::*;

const TALK: &str = "module talk;
type <rust> \"String\" from \"std\" as Text;
global protocol Talk(role User, role Agent) {
    rec Round {
        ask(Text) from User to Agent;
        choice at Agent { answer(Text) from Agent to User; continue Round; }
        or { bye() from Agent to User; }
    }
}";

fn user() -> Speaker {
    Speaker::Operator(None)
}

fn agent() -> Speaker {
    "app:main".parse().unwrap()
}

fn spec(text: &str) -> ProtocolSpec {
    let roles = BTreeMap::from([("User".to_owned(), user()), ("Agent".to_owned(), agent())]);
    let files = vec![ProtocolFile { name: "talk.scr".into(), text: text.into() }];
    let (name, on_violation, signing, closers) =
        (None, OnViolation::Refuse, Signing::Unsigned, BTreeMap::new());
    ProtocolSpec { files, name, roles, on_violation, signing, closers }
}

fn talk() -> Channels {
    Channels::open(spec(TALK), [7; 16]).unwrap()
}

/// The keeper dies, and another takes over.
fn succeeded(channels: Channels) -> Channels {
    let file = channels.fd().try_clone_to_owned().unwrap();
    drop(channels);
    Channels::adopt(file).unwrap()
}

fn listener() -> Option<Token> {
    Some(Token([9; 16]))
}

fn look(channels: &mut Channels, by: &Speaker, role: &str, from: Option<&str>) -> Result<Heard, LineError> {
    channels.look(by, (role, from), listener(), Timestamp::from_millis(0))
}

fn ask(channels: &mut Channels, token: u8) -> Result<u64, LineError> {
    channels.send(&user(), ("User", "Agent"), ("ask", b"why?"), (Token([token; 16]), None))
}

#[test]
fn what_was_acknowledged_is_delivered_once_whatever_dies() {
    let mut channels = talk();
    assert_eq!(ask(&mut channels, 1).unwrap(), 0);
    assert_eq!(ask(&mut channels, 1).unwrap(), 0);
    channels = succeeded(channels);
    // The acknowledgement was lost; the sender tries again, with the same token.
    assert_eq!(ask(&mut channels, 1).unwrap(), 0);
    let heard = look(&mut channels, &agent(), "Agent", None).unwrap();
    assert_eq!(
        (heard.from.as_str(), heard.label.as_str(), &heard.payload[..]),
        ("User", "ask", &b"why?"[..])
    );
    // Looked at, not taken: the reader died before it wrote anything.
    channels = succeeded(channels);
    assert_eq!(look(&mut channels, &agent(), "Agent", Some("User")).unwrap(), heard);
    channels.take(&agent(), "Agent", ("User", heard.sequence), listener()).unwrap();
    channels = succeeded(channels);
    channels.take(&agent(), "Agent", ("User", heard.sequence), listener()).unwrap();
    assert!(matches!(look(&mut channels, &agent(), "Agent", None), Err(LineError::Violation { .. })));
    // Said and forgotten are different things: the token is still known.
    assert_eq!(ask(&mut channels, 1).unwrap(), 0);
    channels.send(&agent(), ("Agent", "User"), ("bye", b""), (Token([2; 16]), None)).unwrap();
    let heard = look(&mut channels, &user(), "User", None).unwrap();
    channels.take(&user(), "User", ("Agent", heard.sequence), listener()).unwrap();
    channels = succeeded(channels);
    assert!(matches!(channels.monitor.status(), Status::Closed { by: None }));
    assert!(matches!(ask(&mut channels, 3), Err(LineError::Over(_) | LineError::Violation { .. })));
}

#[test]
fn a_role_is_spoken_for_by_one_speaker() {
    let mut channels = talk();
    let other: Speaker = "app:other".parse().unwrap();
    for speaker in [&agent(), &other] {
        let said = channels.send(speaker, ("User", "Agent"), ("ask", b""), (Token([1; 16]), None));
        let error = said.unwrap_err().to_string();
        assert_eq!(error, format!("operator speaks for User, and not {speaker}"));
    }
    assert!(matches!(look(&mut channels, &user(), "Agent", None), Err(LineError::NotYours { .. })));
    assert!(matches!(channels.offered(&other, "Agent"), Err(LineError::NotYours { .. })));
    assert!(matches!(channels.offered(&user(), "Nobody"), Err(LineError::UnknownRole(..))));
    assert_eq!(channels.monitor.count(), 1);
}

#[test]
fn what_the_protocol_does_not_offer_is_refused_and_changes_nothing() {
    let mut channels = talk();
    let error =
        channels.send(&agent(), ("Agent", "User"), ("answer", b""), (Token([1; 16]), None)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Agent may not say answer to User now (not-offered): it may hear ask from User"
    );
    let error =
        channels.send(&user(), ("User", "Agent"), ("shout", b""), (Token([1; 16]), None)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "User may not say shout to Agent now (unknown-message): it may say ask to Agent"
    );
    let long = vec![0; LONGEST_PAYLOAD + 1];
    let error =
        channels.send(&user(), ("User", "Agent"), ("ask", &long), (Token([1; 16]), None)).unwrap_err();
    assert!(matches!(error, LineError::TooLong), "{error}");
    assert!(channels.is_active() && !channels.has_changed());
    let violation = |role: &str, code: &str, label: &str| sessile_session::Violation {
        role: role.into(),
        code: code.into(),
        label: Some(label.into()),
    };
    let refused = vec![
        violation("Agent", "not-offered", "answer"),
        violation("User", "unknown-message", "(no such label)"),
    ];
    assert_eq!(channels.take_violations(), (refused, false));
    let offered = channels.offered(&user(), "User").unwrap();
    assert_eq!(
        (offered.len(), offered[0].says, offered[0].label.as_str(), offered[0].ready),
        (1, true, "ask", true)
    );
}

#[test]
fn a_violation_ends_it_where_that_was_asked_for() {
    let mut fault = talk().spec;
    fault.on_violation = OnViolation::Fault;
    let mut channels = Channels::open(fault, [7; 16]).unwrap();
    channels.send(&agent(), ("Agent", "User"), ("answer", b""), (Token([1; 16]), None)).unwrap_err();
    let violation = sessile_session::Violation {
        role: "Agent".into(),
        code: "not-offered".into(),
        label: Some("answer".into()),
    };
    assert_eq!(channels.take_violations(), (vec![violation.clone()], true));
    let mut channels = succeeded(channels);
    let faulted = ProtocolStatus::Faulted { violation: "not-offered: Agent says answer".into() };
    assert_eq!(channels.record(&TalkFacts::default()).status, faulted);
    // Its keeper may have died before it ended the session.
    assert_eq!(channels.take_violations(), (vec![violation], true));
}

#[test]
fn a_long_conversation_has_a_short_log() {
    let mut channels = talk();
    let payload = vec![b'x'; LONGEST_PAYLOAD];
    let mut renewed = 0;
    for round in 0..100u8 {
        let token = |part: u8| Token([round, part, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        channels.send(&user(), ("User", "Agent"), ("ask", &payload), (token(0), None)).unwrap();
        if channels.is_worth_renewing() {
            renewed += 1;
            let mut kept = None;
            channels
                .renew(|fd| -> Result<(), LogError> {
                    kept = Some(fd.try_clone_to_owned()?);
                    Ok(())
                })
                .unwrap();
            channels = Channels::adopt(kept.unwrap()).unwrap();
            assert!(!channels.is_worth_renewing());
        }
        let heard = look(&mut channels, &agent(), "Agent", None).unwrap();
        assert_eq!((heard.sequence, heard.payload.len()), (u64::from(round), payload.len()));
        channels.take(&agent(), "Agent", ("User", heard.sequence), listener()).unwrap();
        channels.send(&agent(), ("Agent", "User"), ("answer", b""), (token(1), None)).unwrap();
        let heard = look(&mut channels, &user(), "User", None).unwrap();
        channels.take(&user(), "User", ("Agent", heard.sequence), listener()).unwrap();
    }
    assert!(renewed >= 3, "{renewed}");
}

#[test]
fn only_what_is_accepted_and_spoken_for_is_opened() {
    let why = |spec: ProtocolSpec| Channels::open(spec, [7; 16]).unwrap_err();
    let mut unbound = talk().spec;
    unbound.roles.remove("Agent");
    assert_eq!(why(unbound).to_string(), "nobody speaks for the role Agent");
    let wrong = "module talk; global protocol Talk(role User, role Agent) { ask() from User to Nobody; }";
    assert!(why(spec(wrong)).to_string().contains("error[P017]"));
    let long = format!("{TALK}{}", " ".repeat(MAX_PROTOCOL_BYTES));
    assert!(matches!(why(spec(&long)), OpeningError::TooLarge(_)));
    let none = ProtocolSpec { files: Vec::new(), ..spec("") };
    assert!(matches!(why(none), OpeningError::Plan(Unplanned::NoFile)));
}

#[test]
fn time_counts_while_the_session_runs() {
    let text = "module talk; global protocol Talk(role User, role Agent) {
        choice at User { ask() from User to Agent within 30s; } or late { bye() from User to Agent; }
    }";
    let mut channels = Channels::open(spec(text), [7; 16]).unwrap();
    let at = |second: i64| Timestamp::from_millis(1_000_000 + second * 1000);
    let label = |channels: &Channels| channels.offered(&user(), "User").unwrap()[0].label.clone();
    channels.pass(at(0), true).unwrap();
    assert_eq!(channels.expires(), Some(Timestamp::from_millis(1_030_001)));
    channels.pass(at(20), true).unwrap();
    // Paused, for longer than there is.
    channels.pass(at(100), false).unwrap();
    assert_eq!(label(&channels), "ask");
    channels.pass(at(109), true).unwrap();
    assert_eq!(label(&channels), "ask");
    channels.pass(at(111), true).unwrap();
    assert_eq!(label(&channels), "bye");
    assert_eq!(channels.expires(), None);
}

/// A keeper's death takes no time, and gives none.
#[test]
fn time_counts_on_whoever_counts() {
    let text = "module talk; global protocol Talk(role User, role Agent) {
        rec Next { choice at User { ask() from User to Agent within 30s; continue Next; } or late { bye() from User to Agent; } }
    }";
    let mut channels = Channels::open(spec(text), [7; 16]).unwrap();
    let at = |second: i64| Timestamp::from_millis(1_000_000 + second * 1000);
    let label = |channels: &Channels| channels.offered(&user(), "User").unwrap()[0].label.clone();
    channels.pass(at(0), true).unwrap();
    channels.pass(at(20), true).unwrap();
    channels = succeeded(channels);
    channels.pass(at(25), true).unwrap();
    assert_eq!(label(&channels), "ask");
    // Another one, and a line in between, from which on the time is counted anew.
    channels.send(&user(), ("User", "Agent"), ("ask", b""), (Token([1; 16]), None)).unwrap();
    channels = succeeded(channels);
    channels.pass(at(54), true).unwrap();
    assert_eq!(label(&channels), "ask");
    // A pause that began with one keeper and ended with another.
    channels.pass(at(54), false).unwrap();
    channels = succeeded(channels);
    channels.pass(at(90), false).unwrap();
    channels.pass(at(90), true).unwrap();
    channels.renew(|_| Ok::<(), LogError>(())).unwrap();
    channels = succeeded(channels);
    assert_eq!(label(&channels), "ask");
    channels.pass(at(92), true).unwrap();
    assert_eq!(label(&channels), "bye");
}

#[test]
fn of_two_who_listen_as_one_role_one_has_the_line() {
    let mut channels = talk();
    ask(&mut channels, 1).unwrap();
    let (first, second) = (listener(), Some(Token([8; 16])));
    let at = Timestamp::from_millis;
    let look = |channels: &mut Channels, token, at| channels.look(&agent(), ("Agent", None), token, at);
    let heard = look(&mut channels, first, at(0)).unwrap();
    for token in [second, None] {
        assert!(matches!(look(&mut channels, token, at(4_999)), Err(LineError::Held(_))));
    }
    assert_eq!(look(&mut channels, first, at(1)).unwrap(), heard);
    assert_eq!(channels.released(at(1)), Some(at(5_001)));
    // The first has gone without a word.
    assert_eq!(look(&mut channels, second, at(5_001)).unwrap(), heard);
    assert!(matches!(look(&mut channels, first, at(5_001)), Err(LineError::Held(_))));
    // It comes back from writing, too late: the line is another's, before it is taken and after.
    let take = |channels: &mut Channels, token| channels.take(&agent(), "Agent", ("User", 0), token);
    assert!(matches!(take(&mut channels, first), Err(LineError::Anothers(_))));
    take(&mut channels, second).unwrap();
    let mut channels = succeeded(channels);
    assert!(matches!(take(&mut channels, first), Err(LineError::Anothers(_))));
    for token in [second, None] {
        take(&mut channels, token).unwrap();
    }
    assert_eq!(channels.released(at(5_001)), None);
}

/// However slow: as long as nobody else has heard it, it is theirs.
#[test]
fn what_nobody_has_heard_is_not_taken() {
    let mut channels = talk();
    ask(&mut channels, 1).unwrap();
    let at = Timestamp::from_millis;
    let take = |channels: &mut Channels, token| channels.take(&agent(), "Agent", ("User", 0), token);
    for token in [None, listener()] {
        assert!(matches!(take(&mut channels, token), Err(LineError::NotHeard)));
    }
    look(&mut channels, &agent(), "Agent", None).unwrap();
    // Who has heard it was known to the keeper before alone.
    let mut channels = succeeded(channels);
    assert!(matches!(take(&mut channels, listener()), Err(LineError::NotHeard)));
    channels.look(&agent(), ("Agent", None), listener(), at(0)).unwrap();
    channels.pass(at(60_000), true).unwrap();
    take(&mut channels, listener()).unwrap();
}

#[test]
fn what_was_said_is_heard_while_the_session_ends_and_then_listed() {
    let mut channels = talk();
    ask(&mut channels, 1).unwrap();
    channels.close(Close::Drain).unwrap();
    assert_eq!(channels.record(&TalkFacts::default()).status, ProtocolStatus::Draining);
    assert!(matches!(ask(&mut channels, 2), Err(LineError::Concluded(_))));
    let mut channels = succeeded(channels);
    assert_eq!(look(&mut channels, &agent(), "Agent", None).unwrap().label, "ask");
    channels.close(Close::Abort).unwrap();
    let record = channels.record(&TalkFacts::default());
    assert_eq!((record.status, record.unheard.len()), (ProtocolStatus::Cancelled, 1));
    assert_eq!((record.unheard[0].from.as_str(), record.unheard[0].label.as_str()), ("User", "ask"));
    channels.close(Close::Drain).unwrap();
}

#[test]
fn what_waited_and_may_not_be_said_any_more_is_no_violation() {
    let mut channels = talk();
    let (by, way, line) = (user(), ("User", "Agent"), ("ask", &b"why?"[..]));
    let [first, second] = [1, 2].map(|token| (Token([token; 16]), None));
    assert_eq!(channels.admit(&by, way, line, first).unwrap(), None);
    // It changes nothing, and another may be said meanwhile.
    assert_eq!(channels.admit(&by, way, line, second).unwrap(), None);
    assert_eq!(channels.deliver(&by, way, line, second, Some(b"[redacted]")).unwrap(), 0);
    let error = channels.deliver(&by, way, line, first, None).unwrap_err();
    assert!(matches!(error, LineError::Violation { .. }), "{error}");
    assert_eq!(channels.take_violations().0.len(), 0);
    // The other hears what was let through, as after a keeper's death.
    let mut channels = succeeded(channels);
    assert_eq!(look(&mut channels, &agent(), "Agent", None).unwrap().payload, b"[redacted]");
    assert_eq!(channels.admit(&by, way, line, second).unwrap(), Some(0));
}
