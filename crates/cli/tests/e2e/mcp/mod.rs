//! MCP servers behind the guard: what is called, and what comes back.

mod client;
mod listing;
mod numbers;
mod server;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::answers::ended;
use crate::guarded::{CARD, denied_by_nobody, guard, impatient};
use crate::support::processes::{self, Process, kill, part, signal};
use crate::support::{World, skip};
use client::Client;
use server::{PAGE, TOOLS};

/// A secret that the session's apps are given.
const KEPT: &str = "k3Yq-Zt91-pLm4-wXyZ";
const REFUSED: &str = "This call was refused. Do not try it again, in this form or another.";

/// A session with the server of the SDK, as `desk`.
fn opened(world: &World, more: &[&str]) -> String {
    let tools = world.write("tools.toml", TOOLS);
    let own = std::env::current_exe().unwrap();
    let shown = format!("{}:/srv/server", own.display());
    let server = "desk=/srv/server mcp::server::program --exact --ignored --nocapture";
    let run = ["run", "--detach", "--name", "desk", "--mount", &shown, "--mcp", server];
    let tools = format!("--tools={}", tools.display());
    world.must(&[&run[..], &[&tools], more, &["--", "sleep", "infinity"]].concat());
    world.show("desk")["id"].as_str().unwrap().to_owned()
}

/// A session with a server that is a script, as `odd`. What it returns is asked about no further.
fn opened_with_script(world: &World, script: &str) {
    opened_with(world, "readOnlyHint = true", &[], script);
}

/// The same, of whose tool this is declared.
fn opened_with(world: &World, declared: &str, more: &[&str], script: &str) {
    world.write("odd.py", &format!("{ODD}{script}"));
    world.write("odd.toml", &format!("[tools.\"odd/act\"]\n{declared}\nopenWorldHint = false\n"));
    let run = ["run", "--detach", "--name", "desk", "--tools=odd.toml", "--mcp", "odd=python3 odd.py"];
    world.must(&[&run[..], more, &["--", "sleep", "infinity"]].concat());
}

/// The beginning of servers that behave: then `called(id, arguments)` does as it likes.
const ODD: &str = "import json, os, sys
def tool(name, **properties):
    return {'name': name, 'description': 'Acts.', 'inputSchema': {'type': 'object', 'properties': properties}}
tools = [{'name': 'act', 'description': 'Acts.', 'inputSchema': {'type': 'object'}}]
def say(**message):
    print(json.dumps(dict(message, jsonrpc='2.0')), flush=True)
def result(id, text):
    say(id=id, result={'content': [{'type': 'text', 'text': text}]})
def serve(called):
    for line in sys.stdin:
        asked = json.loads(line)
        id, method = asked.get('id'), asked.get('method')
        if method == 'initialize':
            say(id=id, result={'protocolVersion': '2025-06-18', 'capabilities': {'tools': {}}, 'serverInfo': {'name': 'x', 'version': '1'}})
        elif method == 'tools/list':
            say(id=id, result={'tools': tools})
        elif method == 'tools/call':
            called(id, asked['params']['arguments'])
        elif method is None:
            answered(asked)
def answered(message):
    pass
";

fn relay(world: &World, id: &str) -> Option<Process> {
    let anchor = part(world, "anchor", id)?;
    processes::tree(anchor).into_iter().find(|process| process.line().starts_with("sessile-mcp"))
}

/// The one question that is open.
fn question(world: &World) -> Value {
    processes::eventually("somebody is asked", || {
        world.json(&["questions", "--json"]).as_array().unwrap().first().cloned()
    })
}

fn decisions(world: &World) -> Vec<Value> {
    world.json(&["audit", "desk", "--json"]).as_array().unwrap().clone()
}

for_root_and_user! {
    fn tools_are_listed_and_called_past_the_guard(world) {
        let id = opened(world, &[]);
        let client = Client::open(world, "desk", "desk");
        let tools = client.tools();
        let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["get_page", "send_mail", "count", "reads_only"], "one has a name that is none");
        // Before anything was read, where it goes is the caller's own word.
        assert_eq!(client.call("send_mail", json!({"to": "ann@example.org"})), (false, "sent to ann@example.org: ".into()));
        assert_eq!(client.call("count", json!({})), (false, "1".into()));
        assert_eq!(client.call("get_page", json!({"name": "hours"})), (false, PAGE.into()));
        assert!(client.try_call("none", json!({})).is_err());
        // What passes and what does not, and what was decided, with nothing of what was said.
        let shown = world.show("desk");
        assert!(shown["guard"]["guarded"].to_string().contains("tools of desk"), "{shown}");
        assert!(shown["guard"]["blind"].to_string().contains("what mcp-desk writes to standard error"), "{shown}");
        assert!(shown["apps"].to_string().contains("mcp-desk"), "{shown}");
        let audit = decisions(world);
        let labels: Vec<_> = audit.iter().map(|entry| (entry["label"].as_str().unwrap(), entry["to"].as_str().unwrap())).collect();
        assert_eq!(labels, [
            ("tools", "main"), ("tools", "main"), ("tools", "main"), ("tools", "main"), ("call", "desk/send_mail"), ("result", "main"), ("call", "desk/count"),
            ("result", "main"), ("call", "desk/get_page"), ("result", "main"),
        ]);
        assert!(!format!("{audit:?}").contains("ann@example.org"));
        assert_eq!((&audit[4]["by"], &audit[5]["by"]), (&"app:main".into(), &"app:mcp-desk".into()));
        // Connections outlive a keeper.
        kill(part(world, "keeper", &id).unwrap());
        assert_eq!(client.call("count", json!({})), (false, "1".into()));
        world.must(&["end", "desk", "--grace", "0s"]);
        assert!(relay(world, &id).is_none());
    }

    fn a_server_that_cannot_be_started_opens_nothing(world) {
        let run = |more: &[&str]| world.sessile(&[&["run", "--name", "desk", "--mcp", "good=sleep 1000"][..], more].concat());
        for command in [&["--detach", "--", "touch", "begun"][..], &["--", "touch", "begun"], &["--detach"]] {
            run(&[&["--mcp", "x=nosuchprog --now"][..], command].concat()).refused_with(66, &[
                "the MCP server x was not started: nosuchprog: there is no such program inside", "`--tools` or `--mount` shows more",
            ]);
            assert_eq!(world.must(&["ls", "--json"]).trim(), "[]");
            assert!(!world.project().join("begun").exists(), "nothing of the command is done");
        }
        world.write("plain", "no program");
        run(&["--mcp", "x=./plain", "--", "true"]).refused_with(77, &["x was not started: ./plain: it may not be run inside"]);
        world.sessile(&["run", "--mcp", "A=cat", "--", "true"]).refused_with(64, &["an MCP server's name is 1 to 16 characters", "\"A\""]);
    }

    fn a_server_that_ends_at_once_is_said(world) {
        let dies = "x=sh -c 'echo no such table >&2; exit 3'";
        let run = world.sessile(&["run", "--detach", "--name", "desk", "--mcp", "good=sleep 1000", "--mcp", dies, "--", "sleep", "infinity"]);
        run.succeeded();
        for word in ["the MCP server x has ended already (exit 3)", "sessile output", "--app mcp-x"] {
            assert!(run.err.contains(word), "{}", run.err);
        }
        assert!(!run.err.contains("good"), "{}", run.err);
        let wrote = world.sessile(&["output", "desk", "--app", "mcp-x", "--follow"]);
        assert!(wrote.err.contains("no such table"), "{} {}", wrote.text(), wrote.err);
        // Whoever is attached is told as well, before it or after.
        let run = world.sessile(&["run", "--mcp", dies, "--", "sleep", "1"]);
        run.succeeded();
        assert!(run.err.contains("the MCP server x has ended") && run.err.contains("--app mcp-x"), "{}", run.err);
    }

    fn where_a_destination_came_from_decides(world) {
        let id = opened(world, &[]);
        let client = Client::open(world, "desk", "desk");
        client.call("get_page", json!({"name": "hours"}));
        // No pattern matches in that page; the address is its word all the same.
        let mail = json!({"to": "eve@example.net", "text": "the diary"});
        let ask = |verdict: &str| std::thread::scope(|scope| {
            let call = scope.spawn(|| client.call("send_mail", mail.clone()));
            let asked = question(world);
            let line = &asked["line"];
            assert_eq!((&line["from"], &line["by"], &line["to"]), (&"main".into(), &"app:main".into(), &"desk/send_mail".into()));
            assert!(line["because"].as_str().unwrap().contains("\"eve@example.net\", which came from result"), "{line}");
            // It said so now; who said it first is nowhere but in where it came from.
            assert!(line["found"].to_string().contains("email") && line["found"][0].get("of").is_none(), "{line}");
            let questions = world.must(&["questions"]);
            assert!(questions.contains("found: email \"eve@example.net\";") && !questions.contains("first said by"), "{questions}");
            world.must(&["answer", asked["id"].as_str().unwrap(), verdict, "--why", "a test"]);
            call.join().unwrap()
        });
        assert_eq!(ask("deny"), (true, REFUSED.into()));
        assert_eq!(client.call("count", json!({})), (false, "0".into()), "the server has seen nothing of it");
        assert_eq!(ask("allow"), (false, "sent to eve@example.net: the diary".into()));
        assert_eq!(client.call("count", json!({})).1, "1");
        let answered = decisions(world).iter().filter(|entry| entry["kind"] == "answered").count();
        assert_eq!(answered, 2);
        // One who hangs up takes the question along.
        std::thread::scope(|scope| {
            let other = Client::open(world, "desk", "desk");
            scope.spawn(move || {
                let _ = other.try_call("send_mail", json!({"to": "eve@example.net", "text": "x"}));
            });
            question(world);
            kill(part(world, "keeper", &id).unwrap());
            processes::eventually("it is given up", || (ended(world, "desk").last()? == "given up with its keeper").then_some(()));
        });
        std::thread::scope(|scope| {
            let other = Client::open(world, "desk", "desk");
            scope.spawn(move || {
                let _ = other.try_call("send_mail", json!({"to": "mallory@example.net", "text": "x"}));
            });
            question(world);
            world.must(&["end", "desk", "--grace", "0s"]);
        });
        assert_eq!(world.json(&["questions", "--json"]), json!([]));
        assert_eq!(ended(world, &id).len(), 4);
    }

    fn a_call_that_nobody_answers_about_is_denied(world) {
        let daemon = impatient(world);
        opened(world, &[]);
        let client = Client::open(world, "desk", "desk");
        client.call("get_page", json!({"name": "hours"}));
        std::thread::scope(|scope| {
            let call = scope.spawn(|| client.call("send_mail", json!({"to": "eve@example.net", "text": "the diary"})));
            question(world);
            assert_eq!(call.join().unwrap(), (true, REFUSED.into()));
        });
        denied_by_nobody(world);
        assert_eq!(client.call("count", json!({})), (false, "0".into()), "the server has seen nothing of it");
        drop(client);
        world.must(&["end", "desk", "--grace", "0s"]);
        world.must(&["daemon", "stop"]);
        daemon.finish().ended_with(0);
    }

    fn what_a_server_says_of_itself_tightens(world) {
        opened(world, &[]);
        let client = Client::open(world, "desk", "desk");
        client.call("get_page", json!({"name": "hours"}));
        std::thread::scope(|scope| {
            let call = scope.spawn(|| client.call("reads_only", json!({"to": "eve@example.net"})));
            let asked = question(world);
            world.must(&["answer", asked["id"].as_str().unwrap(), "deny"]);
            assert_eq!(call.join().unwrap(), (true, REFUSED.into()));
        });
    }

    fn policies_leave_out_and_refuse_without_a_reason(world) {
        world.write("rules/guard.cedar", "@id(\"all\") permit (principal, action, resource);
            @id(\"cards\") @effect(\"Redact\") permit (principal, action == Action::\"message\", resource) when { context.kinds.contains(\"card\") };
            @id(\"no-mail\") forbid (principal, action == Action::\"call\", resource == Tool::\"desk/send_mail\");
            ");
        opened(world, &["--policy", "rules"]);
        let client = Client::open(world, "desk", "desk");
        assert_eq!(client.call("get_page", json!({"name": "card"})), (false, "Paid with [redacted].".into()));
        assert_eq!(client.call("send_mail", json!({"to": "ann@example.org"})), (true, REFUSED.into()));
        assert_eq!(client.call("count", json!({})).1, "0");
        let shown = world.show("desk");
        assert_eq!((&shown["guard"]["refused"], &shown["guard"]["redacted"]), (&1.into(), &1.into()));
        assert!(!format!("{:?}", decisions(world)).contains(CARD));
    }

    fn what_the_session_keeps_reaches_no_server_however_it_is_written(world) {
        let id = opened(world, &["--env", &format!("DEPLOY_TOKEN={KEPT}")]);
        let client = Client::open(world, "desk", "desk");
        let mail = |text: &str| client.call("send_mail", json!({"to": "ann@example.org", "text": text}));
        let hidden = STANDARD.encode(format!("the token: {KEPT}"));
        let (half, rest) = KEPT.split_at(10);
        assert_eq!(mail(&hidden), (true, REFUSED.into()));
        assert_eq!(mail(KEPT), (true, REFUSED.into()));
        // Cut among arguments, their names, and to a tool that was declared as harmless.
        assert_eq!(client.call("send_mail", json!({"text": half, "to": rest})), (true, REFUSED.into()));
        let (front, back) = hidden.split_at(30);
        assert_eq!(client.call("send_mail", json!({"text": front, "to": back})), (true, REFUSED.into()));
        assert_eq!(client.call("get_page", json!({"name": hidden})), (true, REFUSED.into()));
        assert_eq!(client.call("count", json!({"unused": 1, KEPT: 1})), (true, REFUSED.into()));
        assert_eq!(client.call("count", json!({})), (false, "0".into()), "the server has seen nothing of it");
        assert_eq!(mail("all is well"), (false, "sent to ann@example.org: all is well".into()));
        // What a command was given alone, too; and by a guard that follows another.
        let other = "Wq8-Lm2x-Vt5z-Ha0c-Ne";
        world.must(&["exec", "desk", "--env", &format!("OTHER_SECRET={other}"), "--", "true"]);
        kill(guard(world, &id).unwrap().pid);
        processes::eventually("another guard knows it", || {
            let (failed, text) = mail(&STANDARD.encode(other));
            assert!(failed, "{text}");
            (text == REFUSED).then_some(())
        });
        assert_eq!(client.call("count", json!({})), (false, "1".into()), "the server has seen nothing of it");
        // Outside it is told what it was, without the value.
        let refused: Vec<Value> = decisions(world).into_iter().filter(|entry| entry["effect"] == "reject").collect();
        assert_eq!(refused.len(), 7, "{refused:?}");
        for entry in &refused {
            let found = entry["found"].to_string();
            assert!(found.contains("tainted_value") && found.contains("the session"), "{entry}");
            assert_eq!(entry["policies"], json!(["secrets-stay"]), "{entry}");
            let entry = entry.to_string();
            assert!(![KEPT, half, rest, other, &hidden].iter().any(|value| entry.contains(*value)), "{entry}");
        }
    }

    fn a_tool_whose_name_holds_what_the_session_keeps_is_none(world) {
        let named = format!("mail.{KEPT}");
        let script = format!("
tools.append(tool('{named}'))
calls = 0
def called(id, arguments):
    global calls
    calls += 1
    result(id, str(calls))
serve(called)
");
        opened_with(world, "readOnlyHint = true", &["--env", &format!("DEPLOY_TOKEN={KEPT}")], &script);
        let client = Client::open(world, "desk", "odd");
        // Before its list was ever asked for, and after.
        assert_eq!(client.call(&named, json!({})), (true, REFUSED.into()));
        let names: Vec<String> = client.tools().iter().map(|tool| tool.name.to_string()).collect();
        assert_eq!(names, ["act"]);
        let error = client.try_call(&named, json!({})).unwrap_err().to_string();
        assert!(error.contains("no tool of this name"), "{error}");
        assert_eq!(client.call("act", json!({})), (false, "1".into()), "the server has seen no other call");
        let audit = decisions(world);
        let withheld = audit.iter().filter(|entry| entry["to"] == "odd/(name withheld)").count();
        assert_eq!(withheld, 1, "{audit:?}");
        assert!(!format!("{audit:?}").contains(&KEPT[..8]), "{audit:?}");
    }

    fn an_argument_that_no_schema_names_decides_where_a_call_goes(world) {
        let declared = "readOnlyHint = false\ndestructiveHint = false\nsinks = []";
        opened_with(world, declared, &[], &format!("
tools = [tool('act', note=dict(type='string'))]
def called(id, arguments):
    result(id, json.dumps(sorted(arguments)) + ' {PAGE}')
serve(called)
"));
        let client = Client::open(world, "desk", "odd");
        let noted = |names: &str| (false, format!("{names} {PAGE}"));
        let copied = json!({"note": "the diary", "bcc": "eve@example.net"});
        // Before anything untrusted was read it is the caller's own word.
        assert_eq!(client.call("act", json!({"note": "x", "bcc": "ann@example.org"})), noted("[\"bcc\", \"note\"]"));
        assert_eq!(client.call("act", json!({"note": "the diary"})), noted("[\"note\"]"), "nobody is asked of what is named");
        let ask = |verdict: &str| std::thread::scope(|scope| {
            let call = scope.spawn(|| client.call("act", copied.clone()));
            let asked = question(world);
            let because = asked["line"]["because"].as_str().unwrap().to_owned();
            assert!(because.contains("bcc is \"eve@example.net\", which came from result"), "{because}");
            world.must(&["answer", asked["id"].as_str().unwrap(), verdict, "--why", "a test"]);
            call.join().unwrap()
        });
        assert_eq!(ask("deny"), (true, REFUSED.into()));
        assert_eq!(ask("allow"), noted("[\"bcc\", \"note\"]"));
    }

    fn a_refusal_is_the_same_whatever_it_is_for(world) {
        world.write("rules/guard.cedar", "@id(\"all\") permit (principal, action, resource);
            @id(\"kept\") forbid (principal, action == Action::\"call\", resource) when { !context.withinReaders };
            @id(\"no-pages\") forbid (principal, action == Action::\"call\", resource == Tool::\"desk/get_page\");
            ");
        opened(world, &["--policy", "rules", "--env", &format!("DEPLOY_TOKEN={KEPT}")]);
        let client = Client::open(world, "desk", "desk");
        let told = |tool: &str, arguments: Value| {
            let mut result = serde_json::to_value(client.try_call(tool, arguments).unwrap()).unwrap();
            result.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            result
        };
        let by_policy = told("get_page", json!({"name": "hours"}));
        assert_eq!(by_policy["isError"], true);
        assert!(by_policy.to_string().contains(REFUSED));
        for text in [KEPT.to_owned(), STANDARD.encode(KEPT), KEPT.to_lowercase()] {
            assert_eq!(told("send_mail", json!({"to": "ann@example.org", "text": text})), by_policy);
        }
        assert_eq!(client.call("count", json!({})).1, "0");
    }

    fn what_is_no_tool_is_not_to_be_had(world) {
        opened(world, &[]);
        let client = Client::open(world, "desk", "desk");
        assert!(client.resources().is_err());
        let inside = |app: &str, name: &str| world.sessile(&["exec", "desk", "--app", app, "--", "sessile", "mcp", name]);
        inside("main", "none").refused_with(66, &["has no MCP server \"none\""]);
        inside("mcp-desk", "desk").refused_with(77, &["a server calls no tools of others"]);
        world.sessile(&["mcp", "desk"]).refused_with(73, &["SESSILE_SOCKET"]);
        let named = world.must(&["exec", "desk", "--", "sh", "-c", "echo $SESSILE_MCP"]);
        assert_eq!(named, "desk\n");
        for bad in ["desk", "desk=", "desk='x", "x2345678901234567=y"] {
            world.sessile(&["run", "--detach", "--mcp", bad, "--", "true"]).ended_with(64);
        }
    }

    fn a_guard_that_dies_refuses_what_it_looked_at_and_no_more(world) {
        let id = opened(world, &[]);
        let client = Client::open(world, "desk", "desk");
        client.call("count", json!({}));
        signal(guard(world, &id).unwrap().pid, rustix::process::Signal::STOP);
        let (failed, text) = client.call("send_mail", json!({"to": "ann@example.org"}));
        assert!(failed && text.contains("was not made. It may be tried again"), "{text}");
        assert_eq!(client.call("count", json!({})).1, "0");
        kill(guard(world, &id).unwrap().pid);
        assert_eq!(client.call("count", json!({})).1, "0");
    }

    fn a_relay_has_neither_files_nor_network_and_one_that_dies_is_followed(world) {
        let id = opened(world, &[]);
        let client = Client::open(world, "desk", "desk");
        client.call("count", json!({}));
        let before = relay(world, &id).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", before.pid)).unwrap();
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
        if world.is_root() {
            assert!(!status.contains("Uid:\t0"), "{status}");
        }
        kill(before.pid);
        assert!(client.try_call("count", json!({})).is_err());
        let client = Client::open(world, "desk", "desk");
        assert_eq!(client.call("count", json!({})).1, "0");
        assert_ne!(relay(world, &id).unwrap().pid, before.pid);
    }

    fn a_server_that_is_not_one_harms_nothing(world) {
        world.must(&["run", "--detach", "--name", "desk", "--mcp", "none=true", "--", "sleep", "infinity"]);
        let client = Client::open(world, "desk", "none");
        let error = client.try_call("act", json!({})).unwrap();
        assert!(format!("{error:?}").contains("the server has ended"), "{error:?}");
        world.must(&["end", "desk"]);
    }

    fn a_server_that_answers_oddly_answers_what_was_asked(world) {
        opened_with_script(world, "
def called(id, arguments):
    print('this is no message'); say(id=id + 99, result={}); say(id='x', result={}); say(method='notifications/message', params={'data': 'odd'})
    result(id, 'one'); result(id, 'two'); say(id=id, result=7)
serve(called)
");
        let client = Client::open(world, "desk", "odd");
        assert_eq!(client.tools().len(), 1);
        for _ in 0..3 {
            assert_eq!(client.call("act", json!({})), (false, "one".into()));
        }
    }

    fn an_answer_that_cannot_be_read_is_an_error_at_once(world) {
        opened_with_script(world, "
def called(id, arguments):
    sys.stdout.buffer.write(b'\\xff no message\\n')
    if arguments.get('how') == 'bytes':
        sys.stdout.buffer.write(b'{\"jsonrpc\": \"2.0\", \"id\": %d, \"result\": {\"content\": [{\"type\": \"text\", \"text\": \"\\xff\"}]}}\\n' % id)
    elif arguments.get('how') == 'deep':
        sys.stdout.buffer.write(b'{\"jsonrpc\": \"2.0\", \"id\": %d, \"result\": %s%s}\\n' % (id, b'[' * 500, b']' * 500))
    else:
        result(id, 'well')
    sys.stdout.buffer.flush()
serve(called)
");
        let client = Client::open(world, "desk", "odd");
        for how in ["bytes", "deep"] {
            let (failed, text) = client.call("act", json!({"how": how}));
            assert!(failed && text.starts_with("The call has no result: the server wrote a line that cannot be read."), "{text}");
            assert_eq!(client.call("act", json!({})), (false, "well".into()));
        }
    }

    fn what_no_policy_is_about_is_refused_and_said_before(world) {
        world.write("messages.cedar", "@id(\"all\") permit (principal, action == Action::\"message\", resource);");
        world.write("odd.py", &format!("{ODD}\ndef called(id, arguments):\n    result(id, 'well')\nserve(called)\n"));
        let server = ["run", "--detach", "--name", "desk", "--policy", "messages.cedar", "--mcp", "odd=python3 odd.py"];
        let run = world.sessile(&[&server[..], &["--", "sleep", "infinity"]].concat());
        run.succeeded();
        assert!(run.err.contains("no policy that is named is about calls of tools, so that"), "{}", run.err);
        let client = Client::open(world, "desk", "odd");
        assert_eq!(client.call("act", json!({})), (true, REFUSED.into()));
        let audit = world.must(&["audit", "desk"]);
        assert!(audit.contains("no policy applies") && !audit.lines().any(|line| line.trim_end().ends_with(" by")), "{audit}");
        let call = decisions(world).into_iter().find(|entry| entry["label"] == "call").unwrap();
        assert_eq!((&call["because"], &call["effect"]), (&"no policy applies".into(), &"reject".into()), "{call}");
        // Of policies that are about both there is nothing to say.
        world.write("calls.cedar", "permit (principal, action == Action::\"call\", resource);");
        let run = world.sessile(&["run", "--detach", "--policy", "messages.cedar", "--policy", "calls.cedar", "--mcp", "odd=python3 odd.py", "--", "true"]);
        assert!(!run.err.contains("no policy that is named"), "{}", run.err);
    }

    fn a_server_asks_nothing_of_who_calls(world) {
        opened_with_script(world, "
waiting = []
def called(id, arguments):
    waiting.append(id)
    say(id='s', method='sampling/createMessage', params={'messages': [], 'maxTokens': 1})
def answered(message):
    result(waiting.pop(), str(message['error']['code']))
serve(called)
");
        assert_eq!(Client::open(world, "desk", "odd").call("act", json!({})), (false, "-32601".into()));
    }

    fn a_server_that_dies_or_floods_is_told_of_and_started_again(world) {
        opened_with_script(world, "
def called(id, arguments):
    if arguments.get('how') == 'die': os._exit(3)
    if arguments.get('how') == 'flood':
        while True: sys.stdout.write('x' * 65536)
    result(id, 'well')
serve(called)
");
        let client = Client::open(world, "desk", "odd");
        let (failed, text) = client.call("act", json!({"how": "die"}));
        assert!(failed && text.contains("the server has ended"), "{text}");
        assert!(client.call("act", json!({})).1.contains("The tool was not called"));
        processes::eventually("it is seen to have ended", || {
            world.show("desk")["apps"].to_string().contains("\"code\":3").then_some(())
        });
        let client = Client::open(world, "desk", "odd");
        assert_eq!(client.call("act", json!({})), (false, "well".into()));
        let (failed, text) = client.call("act", json!({"how": "flood"}));
        assert!(failed && text.contains("a line that is too long"), "{text}");
        assert_eq!(Client::open(world, "desk", "odd").call("act", json!({})), (false, "well".into()));
        assert_eq!(world.show("desk")["state"], "active");
    }
}

/// With a server of others, where this machine has one.
#[test]
fn a_server_of_others_is_behind_the_guard() {
    crate::support::as_own(|world| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("mcp-server");
        let program = "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";
        let node = ["/usr/local/bin/node", "/usr/bin/node"].into_iter().find(|node| Path::new(node).exists());
        let Some(node) = node.filter(|_| target.join(program).exists()) else {
            return skip(
                "there is no server of others: cargo xtask setup installs one where there are node and npm",
            );
        };
        world.write("note.txt", "what stands in a file");
        let folder = world.project();
        let server = format!("files={node} /srv/server/{program} {}", folder.display());
        let shown = format!("{}:/srv/server", target.display());
        world.write(
            "files.toml",
            "[tools.\"files/read_text_file\"]\nreadOnlyHint = true\nopenWorldHint = false\n",
        );
        let run = ["run", "--detach", "--name", "desk", "--tools=files.toml", "--mount", &shown];
        world.must(&[&run[..], &["--mcp", &server, "--", "sleep", "infinity"]].concat());
        let client = Client::open(world, "desk", "files");
        assert!(client.tools().iter().any(|tool| tool.name == "read_text_file"));
        let path = folder.join("note.txt").display().to_string();
        assert_eq!(
            client.call("read_text_file", json!({"path": path})),
            (false, "what stands in a file".into())
        );
        assert!(client.call("read_text_file", json!({"path": "/etc/passwd"})).0);
    });
}
