//! Instructions that a text tries to give to a model.
//!
//! Two judges look at each window of sentences: phrases that are listed by hand for what an attack
//! says in a dozen languages (`phrases`), and a linear model over words and pairs of words
//! (`model`, its weights in `weights.tsv`). The surer one counts. Neither is what holds: a text
//! that persuades in plain words is told apart by where it came from.

mod model;
mod phrases;
mod words;

use std::borrow::Cow;

use super::Local;
use crate::finding::Category;

pub use model::{Model, Window, windows};
pub use words::{Sentence, Term, pair, read, spelled, term};

/// Most findings of one text.
const MOST_FINDINGS: usize = 16;

/// Every window of sentences that tries to instruct.
pub fn scan(text: &str, found: &mut Vec<Local>) {
    let model = Model::shipped();
    let (sentences, mut windows) = model.judge(text);
    windows.retain(|window| window.score >= model.threshold());
    // The surest first; what overlaps it says no more.
    windows.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.from.cmp(&b.from)));
    let mut taken: Vec<Window> = Vec::new();
    for window in windows {
        if taken.len() < MOST_FINDINGS
            && !taken.iter().any(|other| other.from < window.to && window.from < other.to)
        {
            let over = window.score - model.threshold();
            found.push(Local {
                kind: "instruction",
                category: Category::Injection,
                span: sentences[window.from].span.start..sentences[window.to - 1].span.end,
                confidence: 0.5 + 0.5 * (1.0 - (-over).exp()),
                why: Cow::Borrowed("its words are those of texts that instruct a model"),
                taint: None,
            });
            taken.push(window);
        }
    }
    phrases::scan(text, found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_and_programs_say_of_passwords_instructs_nobody() {
        for text in [
            "password: <your password here>",
            "password=password",
            "password = os.environ[\"DB_PASSWORD\"]",
            "if not password: raise ValueError(\"password required\")",
            "Password reset instructions were sent.",
            "Write a function that sorts a list",
            "password",
            "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        ] {
            let mut found = Vec::new();
            scan(text, &mut found);
            assert!(found.is_empty(), "{text}: {}", found[0].confidence);
        }
    }
}
