//! Speaking with guests: those inside who call tools.

use std::collections::{BTreeMap, VecDeque};

use rmcp::model::{
    CancelledNotificationParam, ErrorCode, Implementation, InitializeRequestParams, InitializeResult,
    ListToolsResult, ProtocolVersion, RequestId, ServerCapabilities, Tool, ToolsCapability,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sessile_model::mcp::{Asked, MAX_TEXT};

use super::{Deed, Desk, Listing, MOST_GUESTS, MOST_OF_GUEST, Server, Stage};
use crate::relay::shape::{self, Pieces};
use crate::relay::wire::{self, Message};

/// Somebody inside who calls tools.
#[derive(Debug)]
pub struct Guest {
    pub(super) app: String,
    /// Requests that wait until the server can be called.
    waiting: Vec<(Value, Wanted)>,
}

/// What a guest wants of a server.
#[derive(Debug)]
enum Wanted {
    List,
    Call(Called),
}

/// A call, its arguments as they came.
#[derive(Debug, Deserialize)]
struct Called {
    name: String,
    #[serde(default)]
    arguments: Option<Box<RawValue>>,
}

impl Called {
    fn read(params: &str) -> Option<Self> {
        let call: Self = serde_json::from_str(params).ok()?;
        call.arguments.as_ref().is_none_or(|given| given.get().starts_with('{')).then_some(call)
    }
}

/// An answer with tools.
pub fn listed(id: &Value, tools: Vec<Tool>) -> Vec<u8> {
    let mut list = ListToolsResult::with_all_items(tools);
    list.result_type = None;
    wire::answer(id, &list)
}

impl Desk {
    /// Somebody of this app has come; the guest's number, where there is room.
    pub fn welcome(&mut self, app: String) -> Option<u32> {
        if self.guests.len() >= MOST_GUESTS {
            return None;
        }
        self.last_guest += 1;
        self.guests.insert(self.last_guest, Guest { app, waiting: Vec::new() });
        Some(self.last_guest)
    }

    /// A guest is gone, and what it asked for with it.
    pub fn dismiss(&mut self, guest: u32) {
        self.guests.remove(&guest);
        let of_guest = self.calls.iter().filter(|(_, call)| call.guest == guest);
        for number in of_guest.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.abandon(number, None);
        }
    }

    /// A guest has written a line.
    pub fn hear_guest(&mut self, guest: u32, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match wire::read(line) {
            Some(Message::Request { id, method, params }) => self.take_request(guest, id, &method, params),
            Some(Message::Notification { method, params }) if method == "notifications/cancelled" => {
                let Ok(cancelled) = serde_json::from_str::<CancelledNotificationParam>(&params) else {
                    return;
                };
                self.cancel(guest, &cancelled.request_id);
            }
            // It has nothing that it could be asked for, and what it tells is of no meaning here.
            Some(Message::Notification { .. } | Message::Response { .. }) => {}
            None => {
                self.answer(guest, wire::error(&Value::Null, ErrorCode::PARSE_ERROR, "this is no message"))
            }
        }
    }

    fn take_request(&mut self, guest: u32, id: Value, method: &str, params: String) {
        let refuse = |code, words: &str| wire::error(&id, code, words);
        if self.is_taken(guest, &id) {
            let words = "a request with this id is under way";
            return self.answer(guest, refuse(ErrorCode::INVALID_REQUEST, words));
        }
        let wanted = match method {
            "initialize" => {
                let answer = match serde_json::from_str::<InitializeRequestParams>(&params) {
                    Ok(asked) => wire::answer(&id, &about(&asked.protocol_version)),
                    Err(_) => refuse(ErrorCode::INVALID_PARAMS, "it does not begin as MCP has it"),
                };
                return self.answer(guest, answer);
            }
            "ping" => return self.answer(guest, wire::answer(&id, &json!({}))),
            "tools/list" => Wanted::List,
            "tools/call" => match Called::read(&params) {
                Some(call) => Wanted::Call(call),
                None => {
                    return self
                        .answer(guest, refuse(ErrorCode::INVALID_PARAMS, "this is no call of a tool"));
                }
            },
            // What a server may have beside tools does not pass the guard, and is not passed on.
            _ => {
                let words = "of this server nothing but its tools can be had here";
                return self.answer(guest, refuse(ErrorCode::METHOD_NOT_FOUND, words));
            }
        };
        let under_way = self.calls.values().filter(|call| call.guest == guest).count();
        let Some(waiting) = self.guests.get(&guest).map(|guest| guest.waiting.len()) else { return };
        if under_way + waiting >= MOST_OF_GUEST {
            let words = "too many requests are under way";
            return self.answer(guest, refuse(ErrorCode::INTERNAL_ERROR, words));
        }
        match self.server {
            Server::Ready | Server::Over { .. } => self.grant(guest, id, wanted),
            Server::Beginning { .. } | Server::Listing { .. } => {
                if let Some(guest) = self.guests.get_mut(&guest) {
                    guest.waiting.push((id, wanted));
                }
            }
        }
    }

    fn is_taken(&self, guest: u32, id: &Value) -> bool {
        let waits = |guest: &Guest| guest.waiting.iter().any(|(waiting, _)| waiting == id);
        self.guests.get(&guest).is_some_and(waits)
            || self.calls.values().any(|call| call.guest == guest && call.id == *id)
    }

    /// Carries out what waited for the server.
    pub(super) fn heed_waiting(&mut self) {
        let waiting: Vec<_> = self
            .guests
            .iter_mut()
            .flat_map(|(&number, guest)| {
                guest.waiting.drain(..).map(move |(id, wanted)| (number, id, wanted))
            })
            .collect();
        for (guest, id, wanted) in waiting {
            self.grant(guest, id, wanted);
        }
    }

    fn grant(&mut self, guest: u32, id: Value, wanted: Wanted) {
        if let Server::Over { why } = &self.server {
            let answer = match wanted {
                Wanted::List => wire::error(&id, ErrorCode::INTERNAL_ERROR, why),
                Wanted::Call(_) => wire::failed_call(&id, &format!("The tool was not called: {why}.")),
            };
            return self.answer(guest, answer);
        }
        match wanted {
            Wanted::List => {
                let rest = VecDeque::from(self.tools.clone());
                self.list_on((guest, id), Listing { rest, shown: Vec::new(), room: MAX_TEXT });
            }
            Wanted::Call(call) => {
                let is_called = |tool: &&Tool| tool.name == call.name && !self.withheld.contains(&*tool.name);
                let Some(tool) = self.tools.iter().find(is_called) else {
                    let words = "the server has no tool of this name";
                    return self.answer(guest, wire::error(&id, ErrorCode::INVALID_PARAMS, words));
                };
                let arguments =
                    call.arguments.map_or_else(|| "{}".to_owned(), |given| given.get().to_owned());
                let names =
                    serde_json::from_str::<BTreeMap<String, IgnoredAny>>(&arguments).unwrap_or_default();
                let Some(undeclared) = shape::undeclared(tool.input_schema.get("properties"), names.keys())
                else {
                    let words = "the tool has fewer arguments";
                    return self.answer(guest, wire::error(&id, ErrorCode::INVALID_PARAMS, words));
                };
                let (tool, hints) = (tool.name.clone().into_owned(), shape::hints(tool));
                let text = arguments.clone();
                let stage = Stage::Judging { tool: tool.clone(), arguments };
                self.ask((guest, id), stage, Asked::Call { tool, hints, undeclared }, text);
            }
        }
    }

    /// Asks about the next tool of a list, each by itself, or answers with those that may be shown.
    pub(super) fn list_on(&mut self, (guest, id): (u32, Value), mut listing: Listing) {
        while let Some(tool) = listing.rest.pop_front() {
            let pieces = Pieces::of_tool(&tool);
            let text = pieces.together();
            let Some(room) = listing.room.checked_sub(text.len()) else {
                // What is longer than can be looked at stays away alone.
                self.withheld.insert(tool.name.to_string());
                continue;
            };
            listing.room = room;
            let stage = Stage::Listing { tool: Box::new(tool), pieces, listing };
            return self.ask((guest, id), stage, Asked::List, text);
        }
        self.answer(guest, listed(&id, listing.shown));
    }

    fn cancel(&mut self, guest: u32, id: &Option<RequestId>) {
        let Ok(id) = serde_json::to_value(id) else { return };
        if let Some(guest) = self.guests.get_mut(&guest) {
            guest.waiting.retain(|(waiting, _)| *waiting != id);
        }
        let of_guest = self.calls.iter().find(|(_, call)| call.guest == guest && call.id == id);
        if let Some(number) = of_guest.map(|(number, _)| *number) {
            self.abandon(number, None);
        }
    }

    /// The server's tools are others now.
    pub(super) fn tell_of_list(&mut self) {
        let line = wire::notification("notifications/tools/list_changed", None);
        self.deeds.extend(self.guests.keys().map(|guest| Deed::ToGuest(*guest, line.clone())));
    }
}

/// What guests are told of the server: nothing in the server's own words.
fn about(wanted: &ProtocolVersion) -> InitializeResult {
    let mut tools = ToolsCapability::default();
    tools.list_changed = Some(true);
    let mut capabilities = ServerCapabilities::default();
    capabilities.tools = Some(tools);
    let mut about = InitializeResult::new(capabilities);
    about.protocol_version = match ProtocolVersion::KNOWN_VERSIONS.contains(wanted) && wanted.has_initialize()
    {
        true => wanted.clone(),
        false => ProtocolVersion::LATEST_WITH_INITIALIZE,
    };
    about.server_info = Implementation::new("sessile", sessile_model::version());
    about
}
