//! The table of connections, and the caps on them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use sessile_model::AppName;
use sessile_model::Timestamp;
use sessile_model::api::{Flow, Verdict};
use sessile_model::network::NetworkLimits;

/// Connections remembered after their end.
const REMEMBERED: usize = 256;
/// What the rate is measured over.
const WINDOW: Duration = Duration::from_secs(1);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the app.
    Out,
    /// To the app.
    In,
}

/// A cap that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reached {
    /// Connections at once.
    #[error("the cap on connections is reached")]
    Connections,
    /// Bytes in all.
    #[error("the cap on bytes is reached")]
    Bytes,
}

/// All connections of a session.
#[derive(Debug)]
pub struct Flows {
    limits: NetworkLimits,
    last: u64,
    open: BTreeMap<u64, Open>,
    closed: VecDeque<Flow>,
    /// Bytes of all connections, both ways.
    total: u64,
    /// When the next byte may go, under a cap on the rate.
    free_at: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    flow: Flow,
    window: Instant,
    in_window: u64,
}

impl Flows {
    /// None yet.
    pub fn new(limits: NetworkLimits) -> Self {
        Self { limits, last: 0, open: BTreeMap::new(), closed: VecDeque::new(), total: 0, free_at: None }
    }

    /// Counts what went through earlier gateways of the session.
    pub fn begin_after(&mut self, spent: u64) {
        self.total = self.total.max(spent);
    }

    /// Bytes of all connections, both ways, where they are capped.
    pub fn spent(&self) -> Option<u64> {
        self.limits.bytes.map(|_| self.total)
    }

    /// Enters a connection and returns its number.
    ///
    /// # Errors
    /// When a cap is reached; then it is noted as refused.
    pub fn begin(
        &mut self,
        app: AppName,
        host: String,
        port: u16,
        at: (Timestamp, Instant),
    ) -> Result<u64, Reached> {
        self.last += 1;
        let flow = Flow {
            number: self.last,
            app,
            host,
            port,
            verdict: None,
            by: String::new(),
            opened_at: at.0,
            open: true,
            sent: 0,
            received: 0,
            rate: 0,
            problem: None,
        };
        let most = self.limits.connections.unwrap_or(NetworkLimits::DEFAULT_CONNECTIONS) as usize;
        let reached = if self.open.len() >= most {
            Some(Reached::Connections)
        } else {
            self.is_spent().then_some(Reached::Bytes)
        };
        self.open.insert(self.last, Open { flow, window: at.1, in_window: 0 });
        match reached {
            None => Ok(self.last),
            Some(reached) => {
                self.decided(self.last, Verdict::Deny, &reached.to_string());
                self.end(self.last, None);
                Err(reached)
            }
        }
    }

    /// Notes what was decided about a connection, and by what.
    pub fn decided(&mut self, number: u64, verdict: Verdict, by: &str) {
        if let Some(open) = self.open.get_mut(&number) {
            open.flow.verdict = Some(verdict);
            by.clone_into(&mut open.flow.by);
        }
    }

    /// Counts bytes of a connection.
    ///
    /// # Errors
    /// When the cap on bytes is reached.
    pub fn count(&mut self, number: u64, way: Way, bytes: u64, now: Instant) -> Result<(), Reached> {
        self.total = self.total.saturating_add(bytes);
        if let Some(open) = self.open.get_mut(&number) {
            open.roll(now);
            open.in_window += bytes;
            match way {
                Way::Out => open.flow.sent += bytes,
                Way::In => open.flow.received += bytes,
            }
        }
        if self.is_spent() { Err(Reached::Bytes) } else { Ok(()) }
    }

    /// How long the next bytes of any connection must wait after these went: zero without a cap on
    /// the rate.
    pub fn delay(&mut self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.limits.rate.filter(|rate| rate.0 > 0) else { return Duration::ZERO };
        let cost = Duration::from_secs_f64(bytes as f64 / rate.0 as f64);
        let free_at = self.free_at.map_or(now, |at| at.max(now)) + cost;
        self.free_at = Some(free_at);
        free_at.duration_since(now)
    }

    /// Most bytes to take at once: a tenth of a second's worth under a cap on the rate.
    pub fn chunk(&self) -> Option<usize> {
        let rate = self.limits.rate.filter(|rate| rate.0 > 0)?;
        Some(usize::try_from(rate.0 / 10).unwrap_or(usize::MAX).clamp(1, 64 << 10))
    }

    /// Ends a connection, with what went wrong.
    pub fn end(&mut self, number: u64, problem: Option<String>) {
        let Some(mut open) = self.open.remove(&number) else { return };
        open.flow.open = false;
        open.flow.rate = 0;
        open.flow.problem = problem;
        if self.closed.len() == REMEMBERED {
            self.closed.pop_front();
        }
        self.closed.push_back(open.flow);
    }

    /// All that are open and the latest that are not, oldest first.
    pub fn view(&mut self, now: Instant) -> Vec<Flow> {
        let open = self.open.values_mut().map(|open| {
            open.roll(now);
            open.flow.clone()
        });
        let mut all: Vec<Flow> = self.closed.iter().cloned().chain(open).collect();
        all.sort_by_key(|flow| flow.number);
        all
    }

    fn is_spent(&self) -> bool {
        self.limits.bytes.is_some_and(|most| self.total >= most.0)
    }
}

impl Open {
    fn roll(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.window);
        if passed >= WINDOW {
            self.flow.rate = if passed < WINDOW * 2 { self.in_window } else { 0 };
            self.window = now;
            self.in_window = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessile_model::ByteSize;

    fn begin(flows: &mut Flows, now: Instant) -> Result<u64, Reached> {
        flows.begin(AppName::main(), "a.example".into(), 443, (Timestamp::from_millis(0), now))
    }

    #[test]
    fn connections_are_capped_and_what_is_refused_shows() {
        let now = Instant::now();
        let mut flows = Flows::new(NetworkLimits { connections: Some(1), ..NetworkLimits::default() });
        let first = begin(&mut flows, now).unwrap();
        assert_eq!(begin(&mut flows, now), Err(Reached::Connections));
        flows.end(first, None);
        begin(&mut flows, now).unwrap();
        let view = flows.view(now);
        assert_eq!(view.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(
            (view[1].verdict, view[1].by.as_str()),
            (Some(Verdict::Deny), "the cap on connections is reached")
        );
    }

    #[test]
    fn bytes_are_counted_and_capped() {
        let now = Instant::now();
        let mut flows = Flows::new(NetworkLimits { bytes: Some(ByteSize(10)), ..NetworkLimits::default() });
        let flow = begin(&mut flows, now).unwrap();
        assert_eq!(flows.count(flow, Way::Out, 6, now), Ok(()));
        assert_eq!(flows.count(flow, Way::In, 4, now), Err(Reached::Bytes));
        assert_eq!((flows.view(now)[0].sent, flows.view(now)[0].received), (6, 4));
        assert_eq!(begin(&mut flows, now), Err(Reached::Bytes));
    }

    #[test]
    fn what_an_earlier_gateway_counted_is_spent() {
        let now = Instant::now();
        let mut flows = Flows::new(NetworkLimits { bytes: Some(ByteSize(10)), ..NetworkLimits::default() });
        flows.begin_after(9);
        let flow = begin(&mut flows, now).unwrap();
        assert_eq!(flows.count(flow, Way::Out, 1, now), Err(Reached::Bytes));
        flows.begin_after(9);
        assert_eq!(flows.spent(), Some(10));
    }

    #[test]
    fn a_rate_is_shared_by_all() {
        let now = Instant::now();
        let mut flows = Flows::new(NetworkLimits { rate: Some(ByteSize(1000)), ..NetworkLimits::default() });
        assert_eq!(flows.delay(100, now), Duration::from_millis(100));
        assert_eq!(flows.delay(100, now), Duration::from_millis(200));
        assert_eq!(flows.delay(100, now + Duration::from_secs(1)), Duration::from_millis(100));
        assert_eq!(flows.chunk(), Some(100));
        assert_eq!(Flows::new(NetworkLimits::default()).delay(1 << 40, now), Duration::ZERO);
    }

    #[test]
    fn the_rate_shown_is_that_of_the_last_whole_second() {
        let now = Instant::now();
        let mut flows = Flows::new(NetworkLimits::default());
        let flow = begin(&mut flows, now).unwrap();
        flows.count(flow, Way::In, 500, now).unwrap();
        assert_eq!(flows.view(now + WINDOW)[0].rate, 500);
        assert_eq!(flows.view(now + WINDOW * 2)[0].rate, 0);
    }

    #[test]
    fn ended_connections_are_forgotten_in_time() {
        let now = Instant::now();
        let mut flows = Flows::new(NetworkLimits::default());
        for _ in 0..REMEMBERED + 10 {
            let number = begin(&mut flows, now).unwrap();
            flows.end(number, None);
        }
        assert_eq!(flows.view(now).len(), REMEMBERED);
    }
}
