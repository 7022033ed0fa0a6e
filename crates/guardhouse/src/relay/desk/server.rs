//! Speaking with the server: the beginning, its list of tools, its answers.

use rmcp::model::{
    CallToolResult, ClientCapabilities, ErrorCode, Implementation, InitializeRequestParams, InitializeResult,
    ListToolsResult, ProtocolVersion, Tool,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sessile_model::mcp::Asked;

use super::{BEGINNING_MS, Call, Deed, Desk, MOST_STRAYS, Stage};
use crate::exact;
use crate::relay::shape::{self, Pieces};
use crate::relay::wire::{self, Broken, ErrorBody, Message};

/// Most tools of a server, and most pages that it lists them on.
const MOST_TOOLS: usize = 256;
const MOST_PAGES: u32 = 32;
/// Most bytes of a failure in the server's words.
const MOST_OF_FAILURE: usize = 4096;
const UNREADABLE: &str = "the server wrote a line that cannot be read";

/// How far a server is.
#[derive(Debug)]
pub enum Server {
    /// It was greeted.
    Beginning { id: u64, by_ms: u64 },
    /// It lists its tools, for the first time or again.
    Listing { id: u64, by_ms: u64, pages: u32, tools: Vec<Tool>, again: bool },
    /// It can be called.
    Ready,
    /// It is spoken with no longer.
    Over { why: String },
}

impl Desk {
    pub(super) fn greet(&mut self, now_ms: u64) {
        let about = Implementation::new("sessile", sessile_model::version());
        let params = InitializeRequestParams::new(ClientCapabilities::default(), about)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        self.last_id += 1;
        self.server = Server::Beginning { id: self.last_id, by_ms: now_ms + BEGINNING_MS };
        self.deeds.push(Deed::ToServer(wire::request(self.last_id, "initialize", &params)));
    }

    /// The server has written a line.
    pub fn hear_server(&mut self, line: &[u8], now_ms: u64) {
        if matches!(self.server, Server::Over { .. }) || line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match wire::read(line) {
            Some(Message::Response { id, outcome }) => self.take_answer(&id, outcome, now_ms),
            Some(Message::Request { id, method, .. }) => {
                let answer = match method.as_str() {
                    "ping" => wire::answer(&id, &json!({})),
                    // It asks for files, for a model's words or for somebody's: it has none of these.
                    _ => wire::error(&id, ErrorCode::METHOD_NOT_FOUND, "this client has nothing but calls"),
                };
                self.deeds.push(Deed::ToServer(answer));
                self.stray();
            }
            Some(Message::Notification { method, .. }) => {
                let is_ready = matches!(self.server, Server::Ready);
                if is_ready && method == "notifications/tools/list_changed" {
                    self.list(0, Vec::new(), None, now_ms, true);
                }
                // Else progress, what it logs, what is of no meaning here.
            }
            None => self.hear_broken(line),
        }
    }

    /// Takes a line that is no message. Where it was meant as an answer, nobody waits for another one.
    fn hear_broken(&mut self, line: &[u8]) {
        let told = wire::broken(line);
        let is_meant = |id: u64| match told {
            Broken::Answer(answered) => answered == id,
            Broken::SomeAnswer => true,
            Broken::Other => false,
        };
        match self.server {
            Server::Beginning { id, .. } | Server::Listing { id, .. } if is_meant(id) => {
                return self.server_is_gone(UNREADABLE);
            }
            Server::Beginning { .. } | Server::Listing { .. } | Server::Ready | Server::Over { .. } => {}
        }
        let sent = |call: &Call| matches!(call.stage, Stage::Sent { id, .. } if is_meant(id));
        let numbers: Vec<u32> = self.calls.iter().filter(|(_, call)| sent(call)).map(|(n, _)| *n).collect();
        let mut tools = Vec::new();
        for number in numbers {
            let Some(call) = self.calls.remove(&number) else { continue };
            if let Stage::Sent { tool, id, .. } = call.stage {
                // Where it was another's, this one's answer may still come.
                self.forget(id);
                tools.push(tool);
            }
            self.answer(call.guest, wire::failed_call(&call.id, &without_result(UNREADABLE)));
        }
        match tools.is_empty() {
            true => self.stray(),
            false => self.deeds.push(Deed::Unread(tools)),
        }
    }

    /// The server writes no more.
    pub fn server_is_gone(&mut self, why: &str) {
        if matches!(self.server, Server::Over { .. }) {
            return;
        }
        self.server = Server::Over { why: why.to_owned() };
        let sent = |stage: &Stage| matches!(stage, Stage::Sent { .. });
        let numbers: Vec<u32> =
            self.calls.iter().filter(|(_, call)| sent(&call.stage)).map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(call) = self.calls.remove(&number) else { continue };
            self.answer(call.guest, wire::failed_call(&call.id, &without_result(why)));
        }
        self.deeds.push(Deed::Over(why.to_owned()));
        self.heed_waiting();
    }

    pub(super) fn check_server(&mut self, now_ms: u64) {
        if self.server_is_due().is_some_and(|by_ms| by_ms <= now_ms) {
            self.server_is_gone("the server did not begin in time");
        }
    }

    pub(super) fn server_is_due(&self) -> Option<u64> {
        match self.server {
            Server::Beginning { by_ms, .. } | Server::Listing { by_ms, .. } => Some(by_ms),
            Server::Ready | Server::Over { .. } => None,
        }
    }

    /// It has said something that answers nothing.
    fn stray(&mut self) {
        self.strays += 1;
        if self.strays > MOST_STRAYS {
            self.server_is_gone("the server wrote too much that nobody asked for");
        }
    }

    fn take_answer(&mut self, id: &Value, outcome: Result<String, ErrorBody>, now_ms: u64) {
        let Some(id) = id.as_u64() else { return self.stray() };
        match &mut self.server {
            Server::Beginning { id: awaited, .. } if *awaited == id => return self.begun(outcome, now_ms),
            Server::Listing { id: awaited, pages, tools, again, .. } if *awaited == id => {
                let (pages, tools, again) = (*pages, std::mem::take(tools), *again);
                return self.take_page(outcome, (pages, tools, again), now_ms);
            }
            Server::Beginning { .. } | Server::Listing { .. } | Server::Ready | Server::Over { .. } => {}
        }
        if self.forgotten.remove(&id) {
            return;
        }
        let sent = |stage: &Stage| matches!(stage, Stage::Sent { id: sent, .. } if *sent == id);
        let number = self.calls.iter().find(|(_, call)| sent(&call.stage)).map(|(number, _)| *number);
        let Some(call) = number.and_then(|number| self.calls.remove(&number)) else { return self.stray() };
        let Stage::Sent { tool, .. } = call.stage else { return };
        self.strays = 0;
        let (pieces, is_error) = match outcome.map(|text| read_result(&text)) {
            Ok(Some((result, structured))) => {
                let is_error = result.is_error == Some(true);
                (Pieces::of_result(result, structured), is_error)
            }
            Ok(None) => {
                let words = "The server's answer is no result of a call.";
                return self.answer(call.guest, wire::failed_call(&call.id, words));
            }
            Err(error) => {
                let text: String = error.message.chars().take(MOST_OF_FAILURE).collect();
                (Pieces::of_text(format!("error {}: {text}", error.code)), true)
            }
        };
        let text = pieces.together();
        self.ask(
            (call.guest, call.id),
            Stage::Returning { pieces, is_error },
            Asked::Returned { tool },
            text,
        );
    }

    fn begun(&mut self, outcome: Result<String, ErrorBody>, now_ms: u64) {
        let Ok(Ok(about)) = outcome.map(|text| serde_json::from_str::<InitializeResult>(&text)) else {
            return self.server_is_gone("the server does not begin as MCP has it");
        };
        if !ProtocolVersion::KNOWN_VERSIONS.contains(&about.protocol_version) {
            return self.server_is_gone("the server speaks a version of MCP that is not known here");
        }
        self.deeds.push(Deed::ToServer(wire::notification("notifications/initialized", None)));
        self.list(0, Vec::new(), None, now_ms, false);
    }

    /// Asks for a page of its tools.
    fn list(&mut self, pages: u32, tools: Vec<Tool>, cursor: Option<String>, now_ms: u64, again: bool) {
        self.last_id += 1;
        let params = cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
        self.deeds.push(Deed::ToServer(wire::request(self.last_id, "tools/list", &params)));
        let by_ms = now_ms + BEGINNING_MS;
        self.server = Server::Listing { id: self.last_id, by_ms, pages: pages + 1, tools, again };
    }

    fn take_page(
        &mut self,
        outcome: Result<String, ErrorBody>,
        (pages, mut tools, again): (u32, Vec<Tool>, bool),
        now_ms: u64,
    ) {
        let Ok(Ok(page)) = outcome.map(|text| serde_json::from_str::<ListToolsResult>(&text)) else {
            return self.server_is_gone("the server does not list its tools as MCP has it");
        };
        for tool in page.tools {
            let is_new = tools.iter().all(|known| known.name != tool.name);
            if is_new && shape::is_name(&tool.name) && tools.len() < MOST_TOOLS {
                tools.push(tool);
            }
        }
        match page.next_cursor {
            Some(cursor) if pages < MOST_PAGES => self.list(pages, tools, Some(cursor), now_ms, again),
            Some(_) | None => {
                self.tools = tools;
                self.withheld.clear();
                self.server = Server::Ready;
                if again {
                    self.tell_of_list();
                }
                self.heed_waiting();
            }
        }
    }
}

fn without_result(why: &str) -> String {
    format!("The call has no result: {why}. Whether it was made is not known.")
}

/// A call's result, and what is structured in it as it came.
fn read_result(text: &str) -> Option<(CallToolResult, Option<String>)> {
    #[derive(Deserialize)]
    struct Structured {
        #[serde(default, rename = "structuredContent")]
        content: Option<Box<RawValue>>,
    }
    let result = serde_json::from_str(&exact::readable(text)?).ok()?;
    let structured = serde_json::from_str::<Structured>(text).ok()?;
    Some((result, structured.content.map(|content| content.get().to_owned())))
}
