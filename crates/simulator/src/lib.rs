//! A reference model and a fake world that replays seeds against the lifecycle machine.
//!
//! Every seed invents a specification and a life: clients come and go, steps fail, take long and
//! are answered twice and out of order, the clock jumps, the keeper dies between any two effects
//! and the anchor under it. After each event the machine is compared with a [`reference`] model
//! that is written the other way round, and the world says what is physically wrong. In the end
//! everything is ended, and all that was ever opened must be closed or accounted for.
//!
//! | module | subject |
//! |---|---|
//! | [`reference`] | a session as a heap of facts, from which state and obligations follow |
//! | [`world`] | resources, effects carried out late, faults |
//! | [`physics`] | what opens and closes what, and what no order can make right |
//! | [`wrong`] | deliberate mistakes that the simulator has to see |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod check;
pub mod physics;
pub mod prng;
pub mod reference;
mod run;
pub mod stats;
pub mod world;
pub mod wrong;

pub use run::Failure;
pub use stats::Stats;
pub use wrong::Wrong;

use world::Faults;

/// Runs one seed.
///
/// # Errors
/// The first disagreement, with the shortest trace that was found for it.
pub fn run(seed: u64) -> Result<Stats, Failure> {
    run_wrong(seed, Wrong::Nothing)
}

/// Runs one seed with a deliberate mistake.
///
/// # Errors
/// Where the mistake was seen.
pub fn run_wrong(seed: u64, wrong: Wrong) -> Result<Stats, Failure> {
    run::run_with(seed, Faults::ALL, wrong, false).map_err(|failure| shorten(failure, wrong))
}

/// Leaves out one kind of fault after the other as long as the seed still fails, and keeps the
/// shortest failure.
fn shorten(found: Failure, wrong: Wrong) -> Failure {
    let without: [fn(&mut Faults); 7] = [
        |f| f.jumps = false,
        |f| f.clients = false,
        |f| f.slowness = false,
        |f| f.doubles = false,
        |f| f.deaths = false,
        |f| f.failures = false,
        |f| f.crashes = false,
    ];
    let mut faults = Faults::ALL;
    let mut steps = found.step;
    for leave_out in without {
        let mut fewer = faults;
        leave_out(&mut fewer);
        if let Err(failure) = run::run_with(found.seed, fewer, wrong, false)
            && failure.step <= steps
        {
            faults = fewer;
            steps = failure.step;
        }
    }
    match run::run_with(found.seed, faults, wrong, true) {
        Err(traced) => traced,
        Ok(_) => found,
    }
}
