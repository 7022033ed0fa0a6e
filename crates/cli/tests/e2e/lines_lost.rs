//! Lines that could get lost on their way between a session and who says or hears them, and do not.

use std::io::Read as _;
use std::process::Stdio;

use crate::lines::{opened, protocol, recv, rest, send};
use crate::support::processes;
use crate::support::{TALK, World};

/// Has a shell run the command, with its descriptors as the shell puts it.
fn shell(world: &World, arguments: &[&str], redirection: &str) -> crate::support::Finished {
    let script = format!("exec \"$@\" {redirection}");
    let command = world.command_behind(&["sh", "-c", &script, "sh"], arguments);
    crate::support::Running::start(command).finish()
}

for_root_and_user! {
    /// Where standard output is closed, or takes nothing, the line stays.
    fn a_line_that_cannot_be_written_stays(world) {
        let file = protocol(world, TALK);
        opened(world, "talk", &format!("{file}#Talk"), &[]);
        world.must(&send("talk", "User", &["Agent", "ask", "precious"]));
        let listens = recv("talk", "Agent", &["--timeout", "30s"]);
        let with_json = recv("talk", "Agent", &["--timeout", "30s", "--json"]);
        for redirection in [">&-", "1< /dev/null", "<> /dev/null >&0"] {
            for arguments in [&listens, &with_json] {
                shell(world, arguments, redirection).refused_with(64, &["standard output is closed"]);
            }
        }
        shell(world, &listens, "> /dev/full").refused_with(71, &["cannot write the output"]);
        assert_eq!(world.must(&listens), "precious");
        // What is not there is no empty line.
        let says = send("talk", "Agent", &["User", "answer", "-"]);
        shell(world, &says, "<&-").refused_with(64, &["standard input is closed"]);
        shell(world, &says, "< /dev/null").succeeded();
        shell(world, &recv("talk", "User", &["--timeout", "30s"]), "> /dev/null").succeeded();
        world.must(&send("talk", "User", &["Agent", "ask", "next"]));
    }

    /// Whoever is slow to write a line has it for a while; then it is the next one's, and both know.
    fn of_two_who_listen_one_has_the_line(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &[]);
        let payload = "x".repeat(64 << 10);
        // A pipe holds less than the line in JSON, so that it is not written whole before its reader goes on.
        let stuck = || {
            world.must(&send("talk", "User", &["Agent", "ask", &payload]));
            let mut stuck = world.start(&recv("talk", "Agent", &["--json"]), Stdio::null());
            let mut output = stuck.take_output();
            output.read_exact(&mut [0]).unwrap();
            (stuck, output)
        };
        let (slow, mut output) = stuck();
        assert_eq!(world.must(&recv("talk", "Agent", &[])), payload);
        output.read_to_end(&mut Vec::new()).unwrap();
        slow.finish().refused_with(73, &["another who listens as Agent has this line"]);
        // Nobody else has heard it, and the keeper that knew who had is dead: it is taken all the same.
        world.must(&send("talk", "Agent", &["User", "answer", "1"]));
        world.must(&recv("talk", "User", &[]));
        let (slow, mut output) = stuck();
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        output.read_to_end(&mut Vec::new()).unwrap();
        slow.finish().succeeded();
        world.must(&send("talk", "Agent", &["User", "answer", "2"]));
        // By REST: what was not heard is not taken.
        let take = serde_json::json!({"role": "User", "from": "Agent", "sequence": 1});
        let (status, answer) = rest(world, "POST /v1/sessions/talk/take", &take);
        assert_eq!(status, 409, "{answer}");
        assert_eq!(world.must(&recv("talk", "User", &[])), "2");
    }
}
