//! Taking over a session from a predecessor that died: everything is with the anchor.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use sessile_anchor::control::Control;
use sessile_anchor::ring::Ring;
use sessile_journal::log::{Log, OpenError};
use sessile_model::ids::AppName;
use sessile_model::state::{Component, Exit};
use sessile_sandbox::cgroup::Cgroup;
use sessile_sandbox::space::Space;
use sessile_session::{Effects, Entry, Event, Session};
use sessile_vault::keys::RootKey;
use sessile_vault::secret::SecretMemory;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::checkpoint::{Checkpoint, InputLedger};
use crate::facts::{AppFacts, Facts, StreamFacts, TaskFacts};
use crate::keeper::Keeper;
use crate::screen::ScreenModel;
use crate::task::{Output, Streams, Task};

/// The checkpoint's document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    machine: Session,
    facts: Facts,
}

#[derive(Serialize)]
struct SnapshotRef<'a> {
    machine: &'a Session,
    facts: &'a Facts,
}

/// The anchor's store by name.
type Store = BTreeMap<String, OwnedFd>;

impl Keeper {
    /// Opens the session's log, keeping what a predecessor wrote.
    pub(crate) fn open_log(&self) -> Result<Log, OpenError> {
        Ok(Log::open::<Entry>(&self.seat.state)?.log)
    }

    /// Writes the machine and the facts where a successor finds them.
    pub(crate) fn write_checkpoint(&mut self) {
        let (Some(checkpoint), Some(machine), Some(facts)) =
            (&mut self.checkpoint, &self.machine, &self.facts)
        else {
            return;
        };
        if checkpoint.write(&SnapshotRef { machine, facts }).is_err() {
            let cause = "the checkpoint cannot be written".to_owned();
            if machine.outcome().is_none() {
                self.advance(Event::ComponentFailed { component: Component::Keeper, cause });
            }
        }
    }

    /// Takes over what the anchor holds. Without a checkpoint the session can only be wiped; with
    /// nothing at all this keeper is the first and waits to be told what to open.
    pub fn adopt(&mut self) {
        let Ok(held) = self.seat.link.list() else { return };
        let mut store: Store = held.into_iter().collect();
        let entries = match Log::open::<Entry>(&self.seat.state) {
            Ok(opened) => {
                self.log = Some(opened.log);
                opened.entries.into_iter().map(|(_, entry)| entry).collect()
            }
            Err(_) => Vec::new(),
        };
        if entries.is_empty() && !store.contains_key("checkpoint") {
            self.log = None;
            return;
        }
        let snapshot = store
            .remove("checkpoint")
            .and_then(|file| Checkpoint::adopt::<Snapshot>(file).ok());
        self.ledger = store.remove("ledger").and_then(|file| InputLedger::adopt(file).ok());
        self.root_key = store.remove("secret").and_then(|file| RootKey::from_fd(file).ok());
        self.environment = store.remove("environment").and_then(|file| SecretMemory::from_fd(file).ok());
        self.notify = store.remove("notify");
        self.baseline_file = store.remove("baseline");
        self.cgroup = Cgroup::reopen(self.seat.id);
        match snapshot {
            Some((checkpoint, snapshot)) => {
                self.checkpoint = Some(checkpoint);
                self.adopt_facts(&mut store, &snapshot.facts);
                self.facts = Some(snapshot.facts);
                self.machine = Some(snapshot.machine);
                self.hear_of_exits();
                self.advance(Event::KeeperRestarted);
            }
            None => self.recover(&mut store, &entries),
        }
    }

    /// Goes on from the log alone: what is left can only be wiped.
    fn recover(&mut self, store: &mut Store, entries: &[Entry]) {
        let mut effects = Effects::new();
        let cause = "the keeper died before its checkpoint was complete";
        let Ok(machine) =
            Session::recover(entries, Component::Keeper, cause, self.now, &mut effects)
        else {
            return;
        };
        let (claim_level, residue) = sessile_sandbox::survey::claim_level();
        let facts = Facts {
            id: self.seat.id,
            spec: Default::default(),
            subordinate_base: None,
            created_at: machine.opened_at(),
            last_activity: machine.last_activity(),
            wipe_started_at: None,
            grants: Vec::new(),
            claim_level,
            residue,
            storage_noswap: false,
            places_held: Vec::new(),
            next_io: 1,
            apps: app_names(store)
                .into_iter()
                .map(|name| AppFacts { name, pid: 0, next_task: 1, landlock_abi: 0 })
                .collect(),
            tasks: Vec::new(),
        };
        self.adopt_facts(store, &facts);
        self.facts = Some(facts);
        self.machine = Some(machine);
        self.effects.extend(effects.drain());
    }

    fn adopt_facts(&mut self, store: &mut Store, facts: &Facts) {
        let parts = (store.remove("userns"), store.remove("mntns"), store.remove("storage"));
        if let (Some(userns), Some(mntns), Some(storage)) = parts {
            let mount_point = self.seat.runtime.join("storage");
            self.space = Some(Space::from_parts(
                userns,
                mntns,
                storage,
                facts.storage_noswap,
                facts.subordinate_base,
                mount_point,
            ));
        }
        for app in &facts.apps {
            if let Some(adopted) = adopt_app(store, app) {
                self.apps.insert(app.name.clone(), adopted);
            }
        }
        for task in &facts.tasks {
            let Some(adopted) = adopt_task(store, task) else { continue };
            self.unreported.insert(task.name.clone());
            self.tasks.insert(task.name.clone(), adopted);
        }
    }

    /// Asks every init what ended while nobody listened.
    fn hear_of_exits(&mut self) {
        let names: Vec<AppName> = self.apps.keys().cloned().collect();
        for name in names {
            let Some(app) = self.apps.get_mut(&name) else { continue };
            let Ok(tasks) = app.control.list() else {
                app.gone = true;
                continue;
            };
            for state in tasks {
                if let Some(status) = state.status {
                    self.task_exited(&name, state.task, status);
                }
            }
            let running: Vec<(AppName, u32)> = self
                .tasks
                .values()
                .filter(|t| t.app == name && t.exit.is_none())
                .filter_map(|t| Some((t.name.clone(), t.inner_pid?)))
                .collect();
            for (task, inner) in running {
                let pid = self.outer_pid(&name, inner);
                if let Some(task) = self.tasks.get_mut(&task) {
                    task.pid = pid;
                }
            }
        }
        // What the machine was told before is told again; it knows.
        let silent: Vec<AppName> = self
            .tasks
            .values()
            .filter(|t| t.exit.is_none() && self.apps.get(&t.app).is_none_or(|app| app.gone))
            .map(|t| t.name.clone())
            .collect();
        for name in silent {
            if let Some(task) = self.tasks.get_mut(&name) {
                task.exit = Some(Exit::Signal { signal: 9 });
                task.exited_at = Some(self.now);
            }
        }
    }

    /// The anchor died, and its apps with it. What this keeper holds is overwritten.
    pub(crate) fn anchor_died(&mut self) {
        self.anchor_is_dead = true;
        for app in self.apps.values_mut() {
            app.gone = true;
        }
        self.advance(Event::AnchorDied);
    }

    /// The link closed or said something unasked: only its end means anything, and the pidfd
    /// tells that too.
    pub(crate) fn hear_anchor(&mut self) {
        self.anchor_died();
    }

    /// Takes the pumps' knocks; the rings themselves say what is new.
    pub(crate) fn silence_notify(&mut self) {
        if let Some(notify) = &self.notify {
            let mut count = [0u8; 8];
            let _ = rustix::io::read(notify, &mut count);
        }
    }
}

fn adopt_app(store: &mut Store, facts: &AppFacts) -> Option<App> {
    let mut part = |part: &str| store.remove(&format!("app/{}/{part}", facts.name));
    let (init, control, ptmx) = (part("init")?, part("control")?, part("ptmx")?);
    Some(App {
        pid: facts.pid,
        init,
        control: Control::from_fd(control),
        ptmx,
        next_task: facts.next_task,
        gone: false,
        landlock_abi: facts.landlock_abi,
        evidence: String::new(),
    })
}

fn adopt_task(store: &mut Store, facts: &TaskFacts) -> Option<Task> {
    let ring = |store: &mut Store, io: u32| {
        let file = store.remove(&format!("io/{io}/ring"))?;
        Some(Output { io, ring: Ring::open(std::os::fd::AsFd::as_fd(&file)).ok()? })
    };
    let streams = match facts.streams {
        StreamFacts::Terminal { io, size } => {
            let output = ring(store, io)?;
            let screen = Box::new(ScreenModel::new(size, output.ring.oldest()));
            Streams::Terminal { master: store.remove(&format!("io/{io}/sink"))?, output, screen }
        }
        StreamFacts::Pipes { out, err } => Streams::Pipes {
            stdin: store.remove(&format!("io/{out}/sink")),
            out: ring(store, out)?,
            err: ring(store, err)?,
        },
    };
    Some(Task {
        name: facts.name.clone(),
        app: facts.app.clone(),
        number: facts.number,
        argv: facts.argv.clone(),
        pid: None,
        inner_pid: facts.inner_pid,
        exit: facts.exit.clone(),
        exited_at: facts.exited_at,
        streams,
        pending: Default::default(),
        collected: facts.collected,
    })
}

/// The apps whose parts are in the store.
fn app_names(store: &Store) -> Vec<AppName> {
    let inits = store.keys().filter_map(|key| key.strip_prefix("app/")?.strip_suffix("/init"));
    inits.filter_map(|name| name.parse().ok()).collect()
}
