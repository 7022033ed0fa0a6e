//! Lines that are signed, roles that are handed over, conversations that are closed.

use sessile_model::hex;
use sessile_model::protocol::{CloseTalk, Closing, Delegate, LineSeal, Stand};
use sessile_protocol::machine::Signature;
use sessile_protocol::monitor::seal::{Position, SecretKey, Statement};
use sessile_protocol::monitor::setup::SessionId;
use sessile_protocol::plan::Digest;

use super::*;

pub fn signed_talk(on_violation: OnViolation) -> Channels {
    let closers = BTreeMap::from([("Agent".to_owned(), Closing::Drain)]);
    let spec = ProtocolSpec { on_violation, signing: Signing::Signed, closers, ..spec(TALK) };
    Channels::open(spec, [7; 16]).unwrap()
}

/// Signs what would be said now as who may say it.
pub fn seal(
    channels: &Channels,
    by: &Speaker,
    key: u8,
    (from, to): (&str, &str),
    (label, payload): (&str, &[u8]),
) -> LineSeal {
    let stand = Stand { role: from.into(), to: to.into(), label: label.into() };
    let standing = channels.standing(by, &stand).unwrap();
    let key = SecretKey::from_seed(&[key; 32]);
    let link = Digest(hex::bytes(&standing.link).unwrap());
    let message = Signature {
        label: label.into(),
        payload: standing.payload.iter().map(|name| name.as_str().into()).collect(),
    };
    let statement = Statement {
        session: SessionId(hex::bytes(&standing.session).unwrap()),
        plan: Digest(hex::bytes(&standing.protocol).unwrap()),
        epoch: standing.epoch,
        from,
        to,
        position: Position { sequence: standing.sequence, link },
        message: &message,
        payload: Digest::of(payload),
    };
    LineSeal {
        key: hex::text(&key.public().to_bytes()),
        session: standing.session,
        epoch: standing.epoch,
        sequence: standing.sequence,
        link: standing.link,
        signature: hex::text(&statement.seal(&key).signature),
    }
}

fn asks(channels: &mut Channels, token: u8, seal: Option<&LineSeal>) -> Result<u64, LineError> {
    let sealed = seal.map(|seal| Sealed::try_from(seal).unwrap());
    channels.send(&user(), ("User", "Agent"), ("ask", b"why?"), (Token([token; 16]), sealed.as_ref()))
}

pub fn question(channels: &Channels, key: u8) -> LineSeal {
    seal(channels, &user(), key, ("User", "Agent"), ("ask", b"why?"))
}

pub fn violation(error: &LineError) -> &'static str {
    let LineError::Violation { code, .. } = error else { panic!("{error}") };
    code
}

fn hears(channels: &mut Channels) {
    let heard = look(channels, &agent(), "Agent", None).unwrap();
    channels.take(&agent(), "Agent", ("User", heard.sequence), listener()).unwrap();
}

#[test]
fn a_role_is_known_by_the_key_of_its_first_line_whoever_keeps_it() {
    let mut channels = signed_talk(OnViolation::Refuse);
    assert_eq!(violation(&asks(&mut channels, 1, None).unwrap_err()), "unsigned");
    let first = question(&channels, 1);
    assert_eq!(asks(&mut channels, 1, Some(&first)).unwrap(), 0);
    // Said again after its answer was lost with the keeper: it is the same line.
    let mut channels = succeeded(channels);
    assert_eq!(asks(&mut channels, 1, Some(&first)).unwrap(), 0);
    // Said again as another line it is a repetition.
    assert_eq!(violation(&asks(&mut channels, 2, Some(&first)).unwrap_err()), "replayed");
    hears(&mut channels);
    let answer = seal(&channels, &agent(), 2, ("Agent", "User"), ("answer", b"so"));
    let sealed = Sealed::try_from(&answer).unwrap();
    let said = |channels: &mut Channels, payload: &[u8]| {
        channels.send(&agent(), ("Agent", "User"), ("answer", payload), (Token([3; 16]), Some(&sealed)))
    };
    assert_eq!(violation(&said(&mut channels, b"no").unwrap_err()), "forged");
    said(&mut channels, b"so").unwrap();
    let mut channels = succeeded(channels);
    let heard = look(&mut channels, &user(), "User", None).unwrap();
    channels.take(&user(), "User", ("Agent", heard.sequence), listener()).unwrap();
    let other = question(&channels, 9);
    assert!(matches!(asks(&mut channels, 4, Some(&other)), Err(LineError::OtherKey(_))));
    // Nothing of this kept who has the key from going on.
    let next = question(&channels, 1);
    assert_eq!(asks(&mut channels, 5, Some(&next)).unwrap(), 1);
    let codes: Vec<String> = channels.take_violations().0.into_iter().map(|one| one.code).collect();
    assert_eq!(codes, Vec::<String>::new(), "what a predecessor noted is journaled by it");
    assert_eq!(channels.record(&TalkFacts::default()).signing, Signing::Signed);
}

/// Of two clients of one speaker that sign at the same time, one signs again, and neither is at fault.
#[test]
fn who_was_overtaken_signs_again() {
    let mut channels = signed_talk(OnViolation::Fault);
    let (one, mut other) = (question(&channels, 1), question(&channels, 1));
    asks(&mut channels, 1, Some(&one)).unwrap();
    hears(&mut channels);
    let answer = seal(&channels, &agent(), 2, ("Agent", "User"), ("answer", b""));
    let sealed = Sealed::try_from(&answer).unwrap();
    channels.send(&agent(), ("Agent", "User"), ("answer", b""), (Token([2; 16]), Some(&sealed))).unwrap();
    let heard = look(&mut channels, &user(), "User", None).unwrap();
    channels.take(&user(), "User", ("Agent", heard.sequence), listener()).unwrap();
    // The very same words are the very same statement; these are others.
    let shout = seal(&signed_talk(OnViolation::Fault), &user(), 1, ("User", "Agent"), ("ask", b"louder"));
    other.signature.clone_from(&shout.signature);
    let sealed = Sealed::try_from(&other).unwrap();
    let louder = |channels: &mut Channels, sealed: &Sealed| {
        channels.send(&user(), ("User", "Agent"), ("ask", b"louder"), (Token([4; 16]), Some(sealed)))
    };
    let mut channels = succeeded(channels);
    assert!(matches!(louder(&mut channels, &sealed), Err(LineError::Overtaken(_))));
    assert!(channels.is_active() && channels.take_violations().0.is_empty());
    let again = seal(&channels, &user(), 1, ("User", "Agent"), ("ask", b"louder"));
    assert_eq!(louder(&mut channels, &Sealed::try_from(&again).unwrap()).unwrap(), 1);
    // What is no one's signature ends it where that was asked for.
    assert_eq!(violation(&asks(&mut channels, 5, Some(&one)).unwrap_err()), "replayed");
    assert!(!channels.is_active() && channels.take_violations().1);
}

#[test]
fn a_role_that_is_handed_over_is_another_speakers_and_its_key_is_withdrawn() {
    let mut channels = signed_talk(OnViolation::Refuse);
    let bob: Speaker = "operator:bob".parse().unwrap();
    let give = |to: &Speaker| Delegate { role: "User".into(), to: to.clone() };
    let crossing = question(&channels, 1);
    asks(&mut channels, 1, Some(&crossing)).unwrap();
    hears(&mut channels);
    // An app gives nobody's role but its own, and nobody gets two.
    assert!(matches!(channels.delegate(&agent(), &give(&bob)), Err(LineError::NotYours { .. })));
    assert!(matches!(channels.delegate(&user(), &give(&agent())), Err(LineError::HasRole(_))));
    let given = channels.delegate(&user(), &give(&bob)).unwrap();
    let key = hex::text(&SecretKey::from_seed(&[1; 32]).public().to_bytes());
    assert_eq!((given.by.as_str(), &given.from, &given.to, given.epoch), ("operator", &user(), &bob, 1));
    assert_eq!((given.withdrawn.as_ref(), given.session), (Some(&key), "07".repeat(16)));
    let mut channels = succeeded(channels);
    assert!(matches!(asks(&mut channels, 2, Some(&crossing)), Err(LineError::NotYours { .. })));
    assert_eq!(channels.record(&TalkFacts::default()).roles["User"], bob);

    // To the same again: whose key is lost is known by the next.
    let own = Delegate { role: "Agent".into(), to: agent() };
    assert!(matches!(channels.delegate(&agent(), &own), Err(LineError::SameSpeaker(..))));
    let line = ("Agent", "User");
    let says = |channels: &mut Channels, key: u8, token: u8| {
        let seal = seal(channels, &agent(), key, line, ("answer", b""));
        let sealed = Sealed::try_from(&seal).unwrap();
        channels.send(&agent(), line, ("answer", b""), (Token([token; 16]), Some(&sealed)))
    };
    says(&mut channels, 2, 3).unwrap();
    assert_eq!(channels.delegate(&agent(), &own).unwrap().by, "Agent");
    let mut channels = succeeded(channels);
    let heard = look(&mut channels, &bob, "User", None).unwrap();
    channels.take(&bob, "User", ("Agent", heard.sequence), listener()).unwrap();
    let ask = seal(&channels, &bob, 5, ("User", "Agent"), ("ask", b""));
    let ask = Sealed::try_from(&ask).unwrap();
    channels.send(&bob, ("User", "Agent"), ("ask", b""), (Token([4; 16]), Some(&ask))).unwrap();
    hears(&mut channels);
    assert!(matches!(says(&mut channels, 2, 5), Err(LineError::Withdrawn(_))));
    says(&mut channels, 3, 6).unwrap();
}

#[test]
fn who_may_closes_it_and_nobody_else() {
    let mut channels = signed_talk(OnViolation::Refuse);
    let ask = question(&channels, 1);
    asks(&mut channels, 1, Some(&ask)).unwrap();
    let close = |role: Option<&str>, how| CloseTalk { role: role.map(str::to_owned), how };
    let closes = |channels: &mut Channels, by: &Speaker, close: &CloseTalk| {
        channels.conclude(by, close.role.as_deref(), close.how)
    };
    let refused = [
        (agent(), close(None, Closing::Drain), "closes the conversation as its role"),
        (agent(), close(Some("User"), Closing::Drain), "speaks for User"),
        (agent(), close(Some("Agent"), Closing::Abort), "may not close"),
        (user(), close(Some("User"), Closing::Drain), "may not close"),
    ];
    for (by, wanted, why) in refused {
        let error = closes(&mut channels, &by, &wanted).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(channels.is_active());
    }
    closes(&mut channels, &agent(), &close(Some("Agent"), Closing::Drain)).unwrap();
    assert_eq!(channels.record(&TalkFacts::default()).status, ProtocolStatus::Draining);
    let mut channels = succeeded(channels);
    let late = question(&channels, 1);
    assert!(matches!(asks(&mut channels, 2, Some(&late)), Err(LineError::Concluded(_))));
    closes(&mut channels, &agent(), &close(Some("Agent"), Closing::Drain)).unwrap();
    closes(&mut channels, &user(), &close(None, Closing::Abort)).unwrap();
    let record = channels.record(&TalkFacts::default());
    assert_eq!((record.status, record.unheard.len()), (ProtocolStatus::Cancelled, 1));

    let closers = BTreeMap::from([("Nobody".to_owned(), Closing::Drain)]);
    let why = Channels::open(ProtocolSpec { closers, ..spec(TALK) }, [7; 16]).unwrap_err();
    assert!(matches!(why, OpeningError::Closer(_)), "{why}");
}
