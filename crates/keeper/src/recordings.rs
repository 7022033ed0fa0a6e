//! Recordings, as clients ask for them: begun, stopped, taken over, exported. What writes them is in
//! [`crate::recorder`].

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use sessile_model::api;
use sessile_model::ids::AppName;
use sessile_model::record::{Grant, RecordingState};
use sessile_model::spec::{Limits, Recording};
use sessile_model::wire::Event as Told;
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::files::{self, ExportError};
use sessile_session::Note;
use sessile_terminal::Scrollback;

use crate::bringup::{causes, failed};
use crate::keeper::Keeper;
use crate::project::export_kind;
use crate::recorder::{self, Beginning, Recorder};
use crate::task::{Streams, Task};

/// The part of session storage that one recording may take: a recording must not take the room that
/// the session works in.
const SHARE: u64 = 4;

impl Keeper {
    /// What is recorded of a command from its first byte.
    pub(crate) fn wanted_recording(&self, name: &AppName) -> Option<Recording> {
        self.facts.as_ref()?.spec.record.filter(|_| *name == AppName::main())
    }

    /// Begins to record a terminal of which this was written so far.
    pub(crate) fn begin_recording(
        &self,
        name: &AppName,
        what: Recording,
        streams: &Streams,
    ) -> Result<Recorder, Problem> {
        let Streams::Terminal { screen, .. } = streams else { return Err(no_terminal(name)) };
        let gone = || Problem::new(ProblemKind::Conflict, "the session's storage is gone");
        let storage = &self.space.as_ref().ok_or_else(gone)?.storage;
        let drawn = if screen.offset() == 0 { Vec::new() } else { screen.dump(Scrollback::Without) };
        let begin = Beginning {
            name,
            what,
            size: screen.size(),
            term: Some(self.facts()?.spec.term.as_deref().unwrap_or("xterm-256color")),
            offset: screen.offset(),
            screen: &drawn,
            limit: self.recording_limit(),
        };
        Recorder::begin(storage.as_fd(), &begin, self.now).map_err(|errno| match errno {
            Errno::NOSPC | Errno::DQUOT => {
                Problem::new(ProblemKind::Exhausted, "there is no room for a recording on session storage")
            }
            errno => failed("the recording", &errno),
        })
    }

    fn recording_limit(&self) -> u64 {
        let asked = self.facts.as_ref().and_then(|facts| facts.spec.limits.storage);
        asked.unwrap_or(Limits::DEFAULT_STORAGE).0 / SHARE
    }

    /// Starts or stops a recording, as asked.
    pub(crate) fn record_task(&mut self, asked: &api::Record) -> Result<(), Problem> {
        let conflict = |what: String| Problem::new(ProblemKind::Conflict, what);
        let task = self.task(asked.app.as_ref())?;
        let name = task.name.clone();
        match (asked.start, task.recorder.is_some()) {
            (Some(_), true) => Err(conflict(format!("{name} is recorded already"))),
            (Some(_), false) if task.screen().is_none() => Err(no_terminal(&name)),
            (Some(_), false) if task.exit.is_some() => Err(conflict(format!("{name} has ended"))),
            (Some(what), false) => {
                let recorder = self.begin_recording(&name, what, &task.streams)?;
                if let Some(task) = self.tasks.get_mut(&name) {
                    task.recorder = Some(recorder);
                }
                self.recording_is(&name, what, RecordingState::Running);
                Ok(())
            }
            (None, true) => {
                self.end_recording(&name, false);
                Ok(())
            }
            (None, false) => Err(conflict(format!("{name} is not recorded"))
                .hint("`sessile record SESSION start` starts a recording")),
        }
    }

    /// Ends the recordings of commands that ended, and those that can hold no more.
    pub(crate) fn heed_recorders(&mut self) {
        let now = self.now;
        let is_over = |task: &Task| {
            let recorder = task.recorder.as_ref();
            recorder.is_some_and(|recorder| recorder.has_failed() || task.is_drained(now))
        };
        let over: Vec<AppName> =
            self.tasks.values().filter(|task| is_over(task)).map(|task| task.name.clone()).collect();
        for name in over {
            self.end_recording(&name, true);
        }
    }

    fn end_recording(&mut self, name: &AppName, with_exit: bool) {
        let now = self.now;
        let Some(task) = self.tasks.get_mut(name) else { return };
        let Some(recorder) = task.recorder.take() else { return };
        let exit = task.exit.as_ref().filter(|_| with_exit).map(|exit| i32::from(exit.shell_code()));
        let what = recorder.what();
        let state = recorder.end(exit, now);
        self.recording_is(name, what, state);
    }

    /// Lets go of every recording's files, before they are overwritten.
    pub(crate) fn drop_recorders(&mut self) {
        for task in self.tasks.values_mut() {
            task.recorder = None;
        }
    }

    /// Notes that recordings were overwritten with the storage.
    pub(crate) fn recordings_wiped(&mut self) {
        for grant in self.facts.iter_mut().flat_map(|facts| &mut facts.grants) {
            if let Grant::Recording { state, .. } = grant {
                *state = RecordingState::Wiped;
            }
        }
    }

    /// Goes on with the recordings of a predecessor.
    pub(crate) fn adopt_recorders(&mut self) {
        let (now, limit) = (self.now, self.recording_limit());
        let Some(space) = &self.space else { return };
        let storage = space.storage.as_fd();
        let mut found = Vec::new();
        for task in self.tasks.values_mut() {
            let Streams::Terminal { output, .. } = &task.streams else { continue };
            task.recorder = Recorder::adopt(storage, &task.name, limit, output.ring.oldest(), now);
            let state = recorder::state_of(storage, &task.name);
            found.extend(state.map(|(what, state)| (task.name.clone(), what, state)));
        }
        for (name, what, state) in found {
            // What the predecessor did and had not noted.
            let is_noted = self.facts.iter().flat_map(|facts| &facts.grants).any(
                |grant| matches!(grant, Grant::Recording { app, state: noted, .. } if *app == name && *noted == state),
            );
            if !is_noted {
                self.recording_is(&name, what, state);
            }
        }
    }

    /// Notes what has become of a recording: in the record, in the journal, to who is attached.
    pub(crate) fn recording_is(&mut self, name: &AppName, what: Recording, state: RecordingState) {
        let Some(facts) = &mut self.facts else { return };
        let mut with_input = what.input;
        facts.grants.retain(|grant| {
            let Grant::Recording { app, input, .. } = grant else { return true };
            // What was typed before stays in it.
            with_input |= *input && app == name;
            app != name
        });
        let grant = Grant::Recording { app: name.clone(), input: with_input, state };
        facts.grants.push(grant.clone());
        let notice = match state {
            RecordingState::Running => Some(running_notice(name, what)),
            RecordingState::Stopped => Some(format!("the recording of {name} was stopped")),
            RecordingState::Full => {
                Some(format!("the recording of {name} stopped: its share of session storage is used up"))
            }
            RecordingState::Failed => {
                Some(format!("the recording of {name} stopped: it could not be written"))
            }
            RecordingState::Ended | RecordingState::Wiped | RecordingState::Freed => None,
        };
        if let (RecordingState::Full | RecordingState::Failed, Some(notice)) = (state, &notice) {
            facts.notices.push(notice.clone());
        }
        self.changed = true;
        self.note(Note::Granted { grant });
        let Some(text) = notice else { return };
        for client in self.clients.values_mut() {
            let watching = client.attachments.iter().filter(|(_, a)| a.task == *name);
            let channels: Vec<u16> = watching.map(|(&channel, _)| channel).collect();
            for channel in channels {
                client.tell(channel, &Told::Notice { text: text.clone() });
            }
        }
    }

    /// What somebody who attaches is told of a recording that goes on.
    pub(crate) fn recording_notice(&self, name: &AppName) -> Option<String> {
        let recorder = self.tasks.get(name)?.recorder.as_ref()?;
        Some(running_notice(name, recorder.what()))
    }

    /// Copies a recording out.
    pub(crate) fn export_recording(&mut self, export: &api::Export) -> Result<api::Exported, Problem> {
        let bad = |what: &str| Problem::new(ProblemKind::BadRequest, what.to_owned());
        let destination = PathBuf::from(&export.destination);
        if !destination.is_absolute() {
            return Err(bad("the destination is not an absolute path"));
        }
        if !export.path.is_empty() {
            return Err(bad("a recording has no path inside"));
        }
        let name = export.app.clone().unwrap_or_else(AppName::main);
        let none = || {
            Problem::new(ProblemKind::NotFound, format!("there is no recording of {name}"))
                .hint("`sessile show` lists recordings; `sessile record SESSION start` starts one")
        };
        let gone = || Problem::new(ProblemKind::Conflict, "the session's storage is gone");
        let storage = &self.space.as_ref().ok_or_else(gone)?.storage;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match openat(storage, recorder::FOLDER, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Err(none()),
            Err(errno) => return Err(failed("the recordings", &errno)),
        };
        let file = recorder::file_name(&name);
        let exported = files::export(folder.as_fd(), Path::new(&file), &destination, None);
        let exported = exported.map_err(|error| {
            if matches!(error, ExportError::NotFound { .. }) {
                return none();
            }
            Problem::new(export_kind(&error), causes(&error))
        })?;
        self.grant(Grant::Export { bytes: exported.bytes });
        Ok(exported)
    }
}

fn no_terminal(name: &AppName) -> Problem {
    Problem::new(ProblemKind::Conflict, format!("{name} has no terminal to record"))
        .hint("`sessile run --detach` gives a command one, also where none is here")
}

fn running_notice(name: &AppName, what: Recording) -> String {
    let typed = if what.input { " with all that is typed, passwords among it" } else { "" };
    format!("{name} is recorded{typed}")
}
