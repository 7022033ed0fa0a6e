//! The session record, made afresh from the machine, the facts and the system.

use rustix::fs::fstatvfs;
use sessile_model::Problem;
use sessile_model::ids::AppName;
use sessile_model::quantity::ByteSize;
use sessile_model::record::{SessionRecord, Usage};
use sessile_model::spec::Limits;
use sessile_model::state::{EndedBy, Outcome, State};
use sessile_sandbox::processes;

use crate::keeper::Keeper;
use crate::spawn::MEMORY_CAP;
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
        let outcome = machine.outcome().filter(|_| machine.state() != State::Bringup);
        Ok(SessionRecord {
            id: facts.id,
            name: spec.name.clone(),
            state: machine.state(),
            phase: machine.phase(),
            outcome_detail: outcome.as_ref().and_then(|outcome| self.outcome_detail(outcome)),
            outcome,
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
            attached: self.describe_clients(),
            size: spec.size,
            grants: facts.grants.clone(),
            protocol: self.protocol_record(),
            guard: self.guard_record(),
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

    /// What an outcome leaves open: the figure of the limit that ended it, and that the memory cap was
    /// reached by the main command.
    pub(crate) fn outcome_detail(&self, outcome: &Outcome) -> Option<String> {
        let facts = self.facts.as_ref()?;
        let limit = match outcome {
            Outcome::Ended { by } | Outcome::Cancelled { by } => match by {
                EndedBy::TimeToLive => facts.spec.ttl.map(|ttl| format!("its ttl of {ttl} passed")),
                EndedBy::IdleTimeout => facts
                    .spec
                    .idle_timeout
                    .map(|idle| format!("nothing happened for its idle timeout of {idle}")),
                EndedBy::Operator | EndedBy::MainExited | EndedBy::Linger | EndedBy::Cancelled => None,
            },
            Outcome::Faulted { .. } | Outcome::Failed { .. } => None,
        };
        let main = AppName::main();
        let cap = facts.spec.limits.memory.filter(|_| {
            facts.tasks.iter().any(|task| task.name == main && task.note.as_deref() == Some(MEMORY_CAP))
        });
        let cap = cap.map(|cap| format!("its memory cap of {cap} was reached"));
        let said: Vec<String> = [limit, cap].into_iter().flatten().collect();
        (!said.is_empty()).then(|| said.join("; "))
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
        for attachment in self.clients.values_mut().flat_map(|client| client.attachments.values_mut()) {
            if let Some(view) = &mut attachment.view {
                view.end();
            }
        }
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
