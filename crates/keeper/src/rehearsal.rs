//! Points at which tests stop a keeper or have it leave a step out, to see that each step matters.
//!
//! Only in builds with the feature `rehearsal`, which release builds do not have. The daemon hands
//! `SESSILE_DEBUG` down; `stop=POINT` makes the keeper stop itself (`SIGSTOP`) before the point,
//! `skip=POINT` makes it leave the point's work out, `capture=explicit` has it open sessions as
//! where nf_tables is missing, `clock=FILE` adds the milliseconds in a file to each reading of the wall
//! clock, `patience=MILLISECONDS` is how long somebody has for an answer about what is held, `echo=MILLISECONDS`
//! how long at most an answer to a key is waited for while nothing else comes. Points are `bringup.STEP`, `places.held`, `start.main`,
//! `start.noted`, `typed.read`, `apply.remember`, `pause.freeze`, `pause.thaw`, `adopt.interception`, `wipe.STEP`, `finish.sign`, `finish.leave` and
//! `finish.gone`, when nothing is left of a keeper but its process; `POINT@NAME` is meant for the
//! session of that name alone; several are separated by commas. A keeper stops once at each point,
//! and only a session's first keeper: the one that follows goes on.

#[cfg(feature = "rehearsal")]
use std::collections::BTreeSet;
#[cfg(feature = "rehearsal")]
use std::sync::Mutex;
#[cfg(feature = "rehearsal")]
use std::sync::atomic::{AtomicBool, Ordering};

use sessile_model::quantity::Millis;

use crate::keeper::Keeper;

#[cfg(feature = "rehearsal")]
static GOES_ON: AtomicBool = AtomicBool::new(false);
/// Points at which this keeper has stopped.
#[cfg(feature = "rehearsal")]
static PAST: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Whether the work of this point is to be done. Stops first where a test asked for it.
#[cfg(feature = "rehearsal")]
pub fn proceed(session: Option<&str>, area: &str, step: &str) -> bool {
    let point = format!("{area}.{step}");
    let ordered = |wanted: &str| chooses(session, wanted, &point);
    let is_first = || PAST.lock().is_ok_and(|mut past| past.insert(point.clone()));
    if ordered("stop") && !GOES_ON.load(Ordering::Relaxed) && is_first() {
        // A keeper that cannot stop itself would only make its test fail.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
    !ordered("skip")
}

/// Whether a test gave this order.
#[cfg(feature = "rehearsal")]
pub fn chooses(session: Option<&str>, wanted: &str, wanted_place: &str) -> bool {
    let orders = std::env::var("SESSILE_DEBUG").unwrap_or_default();
    orders.split(',').filter_map(|order| order.split_once('=')).any(|(order, place)| {
        let (place, name) = place.split_once('@').map_or((place, None), |(p, n)| (p, Some(n)));
        order == wanted && place == wanted_place && (name.is_none() || name == session)
    })
}

/// How far a test has the wall clock jump.
#[cfg(feature = "rehearsal")]
pub fn clock_jump_ms() -> i64 {
    let orders = std::env::var("SESSILE_DEBUG").unwrap_or_default();
    let file = orders.split(',').find_map(|order| order.strip_prefix("clock="));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// How far a test has the wall clock jump: not at all.
#[cfg(not(feature = "rehearsal"))]
pub const fn clock_jump_ms() -> i64 {
    0
}

/// How long something takes at most, where a test says so.
#[cfg(feature = "rehearsal")]
pub fn limit(what: &str, otherwise: Millis) -> Millis {
    let orders = std::env::var("SESSILE_DEBUG").unwrap_or_default();
    let said = orders.split(',').filter_map(|order| order.split_once('=')).find(|(order, _)| *order == what);
    said.and_then(|(_, said)| said.parse().ok()).map_or(otherwise, Millis)
}

/// How long something takes at most: as long as ever.
#[cfg(not(feature = "rehearsal"))]
pub const fn limit(_what: &str, otherwise: Millis) -> Millis {
    otherwise
}

/// Whether a test gave this order: never.
#[cfg(not(feature = "rehearsal"))]
pub const fn chooses(_session: Option<&str>, _wanted: &str, _place: &str) -> bool {
    false
}

/// Whether the work of this point is to be done: always.
#[cfg(not(feature = "rehearsal"))]
pub const fn proceed(_session: Option<&str>, _area: &str, _step: &str) -> bool {
    true
}

/// Notes that this keeper took over from another.
#[cfg(feature = "rehearsal")]
pub fn succeeds_another() {
    GOES_ON.store(true, Ordering::Relaxed);
}

/// Notes that this keeper took over from another.
#[cfg(not(feature = "rehearsal"))]
pub const fn succeeds_another() {}

impl Keeper {
    /// Stops here, or says that this point's work is left out, where a test ordered it.
    pub(crate) fn proceed(&self, area: &str, step: &str) -> bool {
        let name = self.facts.as_ref().and_then(|facts| facts.spec.name.as_ref());
        proceed(name.map(|name| name.as_str()), area, step)
    }
}
