//! Reading a recording while it goes on, for who must miss nothing.

use std::os::fd::AsFd as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::api::Recorded;
use sessile_model::ids::AppName;
use sessile_model::wire::Reply;
use sessile_model::{Problem, ProblemKind};
use zeroize::Zeroize as _;

use crate::bringup::failed;
use crate::client::ClientId;
use crate::keeper::Keeper;
use crate::recorder;

/// Most bytes in one answer.
const MOST: usize = 1 << 20;
/// Most clients that wait for more.
const MAX_READERS: usize = 64;

/// A client that waits for more of a recording.
#[derive(Debug)]
pub struct Reader {
    client: ClientId,
    channel: u16,
    name: AppName,
    from: u64,
}

impl Keeper {
    /// A stretch of a recording; `None` where the answer comes when there is more.
    pub(crate) fn recorded(
        &mut self,
        (client, channel): (ClientId, u16),
        app: Option<&AppName>,
        from: u64,
        wait: bool,
    ) -> Result<Option<Recorded>, Problem> {
        let name = self.task(app)?.name.clone();
        if !wait || self.has_more(&name, from) {
            return self.stretch(&name, from).map(Some);
        }
        if self.readers.len() >= MAX_READERS {
            return Err(Problem::new(ProblemKind::Exhausted, "too many clients read recordings already"));
        }
        self.readers.push(Reader { client, channel, name, from });
        Ok(None)
    }

    /// Answers those for whom there is more, or will be no more.
    pub(crate) fn answer_readers(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        for reader in std::mem::take(&mut self.readers) {
            if !self.clients.contains_key(&reader.client) {
                continue;
            }
            if !self.has_more(&reader.name, reader.from) {
                self.readers.push(reader);
                continue;
            }
            let reply = self.stretch(&reader.name, reader.from).map_or_else(Reply::Problem, Reply::Recorded);
            self.reply(reader.client, reader.channel, &reply);
        }
    }

    /// Whether a recording goes on behind this byte, or goes on no more.
    fn has_more(&self, name: &AppName, from: u64) -> bool {
        let recorder = self.tasks.get(name).and_then(|task| task.recorder.as_ref());
        recorder.is_none_or(|recorder| recorder.len() > from || recorder.has_failed())
    }

    fn stretch(&self, name: &AppName, from: u64) -> Result<Recorded, Problem> {
        let gone = || Problem::new(ProblemKind::Conflict, "the session's storage is gone");
        let storage = &self.space.as_ref().ok_or_else(gone)?.storage;
        let read =
            recorder::read(storage.as_fd(), name, from, MOST).map_err(|e| failed("the recording", &e))?;
        let (mut bytes, len, state) = read.ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, format!("there is no recording of {name}"))
                .hint("`sessile run --record` makes one from the first byte, `sessile record SESSION start` from now on")
        })?;
        let recorded = Recorded { to: from + bytes.len() as u64, len, state, data: STANDARD.encode(&bytes) };
        bytes.zeroize();
        Ok(recorded)
    }
}
