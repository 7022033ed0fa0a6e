//! What an MCP server and those who call its tools write to a relay.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::plant;
use sessile_guardhouse::fuzz::{Asked, Deed, Desk, Verdict};

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    let mut desk = Desk::begin(0);
    let guest = desk.welcome("main".into()).unwrap_or_default();
    // What was asked about, and how many calls were let through that were not made yet.
    let (mut asked, mut let_through) = (BTreeMap::new(), 0u32);
    // The first byte of a line says whose it is.
    for line in data.split(|byte| *byte == b'\n') {
        let Some((&who, line)) = line.split_first() else { continue };
        match who {
            b's' => desk.hear_server(line, 0),
            b'g' => desk.hear_guest(guest, line),
            b'p' | b'w' | b'r' => {
                let Some((number, is_call)) = asked.pop_first() else { continue };
                let verdict = match who {
                    b'p' => Verdict::Pass,
                    b'w' => Verdict::Without(vec![(line.len() / 2, line.len())]),
                    _ => Verdict::Refused,
                };
                let_through += u32::from(is_call && verdict != Verdict::Refused);
                desk.decided(number, verdict, 0);
            }
            b'a' => {
                desk.forget_asked(0);
                asked.clear();
            }
            _ => desk.tick(u64::from(who) * 10_000),
        }
        for deed in desk.take_deeds() {
            match deed {
                Deed::Ask { number, what, .. } => {
                    asked.insert(number, matches!(what, Asked::Call { .. }));
                }
                Deed::GiveUp(number) => drop(asked.remove(&number)),
                Deed::ToServer(line) => {
                    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line is one message");
                    let told: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
                    if told["method"] == "tools/call" {
                        let_through = let_through.checked_sub(1).expect("only what was let through is made");
                    }
                }
                Deed::ToGuest(to, line) => {
                    assert_eq!(to, guest);
                    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line is one message");
                    serde_json::from_slice::<serde_json::Value>(&line).expect("JSON");
                }
                Deed::Unread(_) | Deed::Over(_) => {}
            }
        }
    }
});

fn seeds() -> Vec<Vec<u8>> {
    let about = r#"s{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}"#;
    let tools =
        r#"s{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"act","inputSchema":{"type":"object"}}]}}"#;
    let call =
        r#"g{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act","arguments":{"a":"b"}}}"#;
    let result = r#"s{"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"done"}]}}"#;
    let list = r#"g{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
    let cancel = r#"g{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let begun = [about, tools].join("\n");
    [
        format!("{begun}\n{call}\np\n{result}\np\n"),
        format!("{begun}\n{call}\nw1234\n{list}\np\n"),
        format!("{begun}\n{call}\n{cancel}\n{call}\nr\na\n"),
    ]
    .map(String::into_bytes)
    .to_vec()
}
