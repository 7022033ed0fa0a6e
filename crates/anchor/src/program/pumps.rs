//! Moving bytes from sources into rings, as long as no keeper has borrowed the turn to do so.

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use super::held::Held;
use super::store::Store;
use crate::protocol::{Code, MAX_PUMPS, Name};
use crate::ring::{Ring, WriteOutcome};
use crate::sys;

/// Most reads from one source before others get their turn.
const READS_PER_TURN: usize = 16;
/// Most bytes that are told of before the source is read again: what somebody types comes back in a few,
/// and is waited for.
const ECHO: usize = 256;
/// How long a keeper has a turn that it does not borrow anew: at least so long, and at most twice.
const LOAN: Duration = Duration::from_secs(1);

/// The first `count` places are in use.
pub(super) struct Pumps {
    count: usize,
    /// When those that are lent are looked at next.
    look: Option<Instant>,
    pumps: [Pump; MAX_PUMPS],
}

struct Pump {
    id: u32,
    state: State,
    source: Held,
    notify: Held,
    ring: Option<Ring>,
    /// How often the turn had been borrowed when that was looked at last.
    borrowed: u32,
}

/// ```text
/// Flowing ──floor reached──► Full ──room, poke──► Flowing
///    │ ▲
///  end └──poke── Ended
/// ```
/// And from Flowing to Lent where the keeper has borrowed the turn, until that is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    Full,
    Ended,
    Lent,
}

impl Pump {
    const NONE: Self = Self {
        id: 0,
        state: State::Flowing,
        source: Held::NONE,
        notify: Held::NONE,
        ring: None,
        borrowed: 0,
    };

    fn turn(&mut self) {
        let (Some(source), Some(ring)) = (self.source.fd(), &self.ring) else { return };
        if !ring.begin() {
            self.borrowed = ring.borrowed();
            self.state = State::Lent;
            return;
        }
        let mut news = false;
        let mut first = true;
        let was_ended = ring.ended();
        for _ in 0..READS_PER_TURN {
            match ring.write_from(source) {
                Ok(WriteOutcome::Bytes(count)) => {
                    news = !std::mem::take(&mut first) || count > ECHO;
                    if !news {
                        self.ring_bell();
                    }
                    continue;
                }
                Ok(WriteOutcome::WouldBlock) => {}
                Ok(WriteOutcome::Full) => {
                    self.state = State::Full;
                    news = true;
                }
                // A source that is still at its end when it is poked is no news.
                Ok(WriteOutcome::Ended) => {
                    self.state = State::Ended;
                    news |= !was_ended;
                }
                Err(_) => {
                    ring.mark_ended();
                    self.state = State::Ended;
                    news |= !was_ended;
                }
            }
            break;
        }
        ring.finish();
        if news {
            self.ring_bell();
        }
    }

    /// Goes on with what a keeper had borrowed and did not borrow anew since the last look.
    fn look(&mut self) {
        let Some(ring) = self.ring.as_ref().filter(|_| self.state == State::Lent) else { return };
        let borrowed = ring.borrowed();
        if std::mem::replace(&mut self.borrowed, borrowed) == borrowed && ring.take_back() {
            self.state = State::Flowing;
        }
    }

    /// Goes on with what a keeper had borrowed that is dead.
    fn inherit(&mut self) {
        let Some(ring) = &self.ring else { return };
        ring.inherit();
        if self.state == State::Lent {
            self.state = State::Flowing;
        }
    }

    fn ring_bell(&self) {
        // SAFETY: writes the eight bytes of a value that outlives the call.
        unsafe { libc::write(self.notify.number(), (&raw const ONE).cast(), size_of::<u64>()) };
    }
}

static ONE: u64 = 1;

impl Pumps {
    pub(super) const EMPTY: Self = Self { count: 0, look: None, pumps: [const { Pump::NONE }; MAX_PUMPS] };

    /// Pumps that run.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Fills the poll set with the sources to watch. Returns how many places it used.
    pub(super) fn arm(&mut self, set: &mut [libc::pollfd]) -> usize {
        for (pump, place) in self.pumps.iter_mut().take(self.count).zip(set) {
            // The keeper's poke may have come just before the pump stopped.
            if pump.state == State::Full && pump.ring.as_ref().is_some_and(|ring| !ring.is_full()) {
                pump.state = State::Flowing;
            }
            place.fd = if pump.state == State::Flowing { pump.source.number() } else { -1 };
        }
        self.count
    }

    /// Looks at what is lent, if it is time. Returns in how many milliseconds it will be; -1: nothing is lent.
    pub(super) fn look(&mut self) -> i32 {
        let pumps = &mut self.pumps[..self.count];
        if !pumps.iter().any(|pump| pump.state == State::Lent) {
            self.look = None;
            return -1;
        }
        let now = Instant::now();
        let at = *self.look.get_or_insert(now + LOAN);
        if at > now {
            return (at - now).as_millis() as i32 + 1;
        }
        pumps.iter_mut().for_each(Pump::look);
        self.look = Some(now + LOAN);
        LOAN.as_millis() as i32
    }

    /// Goes on with all that was lent to a keeper, which is dead.
    pub(super) fn inherit(&mut self) {
        self.pumps[..self.count].iter_mut().for_each(Pump::inherit);
    }

    /// Pumps once, at a place whose source has something.
    pub(super) fn turn(&mut self, at: usize) {
        if let Some(pump) = self.pumps.get_mut(at) {
            pump.turn();
        }
    }

    /// Starts a pump between entries of the store.
    pub(super) fn start(&mut self, id: u32, names: &[Name; 3], store: &Store) -> Result<(), Refusal> {
        if self.find(id).is_some() {
            return Err(Refusal::Code(Code::PumpExists));
        }
        let place = self.pumps.get_mut(self.count).ok_or(Refusal::Code(Code::PumpsFull))?;
        let entry = |name| {
            let found = store.find(name).and_then(|at| store.fd(at).fd());
            found.ok_or(Refusal::Code(Code::NotFound))
        };
        let [source, ring, notify] = names;
        let (source, ring, notify) = (entry(source)?, entry(ring)?, entry(notify)?);
        let ring = Ring::open(ring).map_err(|_| Refusal::Code(Code::BadRing))?;
        let (source, notify) = (sys::duplicate(source)?, sys::duplicate(notify)?);
        sys::set_nonblocking(source.as_fd())?;
        sys::set_nonblocking(notify.as_fd())?;
        place.id = id;
        place.state = State::Flowing;
        place.source.set(source);
        place.notify.set(notify);
        ring.lend(true);
        place.ring = Some(ring);
        self.count += 1;
        Ok(())
    }

    /// Stops a pump. The last one takes the free place.
    pub(super) fn stop(&mut self, id: u32) -> Code {
        let Some(at) = self.find(id) else { return Code::NotFound };
        let last = self.count - 1;
        self.pumps.swap(at, last);
        let pump = &mut self.pumps[last];
        pump.source.clear();
        pump.notify.clear();
        if let Some(ring) = pump.ring.take() {
            ring.lend(false);
        }
        self.count = last;
        Code::Done
    }

    /// Lets a pump try its source again.
    pub(super) fn poke(&mut self, id: u32) -> Code {
        let Some(at) = self.find(id) else { return Code::NotFound };
        self.pumps[at].state = State::Flowing;
        Code::Done
    }

    fn find(&self, id: u32) -> Option<usize> {
        self.pumps.iter().take(self.count).position(|pump| pump.id == id)
    }
}

/// Why a pump was not started.
pub(super) enum Refusal {
    Code(Code),
    System(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
