//! Calls of tools: where what they are given came from, and whether it holds what a session keeps.
//!
//! What is given is looked into as it is written, and once more without what JSON puts between its texts,
//! since who calls chooses how a value is cut among them.

use std::collections::HashSet;

use sessile_guard::flow::{Argument, Call, Carried};

use super::arguments::{Kind, Texts};
use super::*;

/// The kind of what reads like an order to a model.
const INSTRUCTION: &str = "instruction";

impl Post {
    /// Judges a call, and says where what it is given came from. `party` is the tool as values are told to it.
    pub(super) fn call(
        &mut self,
        number: u32,
        at_ms: u64,
        (speaker, tool, party): (String, String, String),
        arguments: &str,
        (hints, undeclared): (Hints, &[String]),
    ) -> (Judgement, Vec<Argument>) {
        let read = crate::exact::readable(arguments).map(Zeroizing::new);
        let Some(Ok(serde_json::Value::Object(given))) = read.map(|read| serde_json::from_str(&read)) else {
            return (refused("the arguments are no JSON object"), Vec::new());
        };
        // Which of its tools is called tells a server something, and everybody who reads the audit. A name that
        // reads like an order (`update_password`) tells nothing.
        let told = self.tells((&speaker, server(&party).unwrap_or(&party)), &tool, at_ms);
        if told.is_some_and(|seen| seen.kinds.iter().any(|kind| kind != INSTRUCTION)) {
            let named = refused("the tool's name is not one");
            return (Judgement { policies: vec![LABEL.to_owned()], ..named }, Vec::new());
        }
        // What each tool of a server is told the server can put together.
        let trail = (speaker.clone(), server(&party).unwrap_or(&party).to_owned());
        let mut last = self.trails.remove(&trail).unwrap_or_default();
        let (seen, counted) = self.seen_in_call((&speaker, &party), arguments, &mut last);
        self.make_room_for_trail();
        self.trails.insert(trail, last);
        self.risk.add(&counted, at_ms);
        let risk = rounded(self.risk.level(at_ms));
        let carried = Carried {
            confidentiality: seen.confidentiality,
            within_readers: seen.within_readers,
            kinds: &seen.kinds,
        };
        let call = Call {
            speaker: &speaker,
            tool: &tool,
            arguments: &given,
            carried: Some(carried),
            risk,
            tee: false,
            undeclared,
        };
        let judged = match self.tools.declared(&tool) {
            Some(declared) => {
                let mut tools = Tools::default();
                tools.declare(&tool, declared.clone().tightened(said_of(hints)));
                self.conversation.judge(&tools, &self.policies, &call)
            }
            // Of a tool that nobody declared the worst is taken for true already.
            None => self.conversation.judge(&self.tools, &self.policies, &call),
        };
        let because = judged.because.to_string();
        let way = (speaker.clone(), party.clone());
        let ruled = (judged.ruling, seen);
        let mut judgement = self.settle(number, way, None, arguments.as_bytes(), ruled, at_ms);
        if judgement.effect == Effect::Redact {
            let rest = without(arguments.as_bytes(), &judgement.found);
            let rest = Zeroizing::new(String::from_utf8_lossy(&rest).into_owned());
            let (left, _) = self.seen_in_call((&speaker, &party), &rest, &mut Trail::default());
            if !left.is_clean() {
                judgement.effect = Effect::Reject;
                judgement.because = Some(LEFT.to_owned());
            }
        }
        judgement.because.get_or_insert(because);
        (judgement, judged.arguments)
    }

    /// What stands in a call's arguments.
    fn seen_in_call(&self, way: (&str, &str), arguments: &str, trail: &mut Trail) -> (Seen, Vec<Finding>) {
        let decoded = Decoded::of(arguments.as_bytes());
        let inspected = self.inspector.inspect(Raw::new(arguments.to_owned()));
        let (mut seen, mut counted) = self.seen(way, &decoded, &inspected);
        let mut told: HashSet<_> = inspected.findings().iter().filter_map(|finding| finding.taint).collect();
        // Apart, as letters go on from one to the next; and joined, as an encoding does.
        for (kind, between) in [(Kind::Value, "\n"), (Kind::Value, ""), (Kind::Name, "\n"), (Kind::Name, "")]
        {
            let texts = Texts::of(arguments, kind, between);
            let is_first = kind == Kind::Value && between == "\n";
            if texts.len() < 2 && !is_first {
                continue;
            }
            let raw = Raw::new(texts.text.to_string());
            let inspected =
                if is_first { self.inspector.inspect_next(raw, trail) } else { self.inspector.inspect(raw) };
            let is_new = |finding: &&Finding| finding.taint.is_some_and(|id| !told.contains(&id));
            // One in pieces has a finding for each.
            let new: Vec<&Finding> = inspected.findings().iter().filter(is_new).collect();
            for finding in &new {
                let origins = texts.origins(&finding.span);
                self.add((&mut seen, &mut counted), way, finding, &origins);
            }
            told.extend(new.iter().filter_map(|finding| finding.taint));
        }
        seen.found.sort_by_key(|found| found.span);
        (seen, counted)
    }
}

/// The server whose tool it is.
fn server(tool: &str) -> Option<&str> {
    tool.split_once('/').map(|(server, _)| server)
}

/// Whether one who speaks may tell another a value: it is theirs, or the other was told it, or another tool
/// of the same server, which reads what is given to each.
pub(super) fn may_tell(known: &Known, speaker: &str, to: &str) -> bool {
    let mut knowing = core::iter::once(&known.owner).chain(&known.readers);
    known.owner == speaker
        || known.readers.contains(to)
        || server(to).is_some_and(|of| knowing.any(|who| server(who) == Some(of)))
}

#[cfg(test)]
mod tests;
