//! 100,000 lives. `SESSILE_SEED=N` replays one, `SESSILE_SEEDS=N` sets how many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sessile_simulator::{Failure, Stats};

const SEEDS: u64 = 100_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn the_machine_agrees_with_its_reference_on_every_seed() {
    if let Some(seed) = number("SESSILE_SEED") {
        match sessile_simulator::run(seed) {
            Ok(stats) => println!("seed {seed} agrees\n{stats}"),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let seeds = number("SESSILE_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let (stats, failures) = run_all(seeds);
    let seconds = began.elapsed().as_secs_f64();
    println!("{seeds} seeds in {seconds:.1} s, {:.0} seeds/s\n{stats}", seeds as f64 / seconds);
    for failure in failures.iter().take(5) {
        println!("{failure}\n");
    }
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed; the first is {}",
        failures.len(),
        failures[0].seed
    );
    if seeds >= 10_000 {
        let never: Vec<&str> =
            stats.each().into_iter().filter(|(_, n)| *n == 0).map(|(name, _)| name).collect();
        assert!(never.is_empty(), "never exercised: {never:?}");
    }
}

fn run_all(seeds: u64) -> (Stats, Vec<Failure>) {
    const BATCH: u64 = 256;
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let (mut stats, mut failures) = (Stats::default(), Vec::new());
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= seeds || failures.len() > 20 {
                return (stats, failures);
            }
            for seed in from..(from + BATCH).min(seeds) {
                match sessile_simulator::run(seed) {
                    Ok(one) => stats += one,
                    Err(failure) => failures.push(failure),
                }
            }
        }
    };
    let (mut stats, mut failures) = (Stats::default(), Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (its_stats, its_failures) = worker.join().expect("a worker panicked");
            stats += its_stats;
            failures.extend(its_failures);
        }
    });
    failures.sort_by_key(|f| f.seed);
    (stats, failures)
}
