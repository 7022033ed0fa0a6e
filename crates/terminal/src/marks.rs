//! What a shell says of its commands (OSC 133, "semantic prompt", as FinalTerm introduced it).

use std::ops::Range;

/// Where in the output something begins or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What.
    pub kind: MarkKind,
    /// Bytes fed before the sequence that says so, and with it.
    pub start: u64,
    /// Bytes fed with the sequence.
    pub end: u64,
    /// Which shell says it (`aid=`), as a number that stands for the name it gives itself.
    pub shell: Option<u64>,
}

/// What a [`Mark`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// The prompt begins (A, N, P).
    Prompt,
    /// What the user types begins (B).
    Input,
    /// The command's output begins (C).
    Output,
    /// The command has ended (D), with this status where the shell gives one.
    Done(Option<i32>),
    /// The same from a prompt's own text (`late`), in case nothing else said it: that no command ran means nothing.
    DoneLate(Option<i32>),
}

/// Most marks kept for who takes them.
const MAX_MARKS: usize = 256;

#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Vec<Mark>);

impl Marks {
    /// From the parameters of OSC 133.
    pub(crate) fn note(&mut self, parameters: &[&[u8]], at: Range<u64>) {
        let kind = match parameters.first().and_then(|parameter| parameter.first()) {
            Some(b'A' | b'N' | b'P') => MarkKind::Prompt,
            Some(b'B' | b'I') => MarkKind::Input,
            Some(b'C') => MarkKind::Output,
            Some(b'D') => {
                let status =
                    parameters.get(1).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
                let late = parameters.iter().any(|parameter| *parameter == b"late");
                if late { MarkKind::DoneLate(status) } else { MarkKind::Done(status) }
            }
            Some(_) | None => return,
        };
        if self.0.len() == MAX_MARKS {
            self.0.remove(0);
        }
        let shell = parameters.iter().find_map(|parameter| parameter.strip_prefix(b"aid=")).map(number);
        self.0.push(Mark { kind, start: at.start, end: at.end, shell });
    }

    pub(crate) fn take(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.0)
    }
}

/// What stands for a name: two names are hardly ever one number (FNV-1a).
fn number(name: &[u8]) -> u64 {
    name.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
