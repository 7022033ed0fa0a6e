//! Points at which tests stop a keeper or have it leave a step out, to see that each step matters.
//!
//! Only in builds with the feature `rehearsal`, which release builds do not have. The daemon hands
//! `SESSILE_DEBUG` down; `stop=POINT` makes the keeper stop itself (`SIGSTOP`) before the point,
//! `skip=POINT` makes it leave the point's work out. Points are `bringup.STEP`, `start.main` and
//! `wipe.STEP`; several are separated by commas.

/// Whether the work of this point is to be done. Stops first where a test asked for it.
#[cfg(feature = "rehearsal")]
pub fn proceed(area: &str, step: &str) -> bool {
    let orders = std::env::var("SESSILE_DEBUG").unwrap_or_default();
    let point = format!("{area}.{step}");
    let ordered = |order: &str| {
        orders.split(',').filter_map(|o| o.split_once('=')).any(|(o, p)| o == order && p == point)
    };
    if ordered("stop") {
        // A keeper that cannot stop itself would only make its test fail.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
    !ordered("skip")
}

/// Whether the work of this point is to be done: always.
#[cfg(not(feature = "rehearsal"))]
pub const fn proceed(_area: &str, _step: &str) -> bool {
    true
}
