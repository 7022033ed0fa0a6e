//! What is said without a protocol: by whom, how much, and what of it outlives a keeper.

use super::*;

fn operator() -> Speaker {
    Speaker::Operator(None)
}

fn app(name: &str) -> Speaker {
    Speaker::App(name.parse().unwrap())
}

fn now() -> Timestamp {
    Timestamp::from_millis(0)
}

fn token(number: u64) -> Token {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Token(bytes)
}

fn say(free: &mut Free, (from, to): (&str, &str), text: &[u8], number: u64) -> Result<u64, LineError> {
    let by = if from == OPERATOR { operator() } else { app(from) };
    free.deliver(&by, (from, to), ("", text), token(number), None)
}

fn look(free: &mut Free, listener: &str, from: Option<&str>) -> Result<Heard, LineError> {
    let by = if listener == OPERATOR { operator() } else { app(listener) };
    free.look(&by, (listener, from), Some(token(u64::MAX)), now())
}

fn take(free: &mut Free, listener: &str, heard: &Heard) -> Result<(), LineError> {
    let by = if listener == OPERATOR { operator() } else { app(listener) };
    free.take(&by, listener, (&heard.from, heard.sequence), Some(token(u64::MAX)))
}

fn hear(free: &mut Free, listener: &str, from: Option<&str>) -> Vec<u8> {
    let heard = look(free, listener, from).unwrap();
    take(free, listener, &heard).unwrap();
    heard.payload
}

/// The keeper dies, and another takes over.
fn succeeded(free: Free) -> Free {
    let file = free.fd().try_clone_to_owned().unwrap();
    drop(free);
    Free::adopt(file).unwrap()
}

#[test]
fn what_was_said_is_heard_once_and_in_order_whoever_keeps_it() {
    let mut free = Free::open().unwrap();
    assert_eq!(say(&mut free, ("operator", "main"), b"one", 1).unwrap(), 0);
    assert_eq!(say(&mut free, ("second", "main"), b"\xfftwo", 2).unwrap(), 0);
    free = succeeded(free);
    assert_eq!(say(&mut free, ("operator", "main"), b"three", 3).unwrap(), 1);
    free.deliver(&operator(), ("operator", "main"), ("note", b"secret"), token(4), Some(b"[redacted]"))
        .unwrap();
    free = succeeded(free);
    assert!(matches!(look(&mut free, "second", None), Err(LineError::Nothing(_))));
    assert_eq!(hear(&mut free, "main", Some("second")), b"\xfftwo");
    free = succeeded(free);
    assert_eq!(hear(&mut free, "main", None), b"one");
    assert_eq!(hear(&mut free, "main", None), b"three");
    let heard = look(&mut free, "main", None).unwrap();
    assert_eq!((&*heard.label, &*heard.payload, heard.sequence), ("note", &b"[redacted]"[..], 2));
    // What was heard and not taken stays; the next keeper wants it heard again.
    free = succeeded(free);
    assert!(matches!(take(&mut free, "main", &heard), Err(LineError::NotHeard)));
    assert_eq!(hear(&mut free, "main", None), b"[redacted]");
    take(&mut free, "main", &heard).unwrap();
    assert!(matches!(look(&mut free, "main", None), Err(LineError::Nothing(_))));
    assert_eq!(free.said(), 4);
}

#[test]
fn a_line_is_said_once_however_often_it_is_tried() {
    let mut free = Free::open().unwrap();
    say(&mut free, ("operator", "main"), b"one", 1).unwrap();
    assert_eq!(hear(&mut free, "main", None), b"one");
    free = succeeded(free);
    assert_eq!(say(&mut free, ("operator", "main"), b"one", 1).unwrap(), 0);
    assert_eq!(free.admit(&operator(), ("operator", "main"), ("", b"one"), token(1)).unwrap(), Some(0));
    for other in [("operator", "second"), ("main", "operator")] {
        assert!(matches!(say(&mut free, other, b"one", 1), Err(LineError::Used)));
    }
    assert!(matches!(say(&mut free, ("operator", "main"), b"two", 1), Err(LineError::Used)));
    assert!(matches!(look(&mut free, "main", None), Err(LineError::Nothing(_))));
    assert_eq!(free.said(), 1);
}

#[test]
fn nobody_speaks_or_listens_for_another() {
    let mut free = Free::open().unwrap();
    say(&mut free, ("operator", "main"), b"one", 1).unwrap();
    for (by, name) in
        [(app("main"), "operator"), (app("second"), "main"), (operator(), "main"), (app("main"), "x y")]
    {
        let said = free.deliver(&by, (name, "third"), ("", b"x"), token(2), None);
        assert!(matches!(said, Err(LineError::NotYours { .. })), "{by} {name}");
        let heard = free.look(&by, (name, None), None, now());
        assert!(matches!(heard, Err(LineError::NotYours { .. })), "{by} {name}");
        assert!(matches!(free.take(&by, name, ("operator", 0), None), Err(LineError::NotYours { .. })));
        assert!(matches!(free.offered(&by, name, &[]), Err(LineError::NotYours { .. })));
        assert!(matches!(standing(String::new(), &by, name), Err(LineError::NotYours { .. })));
    }
    assert!(matches!(say(&mut free, ("main", "main"), b"x", 2), Err(LineError::Itself(_))));
    assert_eq!((free.said(), hear(&mut free, "main", None)), (1, b"one".to_vec()));
}

#[test]
fn while_one_has_a_line_others_wait_for_it() {
    let mut free = Free::open().unwrap();
    say(&mut free, ("operator", "main"), b"one", 1).unwrap();
    let by = app("main");
    free.look(&by, ("main", None), Some(token(7)), now()).unwrap();
    let other = |free: &mut Free, at| free.look(&by, ("main", None), Some(token(8)), at);
    assert!(matches!(other(&mut free, now()), Err(LineError::Held(_))));
    let later = free.released(now()).unwrap();
    other(&mut free, later).unwrap();
    // Who was overtaken is told so, before and after the other took it.
    let take = |free: &mut Free, by: u64| free.take(&app("main"), "main", ("operator", 0), Some(token(by)));
    assert!(matches!(take(&mut free, 7), Err(LineError::Anothers(_))));
    take(&mut free, 8).unwrap();
    free = succeeded(free);
    assert!(matches!(take(&mut free, 7), Err(LineError::Anothers(_))));
    take(&mut free, 8).unwrap();
    assert!(matches!(free.take(&by, "main", ("operator", 1), None), Err(LineError::NotNext)));
}

#[test]
fn every_queue_is_bounded() {
    let mut free = Free::open().unwrap();
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    for _ in 0..CAPACITY {
        say(&mut free, ("main", "operator"), b"x", next()).unwrap();
    }
    assert!(matches!(say(&mut free, ("main", "operator"), b"x", next()), Err(LineError::Full(_))));
    // Others are heard still; and one that is heard makes room.
    say(&mut free, ("second", "operator"), b"y", next()).unwrap();
    assert_eq!(hear(&mut free, "operator", None), b"x");
    say(&mut free, ("main", "operator"), b"x", next()).unwrap();
    let long = vec![0; LONGEST_PAYLOAD + 1];
    assert!(matches!(say(&mut free, ("main", "third"), &long, next()), Err(LineError::TooLong)));
    say(&mut free, ("main", "third"), &long[1..], next()).unwrap();
    // All together, and of directions.
    let mut free = Free::open().unwrap();
    for app in 0..MOST_WAITING / CAPACITY {
        for _ in 0..CAPACITY {
            say(&mut free, ("operator", &format!("a{app}")), b"x", next()).unwrap();
        }
    }
    assert!(matches!(say(&mut free, ("operator", "last"), b"x", next()), Err(LineError::Full(_))));
    let mut free = Free::open().unwrap();
    for app in 0..MOST_WAYS {
        let name = format!("a{app}");
        say(&mut free, ("operator", &name), b"x", next()).unwrap();
        hear(&mut free, &name, None);
    }
    assert!(matches!(say(&mut free, ("operator", "last"), b"x", next()), Err(LineError::TooManyWays(_))));
    say(&mut free, ("operator", "a0"), b"x", next()).unwrap();
}

#[test]
fn a_log_that_grows_is_written_anew_and_the_one_before_is_overwritten() {
    let mut free = Free::open().unwrap();
    let text = vec![7; LONGEST_PAYLOAD];
    say(&mut free, ("second", "operator"), b"stays", 1).unwrap();
    let mut renewed = 0;
    for number in 2..200 {
        say(&mut free, ("operator", "main"), &text, number).unwrap();
        assert_eq!(hear(&mut free, "main", None), text);
        if free.is_worth_renewing() {
            let before = free.fd().try_clone_to_owned().unwrap();
            free.renew(|_| Ok::<(), LogError>(())).unwrap();
            assert!(Free::adopt(before).is_err(), "nothing is left of it");
            renewed += 1;
        }
        assert!(free.log.len() < 4 << 20);
    }
    assert!(renewed > 3);
    let mut free = succeeded(free);
    assert_eq!(say(&mut free, ("operator", "main"), &text, 199).unwrap(), 197);
    assert_eq!((free.said(), hear(&mut free, "operator", None)), (199, b"stays".to_vec()));
}

#[test]
fn what_is_over_is_heard_and_not_said() {
    let mut free = Free::open().unwrap();
    say(&mut free, ("main", "operator"), b"bye", 1).unwrap();
    free.close();
    assert!(matches!(say(&mut free, ("main", "operator"), b"more", 2), Err(LineError::Over(_))));
    assert_eq!(hear(&mut free, "operator", None), b"bye");
    assert!(matches!(look(&mut free, "operator", None), Err(LineError::Over(_))));
}

#[test]
fn a_damaged_log_is_not_taken_over() {
    let mut free = Free::open().unwrap();
    say(&mut free, ("main", "operator"), b"hello", 1).unwrap();
    let file = free.fd().try_clone_to_owned().unwrap();
    let at = free.log.len() - 24;
    crate::halves::write_all(free.fd(), &[0xff], at).unwrap();
    assert!(matches!(Free::adopt(file), Err(AdoptError::Log(LogError::Damaged(_)))));
}
