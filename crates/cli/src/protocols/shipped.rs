//! Protocols that come with the program: named `@NAME` where a file is.

use sessile_model::problem::ProblemKind;

use crate::failure::Failure;

/// One that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name, behind the `@`.
    pub name: &'static str,
    /// The file that stands for it.
    pub file: &'static str,
    /// What stands in there.
    pub text: &'static str,
    /// What it is for, in a sentence.
    pub about: &'static str,
}

/// All of them.
pub const ALL: [Shipped; 3] = [
    Shipped {
        name: "conversation",
        file: "conversation.scr",
        text: include_str!("../../protocols/conversation.scr"),
        about: "a person prompts, an agent answers in parts and says when it is done",
    },
    Shipped {
        name: "tool-approval",
        file: "tool_approval.scr",
        text: include_str!("../../protocols/tool_approval.scr"),
        about: "an agent looks with tools as it likes; what changes something, a human passes on",
    },
    Shipped {
        name: "review",
        file: "review.scr",
        text: include_str!("../../protocols/review.scr"),
        about: "a change goes between coder and reviewer, and is applied once a second person approves",
    },
];

/// The one that this text names; `None` where it names a file.
///
/// # Errors
/// When it begins as a name does and there is none of it.
pub fn named(text: &str) -> Result<Option<&'static Shipped>, Failure> {
    let Some(name) = text.strip_prefix('@') else { return Ok(None) };
    let found = ALL.iter().find(|shipped| shipped.name == name);
    found.map(Some).ok_or_else(|| {
        Failure::new(ProblemKind::NotFound, format!("no protocol @{name} comes with sessile"))
            .hint("`sessile protocol list` shows those that do; a file of that name is ./@…")
    })
}

#[cfg(test)]
mod tests {
    use sessile_protocol::held::planned;
    use sessile_protocol::{Discipline, Limits, NoImports, Source, check};

    use super::*;

    #[test]
    fn each_is_proved_safe_and_its_page_shows_it_as_it_is() {
        for Shipped { name, file, text, .. } in ALL {
            let source = Source { name: file, text };
            let found = check(&source, &mut NoImports, None, Discipline::Complete, Limits::default());
            let (protocol, report) = found.unwrap_or_else(|all| panic!("{name}: {}", all[0]));
            assert!(report.waiting.is_empty(), "{name}: a role may be left waiting");
            let speakers: Vec<String> = protocol.roles.iter().map(|role| format!("app:{role}")).collect();
            let roles = protocol.roles.iter().map(|role| &**role).zip(speakers.iter().map(|s| &**s));
            planned(&[(file, text)], None, roles).unwrap();
            let page = format!("{}/../../docs/protocols/{name}.md", env!("CARGO_MANIFEST_DIR"));
            let page = std::fs::read_to_string(&page).unwrap();
            assert!(page.contains(text), "docs/protocols/{name}.md does not show {file}");
        }
    }

    #[test]
    fn names_are_told_from_files() {
        assert_eq!(named("@review").unwrap().unwrap().file, "review.scr");
        assert!(named("review.scr").unwrap().is_none());
        assert!(named("@nothing").is_err());
    }
}
