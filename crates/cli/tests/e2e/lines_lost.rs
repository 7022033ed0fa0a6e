//! Lines that could get lost on their way between a session and who says or hears them, and do not.

use crate::lines::{opened, protocol, recv, send};
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
}
