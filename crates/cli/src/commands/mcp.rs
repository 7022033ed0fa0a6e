//! `mcp`: the tools of one of the session's MCP servers, for an agent inside.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use sessile_model::problem::ProblemKind;
use sessile_model::protocol::{Asked, Told};

use crate::failure::{Failure, Outcome, Status};
use crate::talk;

/// Inside a session: the tools of one of its MCP servers, over standard input and output
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  claude mcp add files -- sessile mcp files     # inside a session opened with --mcp files='…'
  codex mcp add files -- sessile mcp files
  gemini mcp add files sessile mcp files

SESSILE_MCP names the session's servers. What is called passes its guard; of a server nothing but its tools can be
had.")]
pub struct Args {
    /// The server
    name: String,
}

impl Args {
    /// Passes on what is read and written, until either side ends.
    ///
    /// # Errors
    /// When this runs in no session, or the session has no such server.
    pub fn run(self) -> Outcome {
        let path = talk::socket_here()?;
        let failed = |error: &io::Error| Failure::system("reach the session's MCP server", error);
        let mut stream = UnixStream::connect(&path).map_err(|e| failed(&e))?;
        let mut line = serde_json::to_vec(&Asked::Mcp { name: self.name })
            .map_err(|e| Failure::new(ProblemKind::Internal, format!("cannot write the request: {e}")))?;
        line.push(b'\n');
        stream.write_all(&line).map_err(|e| failed(&e))?;
        let told = told(&mut stream).map_err(|e| failed(&e))?;
        if told != Told::Connected {
            return Err(talk::mismatch(told));
        }
        let mut sink = stream.try_clone().map_err(|e| failed(&e))?;
        // Ends with the process, where it still reads by then.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut sink);
            let _ = sink.shutdown(Shutdown::Write);
        });
        pass_on(&mut stream).map_err(|e| failed(&e))?;
        Ok(Status::OK)
    }
}

/// The answer: a line, and nothing behind it is read.
fn told(stream: &mut UnixStream) -> io::Result<Told> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(serde_json::from_slice(&line)?);
        }
        line.push(byte[0]);
    }
}

/// Writes what comes, at once.
fn pass_on(stream: &mut UnixStream) -> io::Result<()> {
    let (mut chunk, mut out) = (vec![0; 64 << 10], io::stdout().lock());
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                out.write_all(&chunk[..count])?;
                out.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
