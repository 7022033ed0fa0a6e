//! Rounds, medians and the table.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Something that takes time, and how to let it take it once.
pub struct Contender<'a> {
    /// What the table calls it.
    pub name: &'static str,
    /// Does it once and says how long it took.
    pub once: Box<dyn FnMut() -> Result<Duration> + 'a>,
}

/// Untimed rounds before the timed ones.
const WARM_UP: usize = 3;

/// The median of each contender, in their order. They take turns, so that what else happens on
/// the machine meets all of them.
///
/// # Errors
/// When one fails, with its name.
pub fn medians(contenders: &mut [Contender<'_>], rounds: usize) -> Result<Vec<Duration>> {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..WARM_UP + rounds.max(1) {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let took = (contender.once)().with_context(|| contender.name)?;
            if round >= WARM_UP {
                times.push(took);
            }
        }
    }
    Ok(times.into_iter().map(median).collect())
}

/// The middle of some times; zero for none.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A duration in milliseconds, for the table.
pub fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// A number of bytes in MiB, for the table.
pub fn mebibytes(bytes: f64) -> String {
    format!("{:.2} MiB", bytes / f64::from(1 << 20))
}

/// The printed result: what was measured, the figure, and the floor it is read against.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 3]>,
}

impl Table {
    /// Adds a row. An empty floor means there is none.
    pub fn add(&mut self, what: impl Into<String>, figure: impl Into<String>, floor: &str) {
        self.rows.push([what.into(), figure.into(), floor.to_owned()]);
    }

    /// Adds how ours compares with a peer's.
    pub fn add_ratio(&mut self, what: impl Into<String>, ours: Duration, peer: Duration, floor: &str) {
        let ratio = ours.as_secs_f64() / peer.as_secs_f64().max(f64::EPSILON);
        self.add(what, format!("{ratio:.2}x"), floor);
    }

    /// The rows with aligned columns.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let head = ["what", "measured", "floor"].map(str::to_owned);
        let width = |column: usize| {
            self.rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        for [what, figure, floor] in [&head].into_iter().chain(&self.rows) {
            let line = format!("{what:<first$}  {figure:>second$}  {floor}");
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_take_turns_and_the_warm_up_does_not_count() {
        let order = std::cell::RefCell::new(String::new());
        let contender = |name: &'static str, slow: u64| {
            let (order, mut round) = (&order, 0);
            let once = move || {
                order.borrow_mut().push_str(name);
                round += 1;
                Ok(Duration::from_millis(if round <= WARM_UP { 1000 } else { slow }))
            };
            Contender { name, once: Box::new(once) }
        };
        let times = medians(&mut [contender("a", 1), contender("b", 2)], 2).unwrap();
        assert_eq!(times, [Duration::from_millis(1), Duration::from_millis(2)]);
        assert_eq!(*order.borrow(), "ababababab");
    }

    #[test]
    fn the_table_is_aligned() {
        let mut table = Table::default();
        table.add("a", "1.0 ms", "");
        table.add_ratio("a / bc", Duration::from_millis(3), Duration::from_millis(2), "≤ 1.5x");
        assert_eq!(table.render(), "what    measured  floor\na         1.0 ms\na / bc     1.50x  ≤ 1.5x\n");
    }
}
