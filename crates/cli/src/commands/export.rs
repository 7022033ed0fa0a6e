//! `export`: copies something out of a session.

use std::path::{Path, PathBuf};

use sessile_model::api;
use sessile_model::ids::AppName;

use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{counted, print_json, printable, say};
use crate::project::utf8;
use crate::selector::SessionSelector;
use crate::startup;

/// Copy a file, a folder or a recording out of a session
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile export amber report.pdf .        from the app's home, into the current folder
  sessile export amber /tmp/build ./build
  sessile export amber /home/me/code/out.txt .   a file of the project, by its whole path
  sessile export amber --recording work.cast   the recording of main (see `sessile record --help`)
  sessile export amber --recording --app tests .

A relative path begins at the app's home: `f` is /home/user/f, not a file of the project.

Whatever the app sees can be exported: what it wrote, its copy of the project, what is mounted, the
system. An export is noted in the session's record and receipt. No link is followed, but /bin and its
like; what is left out is listed. The destination must not exist.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The app whose files are meant [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Its terminal's recording (asciicast 3), up to now; only a destination follows
    #[arg(long)]
    recording: bool,
    /// The path inside, but for a recording; a relative one begins at the app's home, /home/user
    #[arg(value_name = "PATH")]
    first: PathBuf,
    /// Where to, on the host; an existing folder takes it under its own name
    #[arg(value_name = "DESTINATION", required_unless_present = "recording", conflicts_with = "recording")]
    second: Option<PathBuf>,
}

impl Args {
    /// Copies it.
    pub fn run(self, json: bool) -> Outcome {
        let (path, destination) = match self.second {
            Some(destination) => (utf8(&self.first)?, destination),
            None => (String::new(), self.first),
        };
        let here = startup::current_folder()?;
        let mut destination = here.join(destination);
        let recording = format!("{}.cast", self.app.as_ref().unwrap_or(&AppName::main()));
        let own_name = if self.recording { Path::new(&recording) } else { Path::new(&path) }.file_name();
        if destination.is_dir()
            && let Some(name) = own_name
        {
            destination = std::fs::canonicalize(&destination).unwrap_or(destination).join(name);
        }
        let export =
            api::Export { app: self.app, path, destination: utf8(&destination)?, recording: self.recording };
        let done: api::Exported = Daemon::reach()?.post(&self.session.path("/export"), &export)?;
        if json {
            print_json(&done)?;
            return Ok(Status::OK);
        }
        let files = counted(done.files, "file", "files");
        say(&format!("{files}, {} to {}", done.bytes, destination.display()));
        for skipped in &done.skipped {
            say(&format!("left out: {}", printable(skipped)));
        }
        Ok(Status::OK)
    }
}
