//! Both ends of measured connections. The near end runs wherever a contender puts it, as
//! `xtask bench traffic …`; the far end says which way bytes go by the first byte it hears.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::measure::median;
use super::requests;

/// Bytes of one read or write.
const CHUNK: usize = 256 << 10;
/// First bytes of a connection. None of them could begin a request of HTTP, whose rest a gateway
/// would wait for.
const UP: u8 = 1;
const DOWN: u8 = 2;
const BACK: u8 = 3;

/// What an end does. Each prints one number, or a line when it is ready.
#[derive(Clone, Debug, Subcommand)]
pub enum End {
    /// Serves everybody until it is killed, and prints the port.
    Serve,
    /// Sends for some time; prints bytes a second, as they arrived.
    Up(Far),
    /// Receives for some time; prints bytes a second.
    Down(Far),
    /// Connects as often as that; prints the median until the far end has the connection, in nanoseconds.
    Connect(Far),
    /// Connects and has a byte sent back, as often as that; prints the median in nanoseconds.
    Back(Far),
    /// Holds as many connections over which a byte went each way, until its input ends.
    Hold(Far),
    /// Asks for something again and again; prints requests a second.
    Ask(requests::Asked),
}

/// Where the far end is, and how much is done.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Far {
    /// Its address, or `host`, the name of the host's loopback in a session.
    #[arg(value_parser = address)]
    address: Option<IpAddr>,
    #[arg(long)]
    port: u16,
    /// Milliseconds, rounds or connections.
    #[arg(long)]
    amount: u32,
}

fn address(text: &str) -> Result<IpAddr, std::net::AddrParseError> {
    text.parse()
}

impl Far {
    fn find(&self) -> Result<SocketAddr> {
        match self.address {
            Some(address) => Ok(SocketAddr::new(address, self.port)),
            None => ("host.sessile", self.port).to_socket_addrs()?.next().context("no address"),
        }
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.amount.into())
    }
}

/// Plays an end.
///
/// # Errors
/// When a connection fails.
pub fn run(end: End) -> Result<()> {
    match end {
        End::Serve => {
            let port = serve("0.0.0.0")?;
            println!("{port}");
            loop {
                std::thread::park();
            }
        }
        End::Up(far) => println!("{}", up(far.find()?, far.time())?),
        End::Down(far) => println!("{}", down(far.find()?, far.time())?),
        End::Connect(far) => {
            let to = far.find()?;
            let times: Result<Vec<_>> = (0..far.amount).map(|_| back(to).map(|b| b.reached)).collect();
            println!("{}", median(times?).as_nanos());
        }
        End::Back(far) => {
            let to = far.find()?;
            let times: Result<Vec<_>> = (0..far.amount).map(|_| back(to).map(|b| b.answered)).collect();
            println!("{}", median(times?).as_nanos());
        }
        End::Ask(asked) => println!("{}", requests::ask(&asked)?),
        End::Hold(far) => {
            let to = far.find()?;
            let held: Result<Vec<_>> = (0..far.amount).map(|_| back(to)).collect();
            let held = held?;
            println!("held");
            std::io::stdin().read_to_end(&mut Vec::new())?;
            drop(held);
        }
    }
    Ok(())
}

/// Serves in threads of this process, and returns the port.
///
/// # Errors
/// When it cannot listen.
pub fn serve(address: &str) -> Result<u16> {
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let accepted = clock();
            // Whoever leaves early is measured by nobody.
            std::thread::spawn(move || serve_one(stream, accepted).ok());
        }
    });
    Ok(port)
}

/// Nanoseconds by the clock that all processes of this machine share.
fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn serve_one(mut stream: TcpStream, accepted: u64) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    match first[0] {
        UP => {
            let mut bytes = vec![0; CHUNK];
            let mut sum = 0u64;
            loop {
                match stream.read(&mut bytes)? {
                    0 => break,
                    count => sum += count as u64,
                }
            }
            stream.write_all(&sum.to_be_bytes())?;
        }
        DOWN => {
            let bytes = vec![0x5a; CHUNK];
            while stream.write_all(&bytes).is_ok() {}
        }
        _ => {
            stream.write_all(&accepted.to_be_bytes())?;
            let _ = stream.read(&mut first)?;
        }
    }
    Ok(())
}

fn up(to: SocketAddr, time: Duration) -> Result<u64> {
    let mut stream = TcpStream::connect(to)?;
    let mut bytes = vec![0x5a; CHUNK];
    stream.write_all(&[UP])?;
    let start = Instant::now();
    while start.elapsed() < time {
        stream.write_all(&bytes)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    bytes.resize(8, 0);
    stream.read_exact(&mut bytes)?;
    let sum = bytes.first_chunk().map_or(0, |sum| u64::from_be_bytes(*sum));
    Ok(rate(sum, start.elapsed()))
}

fn down(to: SocketAddr, time: Duration) -> Result<u64> {
    let mut stream = TcpStream::connect(to)?;
    let mut bytes = vec![0; CHUNK];
    stream.write_all(&[DOWN])?;
    let start = Instant::now();
    let mut sum = 0;
    while start.elapsed() < time {
        sum += stream.read(&mut bytes)? as u64;
    }
    Ok(rate(sum, start.elapsed()))
}

/// A connection over which something went each way.
struct Back {
    /// Until the far end had accepted it.
    reached: Duration,
    /// Until its answer was here.
    answered: Duration,
    _stream: TcpStream,
}

fn back(to: SocketAddr) -> Result<Back> {
    let start = clock();
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[BACK])?;
    let mut accepted = [0; 8];
    stream.read_exact(&mut accepted)?;
    let answered = Duration::from_nanos(clock() - start);
    let reached = Duration::from_nanos(u64::from_be_bytes(accepted).saturating_sub(start));
    Ok(Back { reached, answered, _stream: stream })
}

fn rate(bytes: u64, time: Duration) -> u64 {
    (bytes as f64 / time.as_secs_f64().max(f64::EPSILON)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_both_ways_and_connections_are_held() {
        let to = SocketAddr::from(([127, 0, 0, 1], serve("127.0.0.1").unwrap()));
        assert!(up(to, Duration::from_millis(5)).unwrap() > 0);
        assert!(down(to, Duration::from_millis(5)).unwrap() > 0);
        let back = back(to).unwrap();
        assert!(back.reached > Duration::ZERO && back.reached < back.answered);
    }
}
