//! The session record, made afresh from the machine, the facts and the system.

use rustix::fs::fstatvfs;
use sessile_model::Problem;
use sessile_model::quantity::ByteSize;
use sessile_model::record::{SessionRecord, Usage};
use sessile_model::spec::Limits;
use sessile_model::state::State;
use sessile_sandbox::processes;

use crate::keeper::Keeper;
use crate::task::{Streams, Task};

impl Keeper {
    /// The record as of now.
    ///
    /// # Errors
    /// When no session was opened yet.
    pub(crate) fn record(&self) -> Result<SessionRecord, Problem> {
        let machine = self.session()?;
        let facts = self.facts()?;
        let spec = &facts.spec;
        Ok(SessionRecord {
            id: facts.id,
            name: spec.name.clone(),
            state: machine.state(),
            phase: machine.phase(),
            outcome: machine.outcome().filter(|_| machine.state() != State::Bringup),
            user: spec.user.clone(),
            channel: spec.channel.clone(),
            chat: spec.chat.clone(),
            labels: spec.labels.clone(),
            metadata: spec.metadata.clone(),
            created_at: facts.created_at,
            last_activity: machine.last_activity().max(facts.last_activity),
            ended_at: machine.wipe_receipt().map(sessile_session::WipeReceipt::ended_at),
            apps: self.tasks.values().map(Task::describe).collect(),
            clients: machine.clients(),
            grants: facts.grants.clone(),
            properties: machine.properties().clone(),
            claim_level: facts.claim_level,
            limits: in_force(spec.limits),
            usage: self.usage(),
            notices: facts.notices.clone(),
        })
    }

    /// The record with the apps' memory and processor time added up where no control group counts
    /// them: for a single question, since every process is looked at.
    ///
    /// # Errors
    /// When no session was opened yet.
    pub(crate) fn measured_record(&self) -> Result<SessionRecord, Problem> {
        let mut record = self.record()?;
        if !matches!(record.state, State::Active | State::Paused) {
            return Ok(record);
        }
        if record.usage.memory.is_none() {
            let sum = self.app_processes().into_iter().filter_map(processes::memory).sum();
            record.usage.memory = Some(ByteSize(sum));
        }
        if record.usage.cpu_ms.is_none() {
            // An init's time holds that of what it has reaped.
            let inits = self.apps.values().filter(|app| !app.gone).map(|app| app.pid);
            let all = inits.chain(self.app_processes());
            record.usage.cpu_ms = Some(all.filter_map(processes::cpu_ms).sum());
        }
        Ok(record)
    }

    fn usage(&self) -> Usage {
        let storage = self
            .space
            .as_ref()
            .and_then(|space| fstatvfs(&space.storage).ok())
            .map_or(0, |s| s.f_blocks.saturating_sub(s.f_bfree).saturating_mul(s.f_frsize));
        let group = self.cgroup.as_ref().map(sessile_sandbox::cgroup::Cgroup::usage).unwrap_or_default();
        Usage { memory: group.memory.map(ByteSize), cpu_ms: group.cpu_ms, storage: ByteSize(storage) }
    }

    /// Sends the record to everyone who follows it.
    pub(crate) fn publish(&mut self) {
        if !self.clients.values().any(|c| c.follows) {
            return;
        }
        let Ok(record) = self.record() else { return };
        let event = sessile_model::wire::Event::Record(Box::new(record));
        for client in self.clients.values_mut().filter(|c| c.follows) {
            client.tell(0, &event);
        }
    }

    /// Overwrites what the screens and queues of all tasks hold.
    pub(crate) fn forget_streams(&mut self) {
        for task in self.tasks.values_mut() {
            for input in &mut task.pending {
                if let crate::task::PendingInput::Bytes { bytes, .. } = input {
                    bytes.fill(0);
                }
            }
            task.pending.clear();
            if let Streams::Terminal { screen, output, .. } = &mut task.streams {
                // A model of the same size without content; the old one's memory is overwritten
                // by the allocator as it is freed.
                **screen = crate::screen::ScreenModel::new(screen.size(), output.ring.head());
            }
        }
    }
}

/// Caps with the defaults of those that were not asked for.
fn in_force(limits: Limits) -> Limits {
    Limits {
        pids: limits.pids.or(Some(Limits::DEFAULT_PIDS)),
        storage: limits.storage.or(Some(Limits::DEFAULT_STORAGE)),
        storage_inodes: limits.storage_inodes.or(Some(Limits::DEFAULT_STORAGE_INODES)),
        ..limits
    }
}
