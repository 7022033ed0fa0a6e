use serde_json::json;
use sessile_model::mcp::Hints;

use super::*;

fn lines(deeds: &[Deed]) -> Vec<(Option<u32>, Value)> {
    let line = |deed: &Deed| match deed {
        Deed::ToServer(line) => Some((None, serde_json::from_slice(line).unwrap())),
        Deed::ToGuest(guest, line) => Some((Some(*guest), serde_json::from_slice(line).unwrap())),
        Deed::Ask { .. } | Deed::GiveUp(_) | Deed::Unread(_) | Deed::Over(_) => None,
    };
    deeds.iter().filter_map(line).collect()
}

fn from_server(desk: &mut Desk, message: Value, now_ms: u64) -> Vec<Deed> {
    desk.hear_server(message.to_string().as_bytes(), now_ms);
    desk.take_deeds()
}

fn from_guest(desk: &mut Desk, guest: u32, message: Value) -> Vec<Deed> {
    desk.hear_guest(guest, message.to_string().as_bytes());
    desk.take_deeds()
}

/// One whose server can be called, with a guest, and the last id that the server was sent.
fn ready() -> (Desk, u32, u64) {
    let mut desk = Desk::begin(0);
    let guest = desk.welcome("main".into()).unwrap();
    let begun = lines(&desk.take_deeds());
    assert_eq!(begun[0].1["method"], "initialize");
    let about = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"},
        "instructions": "obey"});
    let listing =
        lines(&from_server(&mut desk, json!({"jsonrpc": "2.0", "id": begun[0].1["id"], "result": about}), 0));
    let methods: Vec<_> = listing.iter().map(|(_, line)| line["method"].clone()).collect();
    assert_eq!(methods, ["notifications/initialized", "tools/list"]);
    let tool = json!({"name": "send", "description": "Sends.", "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": false}});
    let id = listing[1].1["id"].as_u64().unwrap();
    from_server(&mut desk, json!({"jsonrpc": "2.0", "id": id, "result": {"tools": [tool]}}), 0);
    (desk, guest, id)
}

fn call(id: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": {"name": "send", "arguments": {"to": "ann"}}})
}

/// Calls, and has it made; the matter's number and the id that the server was sent.
fn sent(desk: &mut Desk, guest: u32, id: i32) -> (u32, u64) {
    let deeds = from_guest(desk, guest, call(id));
    let [Deed::Ask { number, what, text, .. }] = deeds.as_slice() else { panic!("{deeds:?}") };
    let hints = Hints { read_only_hint: Some(false), ..Hints::default() };
    assert_eq!(
        (what, text.as_str()),
        (&Asked::Call { tool: "send".into(), hints, undeclared: Vec::new() }, "{\"to\":\"ann\"}")
    );
    desk.decided(*number, Verdict::Pass, 0);
    let line = lines(&desk.take_deeds());
    assert_eq!((line[0].0, &line[0].1["params"]["arguments"]), (None, &json!({"to": "ann"})));
    (*number, line[0].1["id"].as_u64().unwrap())
}

fn result(id: u64, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
}

#[test]
fn nothing_reaches_the_server_or_comes_back_before_it_was_judged() {
    let (mut desk, guest, _) = ready();
    let deeds = from_guest(&mut desk, guest, call("a"));
    assert!(matches!(deeds.as_slice(), [Deed::Ask { number: 1, .. }]), "{deeds:?}");
    desk.decided(1, Verdict::Refused, 0);
    let answer = lines(&desk.take_deeds());
    assert_eq!(
        (answer.len(), answer[0].0, &answer[0].1["id"], &answer[0].1["result"]["isError"]),
        (1, Some(guest), &"a".into(), &true.into())
    );
    // Said twice it changes nothing.
    desk.decided(1, Verdict::Pass, 0);
    assert_eq!(desk.take_deeds(), []);

    let (number, id) = sent(&mut desk, guest, 7);
    // What is with the server is nobody's to decide.
    desk.decided(number, Verdict::Refused, 0);
    assert_eq!(desk.take_deeds(), []);
    let deeds = from_server(&mut desk, result(id, "paid 4539"), 0);
    let [Deed::Ask { number, what: Asked::Returned { .. }, text, .. }] = deeds.as_slice() else {
        panic!("{deeds:?}")
    };
    assert_eq!(text, "paid 4539");
    desk.decided(*number, Verdict::Without(vec![(5, 9)]), 0);
    let answer = lines(&desk.take_deeds());
    assert_eq!(
        (&answer[0].1["id"], &answer[0].1["result"]["content"][0]["text"]),
        (&7.into(), &"paid [redacted]".into())
    );
}

#[test]
fn an_answer_that_cannot_be_read_ends_its_call_at_once_and_a_print_ends_none() {
    let (mut desk, guest, _) = ready();
    let (_, first) = sent(&mut desk, guest, 1);
    let (_, second) = sent(&mut desk, guest, 2);
    for print in [
        &b"working"[..],
        b"\xff",
        b"{\"level\":\"info\",\"id\":3}",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}",
    ] {
        desk.hear_server(print, 1);
        assert_eq!(desk.take_deeds(), []);
    }
    let deep =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{second},\"result\":{}{}}}", "[".repeat(500), "]".repeat(500));
    desk.hear_server(deep.as_bytes(), 1);
    let deeds = desk.take_deeds();
    assert_eq!(deeds.last(), Some(&Deed::Unread(vec!["send".into()])));
    let answers = lines(&deeds);
    let told = |line: &Value| line["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!((answers.len(), &answers[0].1["id"]), (1, &2.into()));
    let words = "The call has no result: the server wrote a line that cannot be read. Whether it was made is not known.";
    assert_eq!(told(&answers[0].1), words);
    // Where it does not say which, it may be that of any.
    let (_, third) = sent(&mut desk, guest, 3);
    desk.hear_server(b"{\"jsonrpc\":\"2.0\",\"result\":{\"n\":NaN},\"id\":1}", 1);
    let answers = lines(&desk.take_deeds());
    assert_eq!(answers.iter().map(|(_, line)| &line["id"]).collect::<Vec<_>>(), [&json!(1), &json!(3)]);
    // What comes for them after all is nobody's.
    for id in [first, second, third] {
        assert_eq!(from_server(&mut desk, result(id, "late"), 1), []);
    }
    // One that cannot be told what it has is not waited for.
    let mut desk = Desk::begin(0);
    desk.hear_server(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}", 1);
    assert!(matches!(desk.take_deeds().last(), Some(Deed::Over(why)) if why.contains("cannot be read")));
}

#[test]
fn what_is_left_out_of_a_call_leaves_a_call_or_none() {
    let (mut desk, guest, _) = ready();
    for (span, goes) in [((7, 10), true), ((0, 3), false)] {
        let deeds = from_guest(&mut desk, guest, call(1));
        let [Deed::Ask { number, .. }] = deeds.as_slice() else { panic!("{deeds:?}") };
        desk.decided(*number, Verdict::Without(vec![span]), 0);
        let line = lines(&desk.take_deeds());
        assert_eq!(line[0].0.is_none(), goes, "{line:?}");
        if goes {
            assert_eq!(line[0].1["params"]["arguments"], json!({"to": "[redacted]"}));
            let id = line[0].1["id"].as_u64().unwrap();
            from_server(&mut desk, result(id, "x"), 0);
            desk.forget_asked(0);
            desk.take_deeds();
        }
    }
}

#[test]
fn an_answer_counts_once_and_for_what_was_asked() {
    let (mut desk, guest, first) = ready();
    let (_, id) = sent(&mut desk, guest, 1);
    for other in [id + 1, first, 0] {
        assert_eq!(from_server(&mut desk, result(other, "x"), 0), []);
    }
    assert_eq!(from_server(&mut desk, result(id, "one"), 0).len(), 1);
    assert_eq!(from_server(&mut desk, result(id, "two"), 0), []);
    // One that writes on and on what nobody asked for is spoken with no longer.
    let strays =
        (0..2 * MOST_STRAYS).flat_map(|_| from_server(&mut desk, result(id, "two"), 0)).collect::<Vec<_>>();
    assert!(matches!(strays.as_slice(), [Deed::Over(_)]), "{strays:?}");
}

#[test]
fn what_takes_too_long_or_ends_is_told() {
    let (mut desk, guest, _) = ready();
    let (_, id) = sent(&mut desk, guest, 1);
    assert_eq!(desk.due_ms(), Some(CALL_MS));
    desk.tick(CALL_MS);
    let late = lines(&desk.take_deeds());
    assert_eq!(
        (&late[0].1["method"], &late[1].1["result"]["isError"]),
        (&"notifications/cancelled".into(), &true.into())
    );
    assert_eq!(from_server(&mut desk, result(id, "late"), 0), [], "nobody waits for it");
    assert_eq!(desk.strays, 0);
    sent(&mut desk, guest, 2);
    desk.server_is_gone("the server has ended");
    let deeds = desk.take_deeds();
    assert!(lines(&deeds)[0].1.to_string().contains("the server has ended"), "{deeds:?}");
    assert_eq!(deeds.last(), Some(&Deed::Over("the server has ended".into())));
    let after = lines(&from_guest(&mut desk, guest, call(3)));
    assert!(after[0].1.to_string().contains("not called"), "{after:?}");

    let mut desk = Desk::begin(0);
    let guest = desk.welcome("main".into()).unwrap();
    desk.take_deeds();
    assert_eq!(from_guest(&mut desk, guest, call(1)), [], "it waits until the server can be called");
    desk.tick(BEGINNING_MS);
    let deeds = desk.take_deeds();
    assert!(lines(&deeds)[0].1.to_string().contains("did not begin in time"), "{deeds:?}");
}

#[test]
fn who_cancels_or_leaves_takes_along_what_was_asked() {
    let (mut desk, guest, _) = ready();
    let cancel =
        |id: i32| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    from_guest(&mut desk, guest, call(1));
    assert!(matches!(from_guest(&mut desk, guest, cancel(1)).as_slice(), [Deed::GiveUp(1)]));
    let (_, id) = sent(&mut desk, guest, 2);
    let told = lines(&from_guest(&mut desk, guest, cancel(2)));
    assert_eq!(told[0].1["params"]["requestId"], json!(id));
    from_guest(&mut desk, guest, call(3));
    desk.dismiss(guest);
    assert!(matches!(desk.take_deeds().as_slice(), [Deed::GiveUp(_)]));
    assert!(desk.calls.is_empty());
}

#[test]
fn guests_have_ids_of_their_own_and_bounds() {
    let (mut desk, guest, _) = ready();
    let other = desk.welcome("other".into()).unwrap();
    assert!(matches!(from_guest(&mut desk, guest, call(1)).as_slice(), [Deed::Ask { .. }]));
    assert!(
        matches!(from_guest(&mut desk, other, call(1)).as_slice(), [Deed::Ask { app, .. }] if app == "other")
    );
    let again = lines(&from_guest(&mut desk, guest, call(1)));
    assert_eq!(again[0].1["error"]["code"], -32600);
    let refused = (2..100).flat_map(|id| lines(&from_guest(&mut desk, guest, call(id)))).count();
    assert_eq!(refused, 99 - MOST_OF_GUEST);
    let mut long = call(1000);
    long["params"]["arguments"]["to"] = "x".repeat(MAX_TEXT).into();
    assert_eq!(lines(&from_guest(&mut desk, other, long))[0].1["result"]["isError"], true);
    for _ in 2..MOST_GUESTS {
        assert!(desk.welcome("more".into()).is_some());
    }
    assert!(desk.welcome("more".into()).is_none());
}

#[test]
fn of_a_server_nothing_but_its_tools_can_be_had() {
    let (mut desk, guest, _) = ready();
    let ask = |method: &str| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}});
    for method in [
        "resources/list",
        "resources/read",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "tasks/get",
        "server/discover",
        "x",
    ] {
        let answer = lines(&from_guest(&mut desk, guest, ask(method)));
        assert_eq!(answer[0].1["error"]["code"], -32601, "{method}");
    }
    let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-03-26",
        "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    let about = lines(&from_guest(&mut desk, guest, begin));
    let about = &about[0].1["result"];
    assert_eq!(
        (&about["protocolVersion"], &about["capabilities"]),
        (&"2025-03-26".into(), &json!({"tools": {"listChanged": true}}))
    );
    assert!(!about.to_string().contains("obey"), "{about}");
    for method in ["sampling/createMessage", "elicitation/create", "roots/list"] {
        let answer = lines(&from_server(&mut desk, ask(method), 0));
        assert_eq!((answer[0].0, &answer[0].1["error"]["code"]), (None, &json!(-32601)), "{method}");
    }
    for method in ["notifications/message", "notifications/progress", "notifications/resources/updated"] {
        assert_eq!(
            from_server(&mut desk, json!({"jsonrpc": "2.0", "method": method, "params": {"data": "x"}}), 0),
            []
        );
    }
}

#[test]
fn a_list_that_changes_is_asked_for_again() {
    let (mut desk, guest, _) = ready();
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    let asked = lines(&from_server(&mut desk, changed, 0));
    assert_eq!(asked[0].1["method"], "tools/list");
    let page = |id: &Value, name: &str, cursor: Option<&str>| json!({"jsonrpc": "2.0", "id": id, "result": {"tools": [{"name": name, "inputSchema": {}}, {"name": "a b", "inputSchema": {}}], "nextCursor": cursor}});
    let more = lines(&from_server(&mut desk, page(&asked[0].1["id"], "one", Some("next")), 0));
    assert_eq!(more[0].1["params"]["cursor"], "next");
    let told = lines(&from_server(&mut desk, page(&more[0].1["id"], "two", None), 0));
    assert_eq!((told[0].0, &told[0].1["method"]), (Some(guest), &"notifications/tools/list_changed".into()));
    let (_, answer) = listed(&mut desk, guest, |_| Verdict::Pass);
    assert_eq!(names(&answer), ["one", "two"]);
}

/// Asks for the list; the matters that the keeper is asked about, answered each as told, and the answer.
fn listed(desk: &mut Desk, guest: u32, verdict: impl Fn(&str) -> Verdict) -> (Vec<String>, Value) {
    let list = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/list"});
    let (mut deeds, mut asked) = (from_guest(desk, guest, list), Vec::new());
    loop {
        match deeds.as_slice() {
            [Deed::Ask { number, what: Asked::List, text, .. }] => {
                asked.push(text.clone());
                desk.decided(*number, verdict(text), 0);
            }
            [Deed::ToGuest(..)] => return (asked, lines(&deeds)[0].1.clone()),
            other => panic!("{other:?}"),
        }
        deeds = desk.take_deeds();
    }
}

/// One whose server has these tools.
fn with_tools(tools: &[Value]) -> (Desk, u32) {
    let (mut desk, guest, _) = ready();
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    let asked = lines(&from_server(&mut desk, changed, 0));
    from_server(&mut desk, json!({"jsonrpc": "2.0", "id": asked[0].1["id"], "result": {"tools": tools}}), 0);
    (desk, guest)
}

fn names(answer: &Value) -> Vec<&str> {
    answer["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[test]
fn each_tool_of_a_list_is_looked_at_by_itself() {
    let tool = |name: &str, about: &str| json!({"name": name, "description": about, "inputSchema": {"type": "object"}});
    let tools =
        [tool("one", "All is well."), tool("two", "Obey."), tool("six", "k3Yq-Zt91"), tool("ten", "Sends.")];
    let (mut desk, guest) = with_tools(&tools);
    let verdict = |text: &str| match text {
        text if text.contains("Obey") => Verdict::Refused,
        text if text.contains("k3Yq") => Verdict::Without(vec![(4, 13)]),
        _ => Verdict::Pass,
    };
    let (asked, answer) = listed(&mut desk, guest, verdict);
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[1], "two\nObey.\n{\"type\":\"object\"}");
    assert_eq!(names(&answer), ["one", "six", "ten"]);
    assert_eq!(answer["result"]["tools"][1]["description"], "[redacted]");
    // What is not shown is not called; the rest is.
    let call =
        |name: &str| json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": name}});
    assert_eq!(lines(&from_guest(&mut desk, guest, call("two")))[0].1["error"]["code"], -32602);
    assert!(matches!(from_guest(&mut desk, guest, call("six")).as_slice(), [Deed::Ask { .. }]));
    // Somebody is asked about one at a time, whatever there is, and about no more than can be looked at.
    let long = "x".repeat(MAX_TEXT / 2);
    let tools = [tool("one", &long), tool("two", &long), tool("ten", "Sends.")];
    let (mut desk, guest) = with_tools(&tools);
    let (asked, answer) = listed(&mut desk, guest, |_| Verdict::Pass);
    assert_eq!((asked.len(), names(&answer)), (2, vec!["one", "ten"]));
    assert_eq!(lines(&from_guest(&mut desk, guest, call("two")))[0].1["error"]["code"], -32602);
    let (mut desk, guest) = with_tools(&[]);
    assert_eq!(names(&listed(&mut desk, guest, |_| Verdict::Pass).1), [""; 0]);
}

#[test]
fn a_list_that_nobody_could_look_at_is_an_error_and_not_empty() {
    let (mut desk, guest, _) = ready();
    let (_, answer) = listed(&mut desk, guest, |_| Verdict::Failed);
    assert_eq!(answer["error"]["code"], -32603);
    let words = answer["error"]["message"].as_str().unwrap();
    assert!(words.contains("guard does not answer") && words.contains("Try again"), "{words}");
    // Nothing of it lasts.
    assert_eq!(names(&listed(&mut desk, guest, |_| Verdict::Pass).1), ["send"]);
    // A keeper that has died answers nothing either.
    let deeds = from_guest(&mut desk, guest, json!({"jsonrpc": "2.0", "id": 9, "method": "tools/list"}));
    assert!(matches!(deeds.as_slice(), [Deed::Ask { .. }]));
    desk.forget_asked(0);
    assert_eq!(lines(&desk.take_deeds())[0].1["error"]["code"], -32603);
    // Nor one that is asked about too much.
    let mut others = (2..MOST_GUESTS).map(|_| desk.welcome("more".into()).unwrap()).collect::<Vec<_>>();
    let mut id = 0;
    while desk.calls.len() < MOST_ASKED {
        let other = others[id % others.len()];
        from_guest(&mut desk, other, call(id as u64));
        id += 1;
    }
    others.clear();
    let deeds = from_guest(&mut desk, guest, json!({"jsonrpc": "2.0", "id": 9, "method": "tools/list"}));
    assert_eq!(lines(&deeds)[0].1["error"]["code"], -32603, "{deeds:?}");
}

#[test]
fn numbers_arrive_as_they_came() {
    let (mut desk, guest, _) = ready();
    let given = r#"{"id":123456789012345678901234567890,"a":[1.0,1,-0,1e400,0.10,18446744073709551616],"to":"ann","id2":1E+2}"#;
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"send","arguments":{given}}}}}"#
    );
    desk.hear_guest(guest, line.as_bytes());
    let deeds = desk.take_deeds();
    let [Deed::Ask { number, text, .. }] = deeds.as_slice() else { panic!("{deeds:?}") };
    assert_eq!(text, given, "what is judged is what is sent");
    desk.decided(*number, Verdict::Pass, 0);
    let deeds = desk.take_deeds();
    let [Deed::ToServer(sent)] = deeds.as_slice() else { panic!("{deeds:?}") };
    let sent = String::from_utf8(sent.clone()).unwrap();
    assert!(sent.contains(&format!("\"arguments\":{given}")), "{sent}");
    // Nor does a result become another.
    let id = sent.split("\"id\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let result =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"structuredContent":{given}}}}}"#);
    desk.hear_server(result.as_bytes(), 0);
    let deeds = desk.take_deeds();
    assert!(matches!(deeds.as_slice(), [Deed::Ask { text, .. }] if text == given), "{deeds:?}");
    // Of a name that stands twice there is one, for who judges and for the server.
    let twice = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"send","arguments":{"to":"ann","t\u006f":"eve"}}}"#;
    desk.hear_guest(guest, twice.as_bytes());
    assert!(matches!(desk.take_deeds().as_slice(), [Deed::Ask { text, .. }] if text == r#"{"to":"eve"}"#));
    for bad in ["[1]", "7", "\"x\""] {
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{{"name":"send","arguments":{bad}}}}}"#
        );
        desk.hear_guest(guest, line.as_bytes());
        assert_eq!(lines(&desk.take_deeds())[0].1["error"]["code"], -32602, "{bad}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
    /// Whatever either side writes: nothing panics, and nothing goes to the server that was not let through.
    #[test]
    fn whatever_is_written_only_judged_calls_are_made(
        steps in proptest::collection::vec((0u8..5, 0u64..6, "[ -~]{0,20}"), 0..60),
    ) {
        let (mut desk, guest, _) = ready();
        let mut let_through = 0;
        for (kind, id, text) in steps {
            match kind {
                0 => desk.hear_guest(guest, call(id).to_string().as_bytes()),
                1 => desk.hear_guest(guest, text.as_bytes()),
                2 => desk.hear_server(result(id, &text).to_string().as_bytes(), 0),
                3 => desk.hear_server(text.as_bytes(), 0),
                _ => {
                    let judging = |call: &Call| matches!(call.stage, Stage::Judging { .. });
                    let number = id as u32 + 1;
                    let_through += u32::from(desk.calls.get(&number).is_some_and(judging));
                    desk.decided(number, Verdict::Pass, 0);
                }
            }
            for (to, line) in lines(&desk.take_deeds()) {
                if to.is_none() && line["method"] == "tools/call" {
                    proptest::prop_assert!(let_through > 0);
                    let_through -= 1;
                }
            }
        }
    }
}

#[test]
fn a_tool_whose_name_is_left_out_of_the_list_cannot_be_called() {
    let (mut desk, guest, _) = ready();
    let list = |id: i32| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"});
    let deeds = from_guest(&mut desk, guest, list(1));
    let [Deed::Ask { number, what: Asked::List, text, .. }] = deeds.as_slice() else { panic!("{deeds:?}") };
    assert_eq!(text, "send\nSends.\n{\"type\":\"object\"}");
    desk.decided(*number, Verdict::Without(vec![(2, 4)]), 0);
    assert_eq!(lines(&desk.take_deeds())[0].1["result"]["tools"], json!([]));
    let answer = lines(&from_guest(&mut desk, guest, call(2)));
    assert!(answer[0].1["error"]["message"].as_str().unwrap().contains("no tool of this name"), "{answer:?}");
    // What is left out of what it says of itself leaves it.
    let (mut desk, guest, _) = ready();
    let deeds = from_guest(&mut desk, guest, list(1));
    let [Deed::Ask { number, .. }] = deeds.as_slice() else { panic!("{deeds:?}") };
    desk.decided(*number, Verdict::Without(vec![(5, 10), (23, 30)]), 0);
    let shown = lines(&desk.take_deeds())[0].1["result"]["tools"][0].clone();
    assert_eq!(shown["description"], "[redacted].");
    assert_eq!(shown["inputSchema"], json!({"type": "ob[redacted]"}));
    sent(&mut desk, guest, 2);
}
