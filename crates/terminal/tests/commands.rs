//! What shells say of their commands, as they say it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use proptest::collection::vec;
use proptest::prelude::*;
use sessile_model::api::{ShellCommand, ShellState};
use sessile_model::spec::WindowSize;
use sessile_terminal::{Commands, Terminal};

/// What was written, and what is known of it.
struct Said {
    text: String,
    commands: Commands,
}

/// `<D;0;aid=5>` in a text stands for that mark.
fn said(text: &str) -> Said {
    let text = text.replace('<', "\u{1b}]133;").replace('>', "\u{7}");
    let mut commands = Commands::default();
    let mut terminal = Terminal::new(WindowSize::default(), 10);
    for byte in text.as_bytes() {
        terminal.feed(&[*byte]);
        for mark in terminal.take_marks() {
            assert!(commands.note(&mark));
            assert!(!commands.note(&mark), "a mark is taken twice");
        }
    }
    Said { text, commands }
}

impl Said {
    fn output(&self, command: &ShellCommand) -> &str {
        let at = |offset: u64| usize::try_from(offset).unwrap();
        &self.text[at(command.output_from)..at(command.output_to.unwrap())]
    }

    /// Number, output and status of what has ended.
    fn finished(&self) -> Vec<(u64, &str, Option<i32>)> {
        let known = self.commands.describe().finished;
        let numbers: Vec<u64> = known.iter().map(|command| command.number).collect();
        known
            .iter()
            .zip(numbers)
            .map(|(command, number)| {
                let kept = self.commands.finished(number).unwrap();
                assert_eq!(kept, *command);
                let from = usize::try_from(command.output_from).unwrap();
                let to = usize::try_from(command.output_to.unwrap()).unwrap();
                (number, &self.text[from..to], command.exit)
            })
            .collect()
    }

    fn state(&self) -> ShellState {
        self.commands.describe().shell
    }
}

#[test]
fn output_and_status_of_each_command() {
    let said = said(
        "<D;0;aid=5><P;aid=5>$ ls\r\n<C;aid=5>a\r\nb<D;0;aid=5><P;aid=5>$ x\r\n<C;aid=5>no<D;127;aid=5>",
    );
    assert_eq!(said.finished(), [(1, "a\r\nb", Some(0)), (2, "no", Some(127))]);
    assert_eq!(said.state(), ShellState::Between);
    let first = said.commands.finished(1).unwrap();
    assert_eq!(said.output(&first), "a\r\nb");
    assert!(
        said.text[usize::try_from(first.start).unwrap()..].starts_with("\u{1b}]133;P"),
        "begins at its prompt"
    );
    assert_eq!((said.commands.current().command, said.commands.blanks()), (3, 0));
}

#[test]
fn what_runs_is_told_apart_from_what_comes() {
    assert!(!said("text").commands.is_known());
    let prompt = said("<P>$ ");
    assert_eq!((prompt.state(), prompt.commands.current().command), (ShellState::Prompt, 1));
    assert!(prompt.commands.is_to_come(1) && !prompt.commands.runs(1));
    let running = said("<P>$ <C>out");
    assert_eq!((running.state(), running.commands.current().command), (ShellState::Running, 1));
    assert!(running.commands.runs(1) && !running.commands.is_to_come(1));
    assert_eq!(running.commands.describe().running.len(), 1);
}

#[test]
fn a_prompts_own_text_ends_what_nothing_else_does() {
    let late = "<D;0;aid=5;late>$ ";
    let told = format!("<D;0;aid=5><P;aid=5>{late}");
    let kept = said(&format!("{told}ls\r\n<C;aid=5>a<D;1;aid=5><P;aid=5>{late}<D;9;aid=5;late>"));
    assert_eq!(
        (kept.finished(), kept.commands.blanks()),
        (vec![(1, "a", Some(1))], 0),
        "a redrawn prompt is nothing"
    );
    assert_eq!(kept.state(), ShellState::Prompt);
    let lost = said(&format!(
        "{told}x\r\n<C;aid=5>a<D;2;aid=5;late>$ y\r\n<C;aid=5>b<D;3;aid=9;late>c<D;4;aid=5;late>"
    ));
    assert_eq!(
        lost.finished(),
        [
            (1, "a", Some(2)),
            (2, "b<D;3;aid=9;late>c".replace('<', "\u{1b}]133;").replace('>', "\u{7}").as_str(), Some(4))
        ]
    );
    assert_eq!((lost.state(), lost.commands.blanks()), (ShellState::Prompt, 0));
}

#[test]
fn a_line_that_ran_nothing_is_no_command() {
    // The first prompt of a shell, an empty line, a line that makes no sense, a redrawn prompt.
    let said =
        said("<D;0;aid=5><P;aid=5>$ \r\n<D;0;aid=5><P;aid=5>$ if;\r\nerror<D;2;aid=5><P;aid=5>$ <P;aid=5>$ ");
    assert_eq!(said.finished(), []);
    assert_eq!(said.commands.blanks(), 2);
    assert_eq!(said.state(), ShellState::Prompt);
}

#[test]
fn a_shell_inside_a_shell() {
    let outer = "<P;aid=5>$ bash\r\n<C;aid=5>";
    let inner = "<D;0;aid=9><P;aid=9>> ls\r\n<C;aid=9>in<D;1;aid=9><P;aid=9>> ";
    let at_prompt = said(&format!("{outer}{inner}"));
    assert_eq!(at_prompt.finished(), [(2, "in", Some(1))]);
    assert_eq!(at_prompt.commands.current().command, 3, "the shell inside is at its prompt");
    assert!(at_prompt.commands.runs(1));
    // `exit 3` inside: the outer shell's word closes both.
    let ended = said(&format!("{outer}{inner}exit 3\r\n<C;aid=9>exit\r\n<D;3;aid=5><P;aid=5>$ "));
    let finished = ended.finished();
    assert_eq!(finished[1], (3, "exit\r\n", Some(3)));
    assert_eq!((finished[2].0, finished[2].2), (1, Some(3)));
    assert_eq!(ended.state(), ShellState::Prompt);
    assert_eq!(ended.commands.blanks(), 0);
}

#[test]
fn a_prompt_with_marks_of_its_own() {
    // The user's own marks carry no name: before ours, after ours, and alone.
    for (begin, end) in
        [("<C><C;aid=5>", "<D;4><D;4;aid=5>"), ("<C;aid=5><C>", "<D;4;aid=5><D;4>"), ("<C>", "<D;4>")]
    {
        for prompt in ["<P;aid=5><A>$ <B>", "<A>$ <B>"] {
            if begin == "<C>" && prompt != "<A>$ <B>" {
                continue;
            }
            let said = said(&format!("{prompt}ls\r\n{begin}out{end}{prompt}ls\r\n{begin}more{end}{prompt}"));
            assert_eq!(
                said.finished(),
                [(1, "out", Some(4)), (2, "more", Some(4))],
                "{prompt} {begin} {end}"
            );
            assert_eq!(said.commands.blanks(), 0, "{prompt} {begin} {end}");
        }
    }
}

#[test]
fn a_shell_that_never_says_done() {
    let said = said("<A>$ <B>ls\r\n<C>out<A>$ ");
    assert_eq!(said.finished(), [(1, "out", None)]);
}

#[test]
fn the_shells_end_is_its_commands_end() {
    let mut said = said("<P;aid=5>$ exit 7\r\n<C;aid=5>bye");
    let end = u64::try_from(said.text.len()).unwrap();
    assert!(said.commands.end(end, Some(7)));
    assert!(!said.commands.end(end, Some(7)));
    assert_eq!(said.finished(), [(1, "bye", Some(7))]);
}

#[test]
fn a_command_cannot_hide_what_it_wrote_by_beginning_again() {
    let said = said("<P;aid=5>$ evil\r\n<C;aid=5>secret<C;aid=5><C>rest<D;0;aid=5>");
    let (_, output, exit) = said.finished()[0];
    assert!(output.starts_with("secret") && output.ends_with("rest"), "{output:?}");
    assert_eq!(exit, Some(0));
}

proptest! {
    /// Whatever the marks are, what is kept is bounded and ordered.
    #[test]
    fn bounded(marks in vec(("[ABCDPN]", 0..4u8, 0..300i32), 0..400)) {
        let text: String = marks
            .iter()
            .map(|(kind, shell, status)| match shell {
                0 => format!("x<{kind};{status}>"),
                _ => format!("x<{kind};{status};aid={shell}>"),
            })
            .collect();
        let said = said(&text);
        let known = said.commands.describe();
        prop_assert!(known.finished.len() <= 32 && known.running.len() <= 16);
        for command in &known.finished {
            prop_assert!(command.start <= command.output_from);
            prop_assert!(Some(command.output_from) <= command.output_to);
            prop_assert!(command.number < known.next);
        }
        for command in &known.running {
            prop_assert!(command.output_to.is_none() && command.number < known.next);
        }
        let json = serde_json::to_string(&said.commands).unwrap();
        prop_assert_eq!(serde_json::from_str::<Commands>(&json).unwrap(), said.commands);
    }
}
