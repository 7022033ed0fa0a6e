//! A `tools.toml` from descriptions of tools, by a rule that reads names, not values.
//!
//! 1. **What it does** is the first verb of its name, else of its description; where both have one, or
//!    `and`, `or` or `then` leads to another, the strictest. Verbs are those of `words`.
//! 2. A tool that *reads* is read-only. It is open-world where an argument is a URL or its name speaks of
//!    the web; then the URL, else every argument, is a sink. Else it is closed.
//! 3. A tool that *adds* to or *changes* records of one's own is closed and not destructive; recipients,
//!    URLs, paths, commands, credentials and identifiers are sinks. Where a *change* has no such
//!    argument, nothing shows what is changed, and it is destructive, except for one's own profile, of
//!    which email, phone and account are sinks. Orders, money and messages that are added *are sent*.
//! 4. A tool that *sends* is open-world. Recipients, URLs, paths and credentials are sinks; where it has
//!    none, everything is that is not said, counted or dated.
//! 5. A tool that *destroys*, opens or runs something is destructive and open-world, and everything is a
//!    sink that is not said, counted or dated.
//! 6. A tool that is none of these, or does more than read and describes no arguments, is not declared.
//! 7. **Trusted fields** of closed tools that read: of contacts their name, email and phone; of
//!    transactions and payments the recipient; of mails that were sent or drafted the recipients; of events the participants; of channels, users and members
//!    the entries and names; of one's own profile, where a tool takes no arguments, email, phone and
//!    account; of all lists the `id`, which counts for changes of that record and, where the user named it,
//!    for taking it away. What reads a file, a page or a message has none.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::words::{self, About, Doing};
use super::{ALL, Annotations, ENTRIES, Tool, Tools};

/// Descriptions of tools under the name of their suite or server, where there is one.
pub type Suite = (Option<String>, Vec<Value>);

/// Declarations that were derived.
#[derive(Clone, Debug, Default)]
pub struct Derived {
    /// The declarations.
    pub tools: Tools,
    /// Why each is what it is.
    pub why: BTreeMap<String, String>,
    /// Those for which the rule has nothing to say: unknown, so destructive and open-world.
    pub undeclared: BTreeSet<String>,
}

/// Why descriptions of tools are refused.
#[derive(Debug, thiserror::Error)]
pub enum NotDescribed {
    /// It is neither a list of tools nor a table of such lists.
    #[error("{place} {kind}: expected a list of tools, {{\"tools\": [...]}}, or a table of such lists")]
    Form {
        /// What: the whole of it, or an entry of it by its name.
        place: String,
        /// Which kind of JSON that is instead.
        kind: &'static str,
    },
    /// A tool without a name.
    #[error("tool {number} has no name")]
    NoName {
        /// Its number in the list, from 1.
        number: usize,
    },
}

/// The lists of tools in a document: one list, what a server answers to `tools/list`, or a table of
/// lists by suite.
///
/// # Errors
/// When it is none of these.
pub fn suites(document: &Value) -> Result<Vec<Suite>, NotDescribed> {
    let list = |value: &Value| value.as_array().cloned();
    if let Some(tools) = list(document) {
        return Ok(vec![(None, tools)]);
    }
    let document = document.get("result").unwrap_or(document);
    if let Some(tools) = document.get("tools").and_then(list) {
        return Ok(vec![(None, tools)]);
    }
    let form = |place: &str, value: &Value| NotDescribed::Form { place: place.to_owned(), kind: kind(value) };
    let Some(table) = document.as_object().filter(|table| !table.is_empty()) else {
        return Err(form("it is", document));
    };
    let suite = |(name, tools): (&String, &Value)| {
        let all = list(tools).ok_or_else(|| form(&format!("{name:?} in it is"), tools))?;
        Ok((Some(name.clone()), all))
    };
    table.iter().map(suite).collect()
}

/// Which kind of JSON a value is.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Derives declarations. A tool that is described twice is declared by the stricter of both.
///
/// # Errors
/// When a tool has no name.
pub fn derive(descriptions: &[Value]) -> Result<Derived, NotDescribed> {
    let mut derived = Derived::default();
    for (at, description) in descriptions.iter().enumerate() {
        let described = Described::read(description).ok_or(NotDescribed::NoName { number: at + 1 })?;
        let name = described.name.to_owned();
        let Some((tool, why)) = described.declaration().filter(|_| !derived.undeclared.contains(&name))
        else {
            derived.tools.tools.remove(&name);
            derived.why.remove(&name);
            derived.undeclared.insert(name);
            continue;
        };
        let tool = match derived.tools.declared(&name) {
            Some(other) => stricter(other, tool),
            None => tool,
        };
        derived.tools.declare(&name, tool);
        derived.why.insert(name, why);
    }
    Ok(derived)
}

fn stricter(one: &Tool, other: Tool) -> Tool {
    Tool {
        is_read_only: one.is_read_only && other.is_read_only,
        is_destructive: one.is_destructive || other.is_destructive,
        is_idempotent: one.is_idempotent && other.is_idempotent,
        is_open_world: one.is_open_world || other.is_open_world,
        sinks: one.sinks.as_ref().zip(other.sinks).map(|(one, other)| one.union(&other).cloned().collect()),
        trusted_fields: one.trusted_fields.intersection(&other.trusted_fields).cloned().collect(),
        readers: one.readers.clone(),
    }
}

/// What a tool says of itself.
struct Described<'a> {
    name: &'a str,
    words: Vec<String>,
    description: &'a str,
    /// `None` where it describes none.
    arguments: Option<&'a Map<String, Value>>,
    annotations: Annotations,
}

impl<'a> Described<'a> {
    fn read(tool: &'a Value) -> Option<Self> {
        let tool = tool.get("function").filter(|inner| inner.get("name").is_some()).unwrap_or(tool);
        let name = tool.as_str().or_else(|| tool.get("name")?.as_str())?;
        let text = |key: &str| tool.get(key).and_then(Value::as_str);
        let schema = ["inputSchema", "input_schema", "parameters"].iter().find_map(|key| tool.get(key));
        let annotations = tool.get("annotations").cloned().unwrap_or_default();
        Some(Self {
            name,
            words: words::split(name),
            description: text("description").unwrap_or_default(),
            arguments: schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object),
            annotations: serde_json::from_value(annotations).unwrap_or_default(),
        })
    }

    fn declaration(&self) -> Option<(Tool, String)> {
        let (doing, verb) = self.doing()?;
        if doing != Doing::Reads && self.arguments.is_none() {
            return None;
        }
        let sinks: BTreeSet<String> = self.arguments_that(|about| {
            matches!(about, About::Destination | About::Url | About::PathOrCommand | About::Credential)
        });
        let acted_on = || self.arguments_that(|about| about != About::Content);
        let identifiers = || self.arguments_that(|about| about == About::Identifier);
        let closed = Tool {
            is_destructive: false,
            is_open_world: false,
            sinks: Some(BTreeSet::new()),
            ..Tool::unknown()
        };
        let (tool, what) = match doing {
            Doing::Reads => {
                let urls = self.arguments_that(|about| about == About::Url);
                let tool = Tool { is_read_only: true, is_idempotent: true, ..closed };
                if !urls.is_empty() {
                    (Tool { is_open_world: true, sinks: Some(urls), ..tool }, "reads the open world")
                } else if words::is_web(&self.words) {
                    let all = Some([ALL.to_owned()].into());
                    (Tool { is_open_world: true, sinks: all, ..tool }, "reads the open world")
                } else {
                    (Tool { trusted_fields: self.trusted_fields(&verb), ..tool }, "reads")
                }
            }
            Doing::Adds | Doing::Changes => {
                let sinks: BTreeSet<String> = sinks.union(&identifiers()).cloned().collect();
                let is_destructive =
                    doing == Doing::Changes && sinks.is_empty() && !self.is_own_profile(&verb);
                let what = match (doing, is_destructive) {
                    (_, true) => "changes what it does not name",
                    (Doing::Adds, false) => "adds to one's own records",
                    (_, false) => "changes one's own records",
                };
                let is_idempotent = doing == Doing::Changes;
                (Tool { sinks: Some(sinks), is_destructive, is_idempotent, ..closed }, what)
            }
            Doing::Sends => {
                let sinks = if sinks.is_empty() { acted_on() } else { sinks };
                (Tool { is_open_world: true, sinks: Some(sinks), ..closed }, "reaches others")
            }
            Doing::Destroys => {
                let sinks = sinks.union(&acted_on()).cloned().collect();
                let tool = Tool { is_destructive: true, is_open_world: true, sinks: Some(sinks), ..closed };
                (tool, "destroys, opens or runs something")
            }
        };
        Some((tool.tightened(self.annotations), format!("{what} ({verb})")))
    }

    /// The strictest that its name and description say, and the verb of the name.
    fn doing(&self) -> Option<(Doing, String)> {
        let by_name = self.words.iter().position(|word| words::doing(word).is_some());
        let mut strictest = words::said(self.description);
        let mut verb = self.description.split_whitespace().next().unwrap_or_default().to_lowercase();
        if let Some(at) = by_name {
            verb.clone_from(&self.words[at]);
            strictest = strictest.max(words::doing(&self.words[at]));
            for two in self.words[at + 1..].windows(2) {
                if matches!(two[0].as_str(), "and" | "or" | "then") {
                    strictest = strictest.max(words::doing(&two[1]));
                }
            }
        }
        let strictest = strictest?;
        let is_sent = strictest == Doing::Adds && words::is_outward(&self.words);
        Some((if is_sent { Doing::Sends } else { strictest }, verb))
    }

    fn arguments_that(&self, is_meant: impl Fn(About) -> bool) -> BTreeSet<String> {
        let all = self.arguments.into_iter().flatten();
        all.filter(|(name, schema)| is_meant(argument(name, schema))).map(|(name, _)| name.clone()).collect()
    }

    fn trusted_fields(&self, verb: &str) -> BTreeSet<String> {
        let object = words::object(&self.words, verb);
        let Some(last) = object.last() else { return BTreeSet::new() };
        let noun = words::singular(last);
        let is_list = noun != last;
        let takes_nothing = self.arguments.is_some_and(Map::is_empty);
        let mut fields: Vec<&str> = match noun {
            "contact" => vec!["name", "email", "phone", "phone_number"],
            "transaction" | "payment" => vec!["recipient"],
            "email" | "mail" | "message"
                if self.words.iter().any(|word| matches!(words::singular(word), "sent" | "draft")) =>
            {
                vec!["recipient", "recipients", "to", "cc", "bcc"]
            }
            "event" | "calendar" | "appointment" | "meeting" => vec!["participants", "attendees"],
            "channel" | "user" | "member" | "participant" if is_list => vec![ENTRIES, "name", "username"],
            "info" | "information" | "profile" | "account" | "me" if takes_nothing && self.is_own() => {
                vec!["email", "phone", "phone_number", "iban", "account", "account_number"]
            }
            "iban" if takes_nothing => vec![ENTRIES],
            _ => Vec::new(),
        };
        let own_id = format!("{noun}_id");
        if is_list && !words::is_content(noun) {
            fields.extend(["id", own_id.as_str()]);
        }
        fields.into_iter().map(str::to_owned).collect()
    }

    /// Whether what it changes is the profile of whoever uses it.
    fn is_own_profile(&self, verb: &str) -> bool {
        let noun = words::object(&self.words, verb).last().map(|last| words::singular(last));
        self.is_own()
            && noun.is_some_and(|noun| matches!(noun, "detail" | "info" | "information" | "profile"))
    }

    /// Whether it is about whoever uses it.
    fn is_own(&self) -> bool {
        self.words
            .iter()
            .any(|word| matches!(word.as_str(), "account" | "me" | "my" | "own" | "profile" | "user"))
    }
}

/// What an argument is about. A number, a yes or no, or a choice among few decides nothing, unless it
/// names what is acted on.
fn argument(name: &str, schema: &Value) -> About {
    let about = words::about(name);
    let is_identifier = about == About::Identifier;
    if schema.get("enum").is_some() || !(is_identifier || may_be_text(schema)) {
        return About::Content;
    }
    match about {
        About::Other => {
            words::described(schema.get("description").and_then(Value::as_str).unwrap_or_default())
        }
        About::Destination
        | About::Url
        | About::PathOrCommand
        | About::Credential
        | About::Identifier
        | About::Content => about,
    }
}

/// Whether a schema admits a text, or says nothing of it.
fn may_be_text(schema: &Value) -> bool {
    let is_text = |kind: &Value| !matches!(kind.as_str(), Some("boolean" | "integer" | "number" | "null"));
    let by_type = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is_text),
        Some(kind) => is_text(kind),
        None => true,
    };
    let any_of = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    by_type && any_of.is_none_or(|kinds| kinds.iter().any(may_be_text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(name: &str, arguments: &[&str]) -> Value {
        let properties: Map<String, Value> =
            arguments.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
        json!({"name": name, "inputSchema": {"type": "object", "properties": properties}})
    }

    fn one(description: &Value) -> String {
        let derived = derive(std::slice::from_ref(description)).unwrap();
        let Some((_, tool)) = derived.tools.iter().next() else { return "undeclared".to_owned() };
        let flags =
            [(tool.is_read_only, "reads"), (tool.is_destructive, "destroys"), (tool.is_open_world, "open")];
        let flags: Vec<&str> = flags.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let sinks = tool.sinks.as_ref().map_or("all".to_owned(), list);
        format!("{} [{sinks}] {}", flags.join(" "), list(&tool.trusted_fields)).trim_end().to_owned()
    }

    #[test]
    fn by_the_rule() {
        for (name, arguments, expected) in [
            ("search_mail", &["query"][..], "reads []"),
            ("list_events", &["day"], "reads [] attendees,event_id,id,participants"),
            ("find_contacts_by_name", &["name"], "reads [] contact_id,email,id,name,phone,phone_number"),
            ("read_document", &["document_id"], "reads []"),
            ("fetch_page", &["url"], "reads open [url]"),
            ("web_search", &["query"], "reads open [*]"),
            ("create_event", &["title", "participants", "start_time"], " [participants]"),
            ("reschedule_event", &["event_id", "new_start_time"], " [event_id]"),
            ("set_temperature", &["degrees"], "destroys []"),
            ("update_my_profile", &["street", "phone"], " [phone]"),
            ("update_user_info", &["street"], " []"),
            ("update_user_rights", &["role"], "destroys []"),
            ("delete_document", &["document_id"], "destroys open [document_id]"),
            ("send_mail", &["recipients", "cc", "subject", "body", "attachment_id"], "open [cc,recipients]"),
            ("reserve_table", &["restaurant", "start_time"], "open [restaurant]"),
            ("share_document", &["document_id", "email", "permission"], "open [email]"),
            ("make_reservation", &["restaurant", "start_time"], "open [restaurant]"),
            ("create_issue", &["repo", "title", "body"], "open [repo]"),
            (
                "send_parcel",
                &["recipient_name", "shipping_address", "weight_kg"],
                "open [recipient_name,shipping_address]",
            ),
            ("add_payment", &["payee", "amount"], "open [payee]"),
            ("search_and_delete", &["query", "folder"], "destroys open [folder]"),
            ("run_shell", &["command", "cwd"], "destroys open [command,cwd]"),
            ("DoorOpen", &[], "destroys open []"),
            ("frobnicate", &["x"], "undeclared"),
            ("get_own_profile", &[], "reads [] account,account_number,email,iban,phone,phone_number"),
            ("get_profile", &["handle"], "reads []"),
            ("get_server_info", &[], "reads []"),
            ("list_sent_mails", &[], "reads [] bcc,cc,id,mail_id,recipient,recipients,to"),
            ("list_mails", &[], "reads [] id,mail_id"),
            ("post_note", &["channel_id", "text"], "open [channel_id]"),
        ] {
            assert_eq!(one(&tool(name, arguments)).trim_start(), expected.trim_start(), "{name}");
        }
    }

    #[test]
    fn what_describes_no_arguments_is_declared_only_where_it_reads() {
        assert_eq!(one(&json!("AcmeGetDetails")), "reads []");
        assert_eq!(one(&json!({"name": "AcmeUnlock"})), "undeclared");
    }

    #[test]
    fn a_description_or_a_server_only_tightens() {
        let mut read = tool("get_report", &["path"]);
        read["description"] = json!("Deletes the report.");
        assert!(one(&read).starts_with("destroys open"));
        let mut read = tool("get_report", &["path"]);
        read["annotations"] = json!({"readOnlyHint": false});
        assert_eq!(one(&read), "destroys [all]");
        let mut write = tool("delete_report", &["path"]);
        write["annotations"] =
            json!({"readOnlyHint": true, "destructiveHint": false, "openWorldHint": false});
        assert_eq!(one(&write), "destroys open [path]");
    }

    #[test]
    fn a_tool_that_is_described_twice_is_the_stricter_of_both() {
        let two = [tool("get_page", &["page_id"]), tool("get_page", &["url"])];
        let derived = derive(&two).unwrap();
        let tool = derived.tools.declared("get_page").unwrap();
        assert!(tool.is_open_world && tool.is_sink("url"));
    }

    #[test]
    fn documents() {
        let list = json!([{"name": "a"}]);
        assert_eq!(suites(&list).unwrap().len(), 1);
        assert_eq!(suites(&json!({"result": {"tools": list}})).unwrap().len(), 1);
        assert_eq!(suites(&json!({"one": list, "two": list})).unwrap()[1].0.as_deref(), Some("two"));
        assert!(
            suites(&json!({"one": 1})).is_err() && suites(&json!(1)).is_err() && suites(&json!({})).is_err()
        );
        assert!(derive(&[json!({"description": "no name"})]).is_err());
    }
}
