//! Lines that come with the token of one that was said.

use super::signed::{question, seal, signed_talk, violation};
use super::*;

fn says(
    channels: &mut Channels,
    by: &Speaker,
    way: (&str, &str),
    line: (&str, &[u8]),
    seal: Option<&sessile_model::protocol::LineSeal>,
) -> Result<u64, LineError> {
    let sealed = seal.map(|seal| Sealed::try_from(seal).unwrap());
    channels.send(by, way, line, (Token([1; 16]), sealed.as_ref()))
}

const ASKS: (&str, &str) = ("User", "Agent");
const ANSWERS: (&str, &str) = ("Agent", "User");

#[test]
fn a_token_acknowledges_its_own_line_and_no_other() {
    let mut channels = talk();
    ask(&mut channels, 1).unwrap();
    for _ in 0..2 {
        channels = succeeded(channels);
        assert_eq!(ask(&mut channels, 1).unwrap(), 0);
        // What is no line of the protocol is none with a token either.
        let error = says(&mut channels, &agent(), ANSWERS, ("nonsense", b""), None).unwrap_err();
        assert_eq!(violation(&error), "unknown-message");
        let error = says(&mut channels, &user(), ASKS, ("ask", b"other"), None).unwrap_err();
        assert_eq!(violation(&error), "not-offered");
        // What could be said is refused, and nothing is said of it.
        if channels.monitor.queued(channels.role("User").unwrap(), channels.role("Agent").unwrap()) > 0 {
            let heard = look(&mut channels, &agent(), "Agent", None).unwrap();
            channels.take(&agent(), "Agent", ("User", heard.sequence), listener()).unwrap();
        }
        let before = channels.monitor.count();
        let error = says(&mut channels, &agent(), ANSWERS, ("answer", b"so"), None).unwrap_err();
        assert!(matches!(error, LineError::Used), "{error}");
        assert_eq!(channels.monitor.count(), before);
        let codes: Vec<String> = channels.take_violations().0.into_iter().map(|one| one.code).collect();
        assert_eq!(codes, ["unknown-message", "not-offered"]);
    }
}

#[test]
fn a_log_that_is_written_anew_keeps_which_line_a_token_stands_for() {
    let mut channels = talk();
    ask(&mut channels, 1).unwrap();
    let mut kept = None;
    let keeps = |fd: BorrowedFd<'_>| -> Result<(), LogError> {
        kept = Some(fd.try_clone_to_owned()?);
        Ok(())
    };
    channels.renew(keeps).unwrap();
    let mut channels = Channels::adopt(kept.unwrap()).unwrap();
    assert_eq!(ask(&mut channels, 1).unwrap(), 0);
    let heard = look(&mut channels, &agent(), "Agent", None).unwrap();
    channels.take(&agent(), "Agent", ("User", heard.sequence), listener()).unwrap();
    let error = says(&mut channels, &agent(), ANSWERS, ("answer", b"so"), None).unwrap_err();
    assert!(matches!(error, LineError::Used), "{error}");
}

#[test]
fn a_used_token_makes_no_forged_line_a_good_one() {
    let mut channels = signed_talk(OnViolation::Refuse);
    let first = question(&channels, 1);
    let asks =
        |channels: &mut Channels, seal: Option<&_>| says(channels, &user(), ASKS, ("ask", b"why?"), seal);
    assert_eq!(asks(&mut channels, Some(&first)).unwrap(), 0);
    let mut channels = succeeded(channels);
    assert_eq!(asks(&mut channels, Some(&first)).unwrap(), 0);
    // The same words, without what shows who says them.
    assert_eq!(violation(&asks(&mut channels, None).unwrap_err()), "unsigned");
    let mut forged = question(&channels, 1);
    forged.signature.clone_from(&first.signature);
    assert_eq!(violation(&asks(&mut channels, Some(&forged)).unwrap_err()), "forged");
    let other = question(&channels, 9);
    assert!(matches!(asks(&mut channels, Some(&other)), Err(LineError::OtherKey(_))));
    // The same words, signed again by who said them.
    let again = question(&channels, 1);
    assert_eq!(asks(&mut channels, Some(&again)).unwrap(), 0);
    // Another role's line, unsigned and then with a key that nobody knows yet.
    let heard = look(&mut channels, &agent(), "Agent", None).unwrap();
    channels.take(&agent(), "Agent", ("User", heard.sequence), listener()).unwrap();
    let answers = |channels: &mut Channels, seal: Option<&_>| {
        says(channels, &agent(), ANSWERS, ("answer", b"so"), seal)
    };
    let answer = seal(&channels, &agent(), 2, ANSWERS, ("answer", b"so"));
    assert!(matches!(answers(&mut channels, Some(&answer)), Err(LineError::Used)));
    assert_eq!(violation(&answers(&mut channels, None).unwrap_err()), "unsigned");

    let mut channels = signed_talk(OnViolation::Fault);
    let first = question(&channels, 1);
    asks(&mut channels, Some(&first)).unwrap();
    answers(&mut channels, None).unwrap_err();
    assert!(!channels.is_active() && channels.take_violations().1);
}
