//! What a relay makes of what it reads: pure.
//!
//! ```text
//!  guest ─ tools/call ─► Judging ──Pass──► Sent ─► server ─► Returning ──Pass──► guest
//!                           └─Refused─► guest      └─ late, gone ─► guest └─Refused─► guest
//!  server: Beginning ─► Listing ─► Ready ─► Over
//! ```
//!
//! To the server this is a client that can do nothing but call tools; to each guest a server that has nothing but
//! tools. What is not known here goes no further, in either direction. An id of a guest never reaches the
//! server, nor one of the server a guest.

mod guests;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rmcp::model::{ErrorCode, Tool};
use serde_json::Value;
use sessile_guard::flow;
use sessile_model::mcp::{Asked, MAX_TEXT, MOST_ASKED, MOST_ASKED_BYTES, Verdict};
use sessile_policy::guard::Effect;

use super::shape::{self, Pieces};
use super::wire;
use guests::Guest;
use server::Server;

/// How long a server may take to begin, and to list its tools.
const BEGINNING_MS: u64 = 60_000;
/// How long it may take for a call.
const CALL_MS: u64 = 600_000;
/// Most messages of a server that answer nothing.
const MOST_STRAYS: u32 = 256;
/// Most guests.
pub const MOST_GUESTS: usize = 16;
/// Most requests of a guest at once.
const MOST_OF_GUEST: usize = 32;

/// Something that is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Deed {
    /// Write this to the server.
    ToServer(Vec<u8>),
    /// Write this to a guest.
    ToGuest(u32, Vec<u8>),
    /// Ask the keeper.
    Ask {
        /// The matter's number.
        number: u32,
        /// Whose it is.
        app: String,
        /// What it is.
        what: Asked,
        /// What it says.
        text: String,
    },
    /// Nobody waits for the keeper's answer any more.
    GiveUp(u32),
    /// Calls of these tools have no result, as what the server wrote cannot be read.
    Unread(Vec<String>),
    /// The server is spoken with no longer, and why.
    Over(String),
}

/// What a relay knows.
#[derive(Debug)]
pub struct Desk {
    server: Server,
    tools: Vec<Tool>,
    /// Names of those that were left out of a list.
    withheld: BTreeSet<String>,
    guests: BTreeMap<u32, Guest>,
    calls: BTreeMap<u32, Call>,
    /// The last matter's number, and the last guest's.
    last: u32,
    last_guest: u32,
    /// The last request's id towards the server.
    last_id: u64,
    /// Requests whose answers nobody waits for.
    forgotten: BTreeSet<u64>,
    strays: u32,
    deeds: Vec<Deed>,
}

/// A request that is under way.
#[derive(Debug)]
struct Call {
    guest: u32,
    id: Value,
    /// What the keeper was asked has so many bytes.
    bytes: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Judging { tool: String, arguments: String },
    Sent { tool: String, id: u64, by_ms: u64 },
    Returning { pieces: Pieces, is_error: bool },
    Listing { tool: Box<Tool>, pieces: Pieces, listing: Listing },
}

/// A list of tools that is looked at, one after the other.
#[derive(Debug)]
struct Listing {
    rest: VecDeque<Tool>,
    /// Those that may be shown.
    shown: Vec<Tool>,
    /// Bytes that may still be looked at.
    room: usize,
}

impl Desk {
    /// One that begins to speak with its server.
    pub fn begin(now_ms: u64) -> Self {
        let mut desk = Self {
            server: Server::Over { why: String::new() },
            tools: Vec::new(),
            withheld: BTreeSet::new(),
            guests: BTreeMap::new(),
            calls: BTreeMap::new(),
            last: 0,
            last_guest: 0,
            last_id: 0,
            forgotten: BTreeSet::new(),
            strays: 0,
            deeds: Vec::new(),
        };
        desk.greet(now_ms);
        desk
    }

    /// What is to be done, in order.
    pub fn take_deeds(&mut self) -> Vec<Deed> {
        std::mem::take(&mut self.deeds)
    }

    /// The keeper has said what is to be done with something.
    pub fn decided(&mut self, number: u32, verdict: Verdict, now_ms: u64) {
        // Nobody was asked about one that is with the server.
        let is_asked = |call: &Call| !matches!(call.stage, Stage::Sent { .. });
        if !self.calls.get(&number).is_some_and(is_asked) {
            return;
        }
        let Some(Call { guest, id, stage, .. }) = self.calls.remove(&number) else { return };
        let answer = match (stage, verdict) {
            (Stage::Judging { tool, arguments }, Verdict::Pass) => {
                return self.send(number, (guest, id), (tool, arguments), now_ms);
            }
            (Stage::Judging { tool, arguments }, Verdict::Without(spans)) => {
                // Under another name it would be another argument.
                match shape::left_out_of_json(&arguments, &spans) {
                    (_, true) => wire::failed_call(&id, refused()),
                    (rest, false) => return self.send(number, (guest, id), (tool, rest), now_ms),
                }
            }
            (Stage::Judging { .. }, Verdict::Refused) => wire::failed_call(&id, refused()),
            (Stage::Judging { .. }, Verdict::Failed) => wire::failed_call(&id, UNSEEN_CALL),
            (Stage::Returning { pieces, is_error }, Verdict::Pass) => {
                wire::answer(&id, &pieces.result(is_error))
            }
            (Stage::Returning { pieces, is_error }, Verdict::Without(spans)) => {
                wire::answer(&id, &pieces.without(&spans).result(is_error))
            }
            (Stage::Returning { .. }, Verdict::Refused | Verdict::Failed) => {
                wire::failed_call(&id, HELD_BACK)
            }
            (Stage::Listing { .. }, Verdict::Failed) => unlisted(&id, UNSEEN_LIST),
            (Stage::Listing { tool, pieces, mut listing }, verdict) => {
                let shown = match verdict {
                    Verdict::Pass => pieces.tool(&tool),
                    Verdict::Without(spans) => pieces.without(&spans).tool(&tool),
                    Verdict::Refused | Verdict::Failed => None,
                };
                match shown {
                    Some(shown) => listing.shown.push(shown),
                    None => drop(self.withheld.insert(tool.name.to_string())),
                }
                return self.list_on((guest, id), listing);
            }
            (Stage::Sent { .. }, _) => return,
        };
        self.answer(guest, answer);
    }

    /// Another keeper is there: what waits for the one before is refused.
    pub fn forget_asked(&mut self, now_ms: u64) {
        let asked = |call: &Call| match call.stage {
            Stage::Sent { .. } => false,
            Stage::Judging { .. } | Stage::Returning { .. } | Stage::Listing { .. } => true,
        };
        let numbers: Vec<u32> = self.calls.iter().filter(|(_, call)| asked(call)).map(|(n, _)| *n).collect();
        for number in numbers {
            self.decided(number, Verdict::Failed, now_ms);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: u64) {
        self.check_server(now_ms);
        let late = |call: &Call| matches!(call.stage, Stage::Sent { by_ms, .. } if by_ms <= now_ms);
        let numbers: Vec<u32> = self.calls.iter().filter(|(_, call)| late(call)).map(|(n, _)| *n).collect();
        for number in numbers {
            self.abandon(number, Some(LATE));
        }
    }

    /// When something is late, if nothing happens.
    pub fn due_ms(&self) -> Option<u64> {
        let calls = self.calls.values().filter_map(|call| match call.stage {
            Stage::Sent { by_ms, .. } => Some(by_ms),
            Stage::Judging { .. } | Stage::Returning { .. } | Stage::Listing { .. } => None,
        });
        calls.chain(self.server_is_due()).min()
    }

    /// Asks the keeper about something of a guest's.
    fn ask(&mut self, (guest, id): (u32, Value), stage: Stage, what: Asked, text: String) {
        let Some(app) = self.guests.get(&guest).map(|guest| guest.app.clone()) else { return };
        let held: usize = self.calls.values().map(|call| call.bytes).sum();
        let is_much = self.calls.len() >= MOST_ASKED || held + text.len() > MOST_ASKED_BYTES;
        if text.len() > MAX_TEXT || is_much {
            let words = if is_much { TOO_MUCH } else { TOO_LONG };
            let is_list = matches!(stage, Stage::Listing { .. });
            let answer = if is_list { unlisted(&id, words) } else { wire::failed_call(&id, words) };
            return self.answer(guest, answer);
        }
        self.last += 1;
        self.calls.insert(self.last, Call { guest, id, bytes: text.len(), stage });
        self.deeds.push(Deed::Ask { number: self.last, app, what, text });
    }

    /// Sends a call that may be made to the server.
    fn send(
        &mut self,
        number: u32,
        (guest, id): (u32, Value),
        (tool, arguments): (String, String),
        now_ms: u64,
    ) {
        if let Server::Over { why } = &self.server {
            let answer = wire::failed_call(&id, &format!("The tool was not called: {why}."));
            return self.answer(guest, answer);
        }
        let Some(line) = wire::call(self.last_id + 1, &tool, &arguments) else {
            return self.answer(guest, wire::failed_call(&id, refused()));
        };
        self.last_id += 1;
        self.deeds.push(Deed::ToServer(line));
        let stage = Stage::Sent { tool, id: self.last_id, by_ms: now_ms + CALL_MS };
        self.calls.insert(number, Call { guest, id, bytes: 0, stage });
    }

    /// Nobody waits for a request any more, or it has come to nothing, which the guest is told in these words.
    fn abandon(&mut self, number: u32, words: Option<&str>) {
        let Some(call) = self.calls.remove(&number) else { return };
        match call.stage {
            Stage::Sent { id, .. } => {
                self.forget(id);
                let params = serde_json::json!({"requestId": id});
                self.deeds.push(Deed::ToServer(wire::notification("notifications/cancelled", Some(&params))));
            }
            Stage::Judging { .. } | Stage::Returning { .. } | Stage::Listing { .. } => {
                self.deeds.push(Deed::GiveUp(number));
            }
        }
        if let Some(words) = words {
            self.answer(call.guest, wire::failed_call(&call.id, words));
        }
    }

    /// Nobody waits for the answer to a request any more.
    fn forget(&mut self, id: u64) {
        self.forgotten.insert(id);
        if self.forgotten.len() > MOST_STRAYS as usize {
            self.forgotten.pop_first();
        }
    }

    fn answer(&mut self, guest: u32, line: Vec<u8>) {
        if self.guests.contains_key(&guest) {
            self.deeds.push(Deed::ToGuest(guest, line));
        }
    }
}

/// What is said of a call that may not be made: nothing of why.
fn refused() -> &'static str {
    flow::verdict(Effect::Reject).unwrap_or("This call was refused. Do not try it again.")
}

/// What is said of a list that is not shown.
fn unlisted(id: &Value, words: &str) -> Vec<u8> {
    wire::error(id, ErrorCode::INTERNAL_ERROR, words)
}

const UNSEEN_LIST: &str =
    "The session's guard does not answer, so that the tools could not be listed. Try again in some seconds.";
const UNSEEN_CALL: &str = "The call could not be looked at and was not made. It may be tried again.";
const HELD_BACK: &str = "The call was made; what it returned is held back. Do not repeat it.";
const LATE: &str = "The server did not answer in time. Whether the call was made is not known.";
const TOO_LONG: &str = "This is longer than what can be looked at, and was not passed on.";
const TOO_MUCH: &str = "Too much is under way at once. It may be tried again.";
