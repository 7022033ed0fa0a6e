//! A check that was never seen to fail is not a check: each deliberate mistake must be seen.

use sessile_simulator::{Wrong, run_wrong};

#[test]
fn every_deliberate_mistake_is_seen() {
    for wrong in Wrong::ALL {
        let seen = (0..2_000).find_map(|seed| run_wrong(seed, wrong).err());
        match seen {
            Some(failure) => {
                println!("{wrong:?}: seed {} at event {}: {}", failure.seed, failure.step, failure.what);
                assert!(!failure.trace.is_empty(), "{wrong:?} has no trace");
            }
            None => panic!("{wrong:?} was not seen in 2,000 seeds"),
        }
    }
}

#[test]
fn a_failure_replays_from_its_seed() {
    let wrong = Wrong::LeavesRouteOpen;
    let failure = (0..2_000).find_map(|seed| run_wrong(seed, wrong).err()).unwrap();
    assert_eq!(run_wrong(failure.seed, wrong), Err(failure));
}
