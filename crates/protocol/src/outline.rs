//! A protocol as its file puts it, for people to look at.

use std::time::Duration;

use crate::check::{choose, read};
use crate::diagnostic::{Act, Diagnostic};
use crate::inline::{Types, inline};
use crate::limits::{Budget, Limits};
use crate::machine::Role;
use crate::modules::{Loader, Program, Source};
use crate::session::{Global, Interaction, Meeting, Node, Whole, continues};

/// A protocol as its file puts it, with every `do` replaced by what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The full name of its module.
    pub module: String,
    /// Its name there.
    pub protocol: String,
    /// In the order of the declaration. [`Role`] counts in here.
    pub roles: Vec<Box<str>>,
    /// What all roles do together.
    pub body: Vec<Stage>,
}

/// A part of an [`Outline`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Two roles meet.
    Meeting {
        /// What the first does: [`Act::Send`], [`Act::Connect`] or [`Act::Disconnect`].
        act: Act,
        /// Who begins.
        from: Role,
        /// With whom.
        to: Role,
        /// The message as the file writes it; empty for an [`Act::Disconnect`].
        message: Box<str>,
        /// How long the first may take.
        within: Option<Duration>,
        /// It begins a branch for when the time is over.
        late: bool,
    },
    /// One of several branches is taken.
    Choice {
        /// Who chooses.
        at: Role,
        /// Each does something.
        branches: Vec<Vec<Stage>>,
    },
    /// May be done again.
    Round {
        /// From 1, each once.
        number: u32,
        /// What is done.
        body: Vec<Stage>,
    },
    /// Goes back to the beginning of a [`Stage::Round`] that is around it.
    Again {
        /// Of the round.
        number: u32,
    },
}

/// What a protocol of a file says, whether or not it is accepted; without a name, the only one that is
/// not `aux`.
///
/// # Errors
/// When the files cannot be read, or have no such protocol.
pub fn outline(
    source: &Source<'_>,
    loader: &mut dyn Loader,
    protocol: Option<&str>,
    limits: Limits,
) -> Result<Outline, Vec<Diagnostic>> {
    let mut budget = Budget::new(limits);
    let mut program = read(source, loader, &mut budget)?;
    let whole = choose(&program, protocol)
        .and_then(|chosen| inline(&mut program, chosen, Types::Canonical, &mut budget))
        .map_err(|problem| vec![program.files.diagnostic(problem)])?;
    let text = |symbol| program.symbols.text(symbol);
    let mut rounds = Vec::new();
    Ok(Outline {
        module: text(program.modules[0].name.symbol).to_owned(),
        protocol: crate::modules::simple(text(whole.name)).to_owned(),
        roles: whole.roles.iter().map(|role| text(*role).into()).collect(),
        body: stages(&program, &whole, &whole.body, &mut rounds),
    })
}

/// `rounds` are the variables that were met, in that order.
fn stages(program: &Program, whole: &Whole, body: &Global, rounds: &mut Vec<u32>) -> Vec<Stage> {
    let mut all = Vec::with_capacity(body.len());
    for node in body {
        all.push(match node {
            Node::Act(meeting) => met(program, whole, meeting),
            Node::Choice { subject, branches, .. } => Stage::Choice {
                at: Role(*subject),
                branches: branches.iter().map(|branch| stages(program, whole, branch, rounds)).collect(),
            },
            Node::Recursion { variable, body } if !continues(body, *variable) => {
                all.extend(stages(program, whole, body, rounds));
                continue;
            }
            Node::Recursion { variable, body } => {
                rounds.push(*variable);
                let number = rounds.len() as u32;
                Stage::Round { number, body: stages(program, whole, body, rounds) }
            }
            Node::Continue { variable, .. } => {
                let at = rounds.iter().position(|known| known == variable);
                Stage::Again { number: at.map_or(0, |at| at as u32 + 1) }
            }
        });
    }
    all
}

fn met(program: &Program, whole: &Whole, meeting: &Interaction) -> Stage {
    let shown = || whole.messages.shown(meeting.message, &program.symbols).into();
    let (act, message) = match meeting.meeting {
        Meeting::Message => (Act::Send, shown()),
        Meeting::Connect => (Act::Connect, shown()),
        Meeting::Disconnect => (Act::Disconnect, Box::default()),
    };
    Stage::Meeting {
        act,
        from: Role(meeting.from),
        to: Role(meeting.to),
        message,
        within: meeting.within,
        late: meeting.late,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::NoImports;

    #[test]
    fn rounds_are_counted_and_what_is_done_is_taken_in() {
        let text = "module p; global protocol P(role A, role B) {
            rec X { choice at A { do Q(A, B); continue X; } or { end() from A to B; } }
        }
        aux global protocol Q(role C, role D) {
            rec Y { choice at C { q() from C to D; continue Y; } or { r() from D to C; } }
        }";
        let source = Source { name: "p.scr", text };
        let found = outline(&source, &mut NoImports, Some("P"), Limits::default()).unwrap();
        assert_eq!((found.module.as_str(), found.protocol.as_str()), ("p", "P"));
        let said = |from, to, message: &str| Stage::Meeting {
            act: Act::Send,
            from: Role(from),
            to: Role(to),
            message: message.into(),
            within: None,
            late: false,
        };
        let inner = Stage::Choice {
            at: Role(0),
            branches: vec![vec![said(0, 1, "q()"), Stage::Again { number: 2 }], vec![said(1, 0, "r()")]],
        };
        let taken_in = vec![Stage::Round { number: 2, body: vec![inner] }, Stage::Again { number: 1 }];
        let outer = Stage::Choice { at: Role(0), branches: vec![taken_in, vec![said(0, 1, "end()")]] };
        assert_eq!(found.body, [Stage::Round { number: 1, body: vec![outer] }]);
    }

    #[test]
    fn what_is_passed_stands_where_it_is_said() {
        let text = "module p; type <rust> \"i64\" from \"std\" as Int; sig <rust> \"S\" from \"std\" as Sig;
        global protocol P(role A, role B) { do Sub<Int, Sig>(A, B); }
        aux global protocol Sub<type T, sig S>(role C, role D) { a(T) from C to D; S from D to C; }";
        let source = Source { name: "p.scr", text };
        let found = outline(&source, &mut NoImports, Some("P"), Limits::default()).unwrap();
        let said = found.body.iter().map(|stage| match stage {
            Stage::Meeting { message, .. } => &**message,
            Stage::Choice { .. } | Stage::Round { .. } | Stage::Again { .. } => panic!("{stage:?}"),
        });
        assert_eq!(said.collect::<Vec<_>>(), ["a(Int)", "Sig"]);
    }

    /// Some editors begin a file with a byte order mark, which says nothing in UTF-8.
    #[test]
    fn a_byte_order_mark_is_skipped() {
        let text = "\u{feff}module p; global protocol P(role A, role B) { m() from A to B; }";
        let source = Source { name: "p.scr", text };
        outline(&source, &mut NoImports, None, Limits::default()).unwrap();
    }

    #[test]
    fn what_is_wrong_with_the_names_is_said() {
        let source = Source {
            name: "p.scr",
            text: "module p; global protocol P(role A, role B) { m() from A to B; }",
        };
        let problems = outline(&source, &mut NoImports, Some("Q"), Limits::default()).unwrap_err();
        assert_eq!(problems[0].message, "no protocol Q: there are P");
    }
}
