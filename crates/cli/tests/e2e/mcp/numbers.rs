//! Numbers of any length, as they arrive at a server.

use super::opened_with;

/// Returns the line that it was called by.
const ECHO: &str = "read, last = json.loads, ''
def loads(line):
    global last
    last = line
    return read(line, parse_float=str)
json.loads = loads
def called(id, arguments):
    result(id, last)
serve(called)
";

/// Says one line to a server after the other, and prints what it answers.
const CLIENT: &str = r#"coproc sessile mcp odd
while IFS= read -r line; do
    printf '%s\n' "$line" >&"${COPROC[1]}"
    IFS= read -r answer <&"${COPROC[0]}" && printf '%s\n' "$answer"
done
"#;

for_root_and_user! {
    fn numbers_arrive_digit_by_digit(world) {
        opened_with(world, "readOnlyHint = true", &[], ECHO);
        let given = r#"{"id":123456789012345678901234567890,"a":[1.0,1,-0,1e400,0.10,1E+2,18446744073709551616],"b":-9223372036854775809}"#;
        let call = |id: u32, given: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"act","arguments":{given}}}}}"#)
        };
        let lines = [call(1, given), call(2, "{\"n\" : 12345678901234567890123 , \"n\":1.50}")].join("\n") + "\n";
        let told = world.sessile_with_input(&["exec", "desk", "--", "bash", "-c", CLIENT], lines.as_bytes()).succeeded();
        let arrived: Vec<String> = told
            .lines()
            .map(|line| {
                let answer: serde_json::Value = serde_json::from_str(line).unwrap();
                answer["result"]["content"][0]["text"].as_str().unwrap_or(line).to_owned()
            })
            .collect();
        assert_eq!(arrived.len(), 2, "{told}");
        assert!(arrived[0].contains(&format!("\"arguments\":{given}")), "{arrived:?}");
        assert!(arrived[1].contains("\"arguments\":{\"n\":1.50}"), "{arrived:?}");
    }
}
