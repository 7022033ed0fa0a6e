//! Passing bytes between two sockets, both ways, without looking at them.
//!
//! Through a buffer, not a pipe (splice(2)): a pipe takes what is sent in pages, which costs both ends
//! more than copying a few large pieces costs here. `cargo xtask bench route` measures it.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::flows::Way;
use crate::gateway::Shared;
use crate::stream::Stream;

/// Bytes of a connection's first buffer.
const SMALL: usize = 64 << 10;
/// Bytes of the buffer of a connection that has shown that it moves much.
const LARGE: usize = 512 << 10;
/// Bytes after which a connection moves much.
const MUCH: u64 = 1 << 20;
/// Bytes after which other connections have their turn.
const TURN: u64 = 4 << 20;
/// Buffers of each size that nobody uses, kept for the next.
const SPARE: usize = 2;

/// Buffers. A connection has one only while something moves: most wait most of the time.
#[derive(Debug, Default)]
pub struct Buffers {
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
}

impl Buffers {
    fn take(&self, moved: u64) -> Box<[u8]> {
        let (spare, size) = if moved < MUCH { (&self.small, SMALL) } else { (&self.large, LARGE) };
        spare.borrow_mut().pop().unwrap_or_else(|| vec![0; size].into_boxed_slice())
    }

    fn give_back(&self, buffer: Box<[u8]>) {
        let spare = if buffer.len() == SMALL { &self.small } else { &self.large };
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    }
}

/// Passes bytes on until both ways are at their end. Each end is passed on by itself; where something
/// fails, or this process dies, both sides hear of that instead.
///
/// # Errors
/// When a socket fails or a cap is reached.
pub async fn both_ways(shared: &Shared, flow: u64, app: &Stream, world: &Stream) -> io::Result<()> {
    closes_as(Closing::Reset, [app, world]);
    let out = one_way(shared, flow, Way::Out, app, world);
    let back = one_way(shared, flow, Way::In, world, app);
    // The first failure ends both: what the other way still carries has lost its meaning.
    tokio::try_join!(out, back)?;
    closes_as(Closing::End, [app, world]);
    Ok(())
}

/// How connections close when they are let go of, also by a process that dies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// With an end: what was said is all.
    End,
    /// With a reset: there was more to say.
    Reset,
}

/// Says how connections close from now on.
pub fn closes_as(closing: Closing, streams: impl IntoIterator<Item = impl AsFd>) {
    let linger = (closing == Closing::Reset).then_some(Duration::ZERO);
    for stream in streams {
        // One that is gone closes as it did.
        let _ = sockopt::set_socket_linger(stream, linger);
    }
}

async fn one_way(shared: &Shared, flow: u64, way: Way, from: &Stream, to: &Stream) -> io::Result<()> {
    let mut moved = 0u64;
    loop {
        from.readable().await?;
        let mut buffer = shared.buffers.take(moved);
        let passed = burst(shared, flow, way, (from, to), &mut buffer, &mut moved).await;
        shared.buffers.give_back(buffer);
        if passed? == Passed::All {
            return shut(to);
        }
    }
}

/// What is left to pass on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// Nothing, and nothing more will come.
    All,
    /// Nothing for now; or more than this buffer is made for.
    Some,
}

/// Passes on what is there.
async fn burst(
    shared: &Shared,
    flow: u64,
    way: Way,
    (from, to): (&Stream, &Stream),
    buffer: &mut [u8],
    moved: &mut u64,
) -> io::Result<Passed> {
    loop {
        let most = shared.flows.borrow().chunk().unwrap_or(buffer.len()).min(buffer.len());
        let count = match from.try_read(&mut buffer[..most]) {
            Ok(0) => return Ok(Passed::All),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Passed::Some),
            Err(e) => return Err(e),
        };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(e) => return Err(e),
            }
        }
        *moved += count as u64;
        let now = Instant::now();
        let (counted, delay) = {
            let mut flows = shared.flows.borrow_mut();
            (flows.count(flow, way, count as u64, now), flows.delay(count as u64, now))
        };
        counted.map_err(io::Error::other)?;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if *moved / TURN != (*moved - count as u64) / TURN {
            tokio::task::yield_now().await;
        }
        if *moved >= MUCH && buffer.len() == SMALL {
            return Ok(Passed::Some);
        }
    }
}

/// Passes an end on: no more bytes go this way.
fn shut(to: &Stream) -> io::Result<()> {
    match to.shutdown(std::net::Shutdown::Write) {
        // The other side has left before.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_few_are_kept() {
        let buffers = Buffers::default();
        let taken: Vec<_> = (0..SPARE + 4).map(|_| buffers.take(0)).collect();
        taken.into_iter().for_each(|buffer| buffers.give_back(buffer));
        assert_eq!(buffers.small.borrow().len(), SPARE);
        assert_eq!(buffers.take(MUCH).len(), LARGE);
        assert_eq!(buffers.take(MUCH - 1).len(), SMALL);
        assert_eq!(buffers.small.borrow().len(), SPARE - 1);
    }
}
