//! A started command, and what it said in the end. Nothing here waits for ever.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::processes;

/// How long anything may take before the test says that it hangs. Not a figure of speed.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A command with its streams.
pub struct Running {
    child: Child,
    line: String,
    out: Option<ChildStdout>,
    input: Option<ChildStdin>,
    err: Receiver<Vec<u8>>,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Finished {
    line: String,
    /// The code as a shell would report it.
    pub code: i32,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: String,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let line = format!("{command:?}");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {line}: {e}"));
        let err = collect(child.stderr.take().unwrap());
        Self { out: child.stdout.take(), input: child.stdin.take(), child, line, err }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, for a test that reads it in its own way.
    pub fn take_output(&mut self) -> ChildStdout {
        self.out.take().unwrap()
    }

    /// Writes to its standard input from a thread of its own, and closes it.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        let mut input = self.input.take().unwrap();
        // It may end without having read it all.
        thread::spawn(move || drop(input.write_all(&bytes)));
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        drop(self.input.take());
        let out = self.out.take().map(collect);
        let status = self.wait();
        let received = |from: Receiver<Vec<u8>>| {
            from.recv_timeout(TIME_LIMIT)
                .unwrap_or_else(|_| panic!("something keeps the output of {} open", self.line))
        };
        let out = out.map(received).unwrap_or_default();
        let (_, empty) = channel();
        let err = received(std::mem::replace(&mut self.err, empty));
        let err = String::from_utf8_lossy(&err).into_owned();
        Finished { line: self.line.clone(), code: code(status), out, err }
    }

    fn wait(&mut self) -> ExitStatus {
        if !processes::wait_for_end(self.child.id(), TIME_LIMIT) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let said = self.err.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
            panic!("{} hangs; it said: {}", self.line, String::from_utf8_lossy(&said));
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The code as a shell would report it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn collect(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

impl Finished {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub fn succeeded(&self) -> String {
        self.ended_with(0);
        self.text()
    }

    /// Checks its exit code.
    #[track_caller]
    pub fn ended_with(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{} printed:\n{}\nand said:\n{}", self.line, self.text(), self.err);
        self
    }

    /// Checks that it failed with this code and said something that contains these words.
    #[track_caller]
    pub fn refused_with(&self, code: i32, words: &[&str]) {
        self.ended_with(code);
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in: {}", self.err);
        }
    }
}
