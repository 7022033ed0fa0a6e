//! Signed messages: who may have said what, when, and once.

use std::sync::Arc;

use sessile_protocol::machine::{Message, Role};
use sessile_protocol::monitor::endpoint::{Diverged, Endpoint};
use sessile_protocol::monitor::event::{By, Code, Payload, Status, What};
use sessile_protocol::monitor::seal::{Position, PublicKey, Seal, Statement};
use sessile_protocol::monitor::setup::{OnViolation, Participant, SessionId};
use sessile_protocol::monitor::{DelegateError, Line, Monitor, ReplayError, SendError, Sent, replay};
use sessile_protocol::plan::{Digest, Plan};

use crate::support::{A, B, BLOCK, code, events, fifo, key, line, open, plan_of, setup, signed};

/// A says 0 or 1 to B as often as it likes.
fn talk() -> Arc<Plan> {
    plan_of(&[(A, B, &[(0, 0), (1, 0)])])
}

fn opened(plan: &Arc<Plan>, session: u8, on_forgery: OnViolation) -> Monitor {
    let mut setup = signed(setup(plan, fifo(8, BLOCK)), on_forgery);
    setup.session = SessionId([session; 16]);
    Monitor::open(plan, setup).unwrap()
}

fn endpoint(monitor: &Monitor, role: Role, secret: Role) -> Endpoint {
    let (plan, name) = (monitor.plan(), &monitor.plan().roles()[usize::from(role.0)]);
    Endpoint::new(key(secret), monitor.session(), plan.hash(), monitor.epoch(), name)
}

fn seal(endpoint: &Endpoint, plan: &Plan, message: u32, payload: &str) -> Line {
    let sealed = endpoint.seal("r1", &plan.messages()[message as usize], payload.as_bytes());
    let payload = Payload::new(payload.as_bytes());
    Line { payload, seal: Some(Box::new(sealed.seal)), ..line(A, B, message) }
}

#[test]
fn what_its_sender_signed_is_taken_in_order() {
    let plan = talk();
    let mut monitor = opened(&plan, 1, OnViolation::Fault);
    let mut alice = endpoint(&monitor, A, A);
    for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
        let sealed = alice.seal("r1", &plan.messages()[0], text.as_bytes());
        let seal = Some(Box::new(sealed.seal.clone()));
        let said = Line { payload: Payload::new(text.as_bytes()), seal, ..line(A, B, 0) };
        assert_eq!(monitor.send(said), Ok(Sent::Queued));
        alice.taken(sealed);
        assert_eq!(monitor.position(A, B).unwrap(), alice.position("r1"));
        let received = monitor.recv(B, None).unwrap();
        assert_eq!((received.sequence, received.payload.bytes()), (number as u64, text.as_bytes()));
    }
    // Everybody who has the key can verify the log.
    let mut position = Position::first(monitor.session(), plan.hash(), "r0", "r1");
    let log = events(&mut monitor);
    for event in &log {
        let What::Sent { message, sealing: Some(sealing), .. } = &event.what else { continue };
        let statement = Statement {
            session: monitor.session(),
            plan: plan.hash(),
            epoch: 0,
            from: "r0",
            to: "r1",
            position,
            message: &plan.messages()[message.0 as usize],
            payload: sealing.payload,
        };
        assert!(statement.is_signed_by(&key(A).public(), &sealing.seal.signature));
        assert!(!statement.is_signed_by(&key(B).public(), &sealing.seal.signature));
        position = statement.after(statement.link());
    }
    assert_eq!(position.sequence, 3);
    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash());
}

/// Each of these is refused and changes nothing, or ends the session where the setup says so.
#[test]
fn what_was_not_signed_for_here_and_now_is_refused() {
    let plan = talk();
    type Tamper = fn(&Plan, &Endpoint, Line) -> Line;
    fn with(mut line: Line, change: impl FnOnce(&mut Seal)) -> Line {
        change(line.seal.as_mut().unwrap());
        line
    }
    let table: [(&str, Code, Tamper); 14] = [
        ("no seal", Code::Unsigned, |_, _, line| Line { seal: None, ..line }),
        ("another message", Code::Forged, |_, _, line| Line { message: Message(1), ..line }),
        ("another payload", Code::Forged, |_, _, line| Line { payload: Payload::new(b"evil"), ..line }),
        ("no payload", Code::Forged, |_, _, line| Line { payload: Payload::EMPTY, ..line }),
        ("another sender", Code::Reordered, |_, _, line| Line { from: B, to: A, ..line }),
        ("a signature with a bit changed", Code::Forged, |_, _, line| {
            with(line, |seal| seal.signature[63] ^= 1)
        }),
        ("a signature of nothing", Code::Forged, |_, _, line| with(line, |seal| seal.signature = [0; 64])),
        ("another session", Code::OtherSession, |_, _, line| {
            with(line, |seal| seal.session = SessionId([9; 16]))
        }),
        ("a later epoch", Code::OtherEpoch, |_, _, line| with(line, |seal| seal.epoch += 1)),
        ("a later sequence", Code::Reordered, |_, _, line| with(line, |seal| seal.position.sequence += 1)),
        ("another link", Code::Unlinked, |_, _, line| {
            with(line, |seal| seal.position.link = Digest([0; 32]))
        }),
        ("the first message again", Code::Replayed, |plan, alice, _| {
            let mut fresh = Endpoint::new(key(A), SessionId([1; 16]), plan.hash(), 0, "r0");
            let first = seal(&fresh, plan, 0, "hello");
            fresh.resume("r1", alice.position("r1"));
            first
        }),
        ("a message out of order", Code::Reordered, |plan, alice, _| {
            let mut ahead = Endpoint::new(key(A), SessionId([1; 16]), plan.hash(), 0, "r0");
            ahead.resume("r1", alice.position("r1"));
            ahead.taken(ahead.seal("r1", &plan.messages()[0], b"left out"));
            seal(&ahead, plan, 0, "next")
        }),
        ("a key of somebody else", Code::Forged, |plan, alice, _| {
            let mut mallory = Endpoint::new(key(B), SessionId([1; 16]), plan.hash(), 0, "r0");
            mallory.resume("r1", alice.position("r1"));
            seal(&mallory, plan, 0, "next")
        }),
    ];
    for (what, expected, tamper) in table {
        for policy in [OnViolation::Refuse, OnViolation::Fault] {
            let mut monitor = opened(&plan, 1, policy);
            let mut alice = endpoint(&monitor, A, A);
            let first = alice.seal("r1", &plan.messages()[0], b"hello");
            monitor.send(seal(&alice, &plan, 0, "hello")).unwrap();
            alice.taken(first);
            let (good, before) = (seal(&alice, &plan, 0, "next"), monitor.hash());
            let bad = tamper(&plan, &alice, good.clone());
            assert_eq!(code(monitor.admit(bad.clone()).map(|_| Sent::Queued)), expected, "{what}");
            assert_eq!(monitor.hash(), before, "{what}: only asked");
            assert_eq!(code(monitor.send(bad)), expected, "{what}");
            if policy == OnViolation::Refuse {
                assert_eq!(monitor.hash(), before, "{what}");
                assert_eq!(monitor.send(good), Ok(Sent::Queued), "{what}");
            } else {
                let Status::Faulted { violation } = monitor.status() else { panic!("{what}") };
                assert_eq!(violation.code, expected, "{what}");
                assert_eq!((monitor.lost().len(), monitor.send(good)), (1, Err(SendError::Ended)), "{what}");
                let log = events(&mut monitor);
                assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash(), "{what}");
            }
        }
    }
}

#[test]
fn what_was_signed_for_one_session_or_protocol_is_none_of_anothers() {
    let (plan, other) = (talk(), plan_of(&[(A, B, &[(0, 0)]), (A, B, &[(1, 0)])]));
    let (first, mut second) = (opened(&plan, 1, OnViolation::Refuse), opened(&plan, 2, OnViolation::Refuse));
    let elsewhere = seal(&endpoint(&first, A, A), &plan, 0, "x");
    assert_eq!(code(second.send(elsewhere.clone())), Code::OtherSession);
    // With the session's id exchanged, the beginning of the chain tells them apart.
    let mut relabelled = elsewhere.clone();
    relabelled.seal.as_mut().unwrap().session = second.session();
    assert_eq!(code(second.send(relabelled.clone())), Code::Unlinked);
    relabelled.seal.as_mut().unwrap().position = second.position(A, B).unwrap();
    assert_eq!(code(second.send(relabelled)), Code::Forged);
    let mut same_id = opened(&other, 1, OnViolation::Refuse);
    assert_eq!(code(same_id.send(elsewhere)), Code::Unlinked);
}

/// A forgery in a role's name is never counted as that role's violation of the protocol.
#[test]
fn a_forgery_is_seen_before_what_it_says() {
    let plan = plan_of(&[(A, B, &[(0, 1)]), (B, A, &[(1, 9)])]);
    let mut monitor = opened(&plan, 1, OnViolation::Refuse);
    let forged = seal(&endpoint(&monitor, A, B), &plan, 1, "");
    assert_eq!(code(monitor.send(forged)), Code::Forged);
    let own = seal(&endpoint(&monitor, A, A), &plan, 1, "");
    assert_eq!(code(monitor.send(own)), Code::NotOffered);
}

/// Forgeries may end a session where violations do not, and the other way round.
#[test]
fn a_violation_and_a_forgery_are_each_treated_as_was_asked_for() {
    use OnViolation::{Fault, Refuse};
    let plan = plan_of(&[(A, B, &[(0, 1)]), (B, A, &[(1, 9)])]);
    for (on_violation, on_forgery) in [(Refuse, Fault), (Fault, Refuse)] {
        for (signer, said) in [(A, Code::NotOffered), (B, Code::Forged)] {
            let mut setup = signed(setup(&plan, fifo(8, BLOCK)), on_forgery);
            (setup.on_violation, setup.session) = (on_violation, SessionId([1; 16]));
            let mut monitor = Monitor::open(&plan, setup).unwrap();
            let wrong = seal(&endpoint(&monitor, A, signer), &plan, 1, "");
            assert_eq!(code(monitor.send(wrong)), said);
            let policy = if said.is_forgery() { on_forgery } else { on_violation };
            assert_eq!(matches!(monitor.status(), Status::Faulted { .. }), policy == Fault, "{said}");
        }
    }
}

#[test]
fn signing_again_what_had_to_wait_gives_the_same() {
    let plan = talk();
    let setup = signed(setup(&plan, fifo(1, BLOCK)), OnViolation::Fault);
    let mut monitor = Monitor::open(&plan, setup).unwrap();
    let mut alice = endpoint(&monitor, A, A);
    let first = alice.seal("r1", &plan.messages()[0], b"1");
    monitor.send(seal(&alice, &plan, 0, "1")).unwrap();
    alice.taken(first);
    let waits = seal(&alice, &plan, 0, "2");
    for _ in 0..3 {
        let again = seal(&alice, &plan, 0, "2");
        assert_eq!(again, waits);
        assert_eq!(monitor.send(again), Err(SendError::Full));
    }
    assert_eq!(monitor.recv(B, None).unwrap().woken, Some(A));
    // It may also say something else instead.
    assert_eq!(monitor.send(seal(&alice, &plan, 1, "3")), Ok(Sent::Queued));
    assert_eq!(monitor.recv(B, None).unwrap().sequence, 1);
}

#[test]
fn an_answer_that_was_lost_is_settled() {
    let plan = talk();
    let mut monitor = opened(&plan, 1, OnViolation::Fault);
    let mut alice = endpoint(&monitor, A, A);
    let sealed = alice.seal("r1", &plan.messages()[0], b"1");
    let not_yet = monitor.position(A, B).unwrap();
    assert_eq!(alice.settle(sealed.clone(), not_yet), Ok(false));
    monitor.send(seal(&alice, &plan, 0, "1")).unwrap();
    let beside = Position { link: Digest([1; 32]), ..monitor.position(A, B).unwrap() };
    assert_eq!(alice.settle(sealed.clone(), beside), Err(Diverged));
    assert_eq!(alice.settle(sealed.clone(), monitor.position(A, B).unwrap()), Ok(true));
    assert_eq!(monitor.send(seal(&alice, &plan, 0, "2")), Ok(Sent::Queued));
    let elsewhere = Position { sequence: 7, link: Digest([1; 32]) };
    assert_eq!(alice.settle(sealed, elsewhere), Err(Diverged));
}

#[test]
fn a_role_that_was_given_away_speaks_by_another_key() {
    let plan = talk();
    let mut monitor = opened(&plan, 1, OnViolation::Fault);
    let mut alice = endpoint(&monitor, A, A);
    let on_its_way = seal(&alice, &plan, 0, "late");
    let carol = Participant::new("carol");
    let state = monitor.hash();
    let another = Some(key(B).public());
    assert_eq!(monitor.delegate(By::Role(A), A, carol.clone(), another), Err(DelegateError::Key));
    let receipt = monitor.delegate(By::Role(A), A, carol.clone(), Some(key(Role(5)).public())).unwrap();
    assert_eq!((receipt.epoch, receipt.state, monitor.epoch()), (1, state, 1));
    assert_eq!((receipt.from.name(), &receipt.to), ("p0", &carol));
    assert_eq!(monitor.participant(A), Some(&carol));

    // The old key is nobody's now; the new one signs where the old one left off.
    alice.enter(1);
    let mut monitor = Monitor::restore(&plan, &monitor.snapshot()).unwrap();
    assert_eq!(code(monitor.admit(on_its_way).map(|_| Sent::Queued)), Code::Forged);
    assert_eq!(code(monitor.admit(seal(&alice, &plan, 0, "x")).map(|_| Sent::Queued)), Code::Forged);
    let mut new = Endpoint::new(key(Role(5)), monitor.session(), plan.hash(), 1, "r0");
    new.resume("r1", monitor.position(A, B).unwrap());
    assert_eq!(monitor.send(seal(&new, &plan, 0, "x")), Ok(Sent::Queued));
}

#[test]
fn what_crosses_the_beginning_of_an_epoch_is_signed_again_and_nobodys_fault() {
    let plan = talk();
    let mut monitor = opened(&plan, 1, OnViolation::Fault);
    let mut alice = endpoint(&monitor, A, A);
    let on_its_way = seal(&alice, &plan, 0, "x");
    monitor.delegate(By::Operator, B, Participant::new("bob"), Some(key(Role(6)).public())).unwrap();
    assert_eq!(monitor.send(on_its_way), Err(SendError::Stale { current: 1 }));
    assert_eq!(*monitor.status(), Status::Active);
    alice.enter(1);
    assert_eq!(monitor.send(seal(&alice, &plan, 0, "x")), Ok(Sent::Queued));
    let log = events(&mut monitor);
    // A log in which it was signed for another epoch is none.
    let mut wrong = log.clone();
    if let What::Sent { sealing: Some(sealing), .. } = &mut wrong.last_mut().unwrap().what {
        sealing.seal.epoch = 0;
    }
    assert_eq!(replay(&plan, wrong).unwrap_err(), ReplayError::Impossible { index: 2 });
    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash());
}

#[test]
fn a_seal_where_nothing_is_signed_is_no_credential() {
    let plan = talk();
    let mut monitor = open(&plan, fifo(1, BLOCK));
    let sealed = seal(&endpoint(&monitor, A, A), &plan, 0, "");
    assert_eq!(monitor.send(sealed), Err(SendError::NotSigned));
}

#[test]
fn a_key_that_verifies_anything_is_none() {
    let mut one = [0; 32];
    one[0] = 1;
    assert!(PublicKey::from_bytes(&one).is_err());
    assert!(PublicKey::from_bytes(&[0; 32]).is_err());
    assert!(PublicKey::from_bytes(&key(A).public().to_bytes()).is_ok());
    assert!(!format!("{:?}", key(A)).contains(&"01".repeat(32)));
}

/// The form that others may implement: see the module.
#[test]
fn the_signed_form_is_what_it_is() {
    let plan = talk();
    let mut bytes = Vec::new();
    let mut text = |text: &[u8]| {
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text);
    };
    text(b"sessile protocol edge 1");
    text(&[1; 16]);
    text(&plan.hash().0);
    text(b"r0");
    text(b"r1");
    let position = Position::first(SessionId([1; 16]), plan.hash(), "r0", "r1");
    assert_eq!(position, Position { sequence: 0, link: Digest::of(&bytes) });

    let message = sessile_protocol::machine::Signature { label: "ask".into(), payload: vec!["Text".into()] };
    let (payload, session) = (Digest::of(b"why"), SessionId([1; 16]));
    let (from, to) = ("r0", "r1");
    let statement =
        Statement { session, plan: plan.hash(), epoch: 3, from, to, position, message: &message, payload };
    let mut bytes = Vec::new();
    let put = |bytes: &mut Vec<u8>, text: &[u8]| {
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text);
    };
    put(&mut bytes, b"sessile protocol statement 1");
    put(&mut bytes, &[1; 16]);
    put(&mut bytes, &plan.hash().0);
    bytes.extend(3u64.to_be_bytes());
    put(&mut bytes, b"r0");
    put(&mut bytes, b"r1");
    bytes.extend(0u64.to_be_bytes());
    put(&mut bytes, b"ask");
    bytes.extend(1u32.to_be_bytes());
    put(&mut bytes, b"Text");
    put(&mut bytes, &payload.0);
    put(&mut bytes, &position.link.0);
    assert_eq!(statement.link(), Digest::of(&bytes));
    assert!(statement.is_signed_by(&key(A).public(), &statement.seal(&key(A)).signature));
}
