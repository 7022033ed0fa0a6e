//! Passing bytes between two sockets, both ways, without looking at them: they stay in the kernel,
//! which moves them through a pipe (splice(2)).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;

use crate::flows::Way;
use crate::gateway::Shared;
use crate::stream::Stream;

/// Bytes of a pipe when it is made, as the system has it.
const SMALL: usize = 64 << 10;
/// Bytes of a pipe whose connection has shown that it moves much.
const LARGE: usize = 1 << 20;
/// Bytes after which a connection moves much.
const MUCH: u64 = 1 << 20;
/// Pipes that nobody uses, kept for the next.
const SPARE: usize = 16;

/// A pipe, empty except while bytes pass through it.
#[derive(Debug)]
struct Pipe {
    read_end: OwnedFd,
    write_end: OwnedFd,
    size: usize,
}

/// Empty pipes. A connection has one only while something moves: most wait most of the time.
#[derive(Debug, Default)]
pub struct Pipes(RefCell<Vec<Pipe>>);

impl Pipes {
    fn take(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.0.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Pipe { read_end, write_end, size: SMALL })
    }

    fn give_back(&self, pipe: Pipe) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE {
            spare.push(pipe);
        }
    }
}

/// Passes bytes on until both ways are at their end. Each end is passed on by itself.
///
/// # Errors
/// When a socket fails, a cap is reached, or the system is out of pipes.
pub async fn both_ways(shared: &Shared, flow: u64, app: &Stream, world: &Stream) -> io::Result<()> {
    let out = one_way(shared, flow, Way::Out, app, world);
    let back = one_way(shared, flow, Way::In, world, app);
    // The first failure ends both: what the other way still carries has lost its meaning.
    tokio::try_join!(out, back).map(drop)
}

async fn one_way(shared: &Shared, flow: u64, way: Way, from: &Stream, to: &Stream) -> io::Result<()> {
    let mut moved = 0u64;
    loop {
        from.readable().await?;
        let mut pipe = shared.pipes.take()?;
        loop {
            let most = shared.flows.borrow().chunk().unwrap_or(pipe.size);
            let count = match from.try_io(Interest::READABLE, || take(from, &pipe.write_end, most)) {
                Ok(0) => {
                    shared.pipes.give_back(pipe);
                    return shut(to);
                }
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            };
            // A pipe that is not emptied goes with its connection.
            let mut left = count;
            while left > 0 {
                left -= to.async_io(Interest::WRITABLE, || take(&pipe.read_end, to, left)).await?;
            }
            moved += count as u64;
            let now = Instant::now();
            let (counted, delay) = {
                let mut flows = shared.flows.borrow_mut();
                (flows.count(flow, way, count as u64, now), flows.delay(count as u64, now))
            };
            counted.map_err(io::Error::other)?;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if pipe.size == SMALL && moved >= MUCH {
                // A refusal (pipe(7), pipe-user-pages-soft) leaves it as it is.
                let _ = fcntl_setpipe_size(&pipe.write_end, LARGE);
                pipe.size = LARGE;
            }
        }
        shared.pipes.give_back(pipe);
    }
}

fn take(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    loop {
        match splice(&from, None, &to, None, most, flags) {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
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
    fn pipes_are_used_again_and_few_are_kept() {
        let pipes = Pipes::default();
        let taken: Vec<_> = (0..SPARE + 4).map(|_| pipes.take().unwrap()).collect();
        taken.into_iter().for_each(|pipe| pipes.give_back(pipe));
        assert_eq!(pipes.0.borrow().len(), SPARE);
        let mut pipe = pipes.take().unwrap();
        assert_eq!(pipes.0.borrow().len(), SPARE - 1);
        pipe.size = LARGE;
        pipes.give_back(pipe);
        assert_eq!(pipes.take().unwrap().size, LARGE);
    }
}
