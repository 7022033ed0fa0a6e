//! A person's window: a terminal with a program on it, read as fast as it writes, or not at all.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Longest wait for something to be shown.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A window of 80 columns and 24 rows. Closing it hangs up on the program.
pub struct Window {
    master: File,
    child: Child,
    buffer: Vec<u8>,
}

impl Window {
    /// Opens one with this command on it.
    ///
    /// # Errors
    /// When there is no terminal to be had, or the command does not start.
    pub fn open(command: &Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        let slave = File::options().read(true).write(true).open(OsStr::from_bytes(path.as_bytes()))?;
        tcsetwinsize(&master, Winsize { ws_col: 80, ws_row: 24, ws_xpixel: 0, ws_ypixel: 0 })?;
        let mut on_it = Command::new("setsid");
        on_it.arg("--ctty").arg(command.get_program()).args(command.get_args()).env("TERM", "xterm-256color");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => on_it.env(name, value),
                None => on_it.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            on_it.current_dir(folder);
        }
        on_it.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(Stdio::from(slave));
        let child = on_it.spawn().context("cannot start setsid")?;
        Ok(Self { master: File::from(master), child, buffer: vec![0; 64 * 1024] })
    }

    /// Types.
    ///
    /// # Errors
    /// When nobody is there to read.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.master.write_all(bytes)?)
    }

    /// Reads until these bytes are shown, and says how many came before their end.
    ///
    /// # Errors
    /// When they are not shown in time, or the program has gone.
    pub fn wait_for(&mut self, wanted: &[u8]) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        let (mut kept, mut count) = (Vec::new(), 0);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let read = self.read_within(left)?;
            let Some(read) = read else {
                let shown = String::from_utf8_lossy(&kept);
                bail!("{:?} was never shown; last: {shown:?}", String::from_utf8_lossy(wanted));
            };
            count += read as u64;
            kept.extend_from_slice(self.buffer.get(..read).unwrap_or_default());
            if kept.windows(wanted.len()).any(|window| window == wanted) {
                return Ok(count);
            }
            // What may be the first part of it stays.
            let useless = kept.len().saturating_sub(wanted.len().max(200));
            kept.drain(..useless);
        }
    }

    /// Throws away what comes until nothing comes for so long.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub fn settle(&mut self, quiet: Duration) -> Result<()> {
        while self.read_within(quiet)?.is_some() {}
        Ok(())
    }

    /// Bytes read into the buffer; `None` when none came in time.
    fn read_within(&mut self, time: Duration) -> Result<Option<usize>> {
        let time = Timespec::try_from(time)?;
        if poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&time))? == 0 {
            return Ok(None);
        }
        match self.master.read(&mut self.buffer).context("the program has gone")? {
            0 => bail!("the program has gone"),
            count => Ok(Some(count)),
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
