//! The keys of a trace: those that are read, and those that somebody may have meant to be.
//!
//! Of what is not read nothing is judged, so a key that looks like another one is an error.

/// Something of a trace that has keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A task.
    Task,
    /// A call of one.
    Call,
}

/// Keys of a task that name it.
const TITLE: [&str; 3] = ["suite", "task", "kind"];

impl Part {
    /// What it is called, and the keys that it has.
    pub const fn form(self) -> (&'static str, &'static str) {
        match self {
            Self::Task => (
                "task",
                "a task has `prompt`, `calls` and `results`, and may have `suite`, `task` and `kind`",
            ),
            Self::Call => {
                ("call", "a call has `fn` and `args`; what it returned stands in the task's `results`")
            }
        }
    }

    /// Keys that are read, each with other words for it.
    const fn read(self) -> &'static [(&'static str, &'static [&'static str])] {
        const RESULTS: &[&str] = &[
            "output",
            "outputs",
            "response",
            "responses",
            "observation",
            "observations",
            "returned",
            "returns",
            "toolresult",
            "toolresults",
            "toolresponses",
            "tooloutput",
            "tooloutputs",
            "answer",
            "answers",
        ];
        match self {
            Self::Task => &[
                (
                    "prompt",
                    &[
                        "user",
                        "userprompt",
                        "usertask",
                        "userinput",
                        "instruction",
                        "instructions",
                        "query",
                        "question",
                        "request",
                        "input",
                        "goal",
                        "message",
                    ],
                ),
                (
                    "calls",
                    &[
                        "toolcalls",
                        "toolcall",
                        "functioncalls",
                        "functioncall",
                        "function",
                        "functions",
                        "tool",
                        "tools",
                        "actions",
                        "steps",
                        "fn",
                        "args",
                        "arguments",
                    ],
                ),
                ("results", RESULTS),
            ],
            Self::Call => &[
                (
                    "fn",
                    &[
                        "function",
                        "functionname",
                        "func",
                        "name",
                        "tool",
                        "toolname",
                        "method",
                        "action",
                        "call",
                    ],
                ),
                (
                    "args",
                    &[
                        "arguments",
                        "argument",
                        "input",
                        "inputs",
                        "parameters",
                        "parameter",
                        "params",
                        "param",
                        "toolinput",
                        "kwargs",
                        "given",
                    ],
                ),
                ("results", RESULTS),
            ],
        }
    }

    /// Whether the key is read.
    pub fn has(self, key: &str) -> bool {
        match self {
            Self::Task => TITLE.contains(&key) || ["prompt", "calls", "results"].contains(&key),
            Self::Call => ["fn", "args"].contains(&key),
        }
    }

    /// The key that may be meant by one that is not read.
    pub fn meant(self, key: &str) -> Option<&'static str> {
        let is_letter = |c: &char| !matches!(c, '_' | '-' | ' ' | '.');
        let plain: String = key.chars().filter(is_letter).flat_map(char::to_lowercase).collect();
        let alike = |known: &str| distance(known, &plain) <= known.len() / 3;
        let read = self.read().iter();
        let named = |(known, others): &&(&str, &[&str])| alike(known) || others.contains(&plain.as_str());
        read.clone()
            .find(|(known, _)| *known == plain)
            .or_else(|| read.clone().find(named))
            .map(|(known, _)| *known)
    }
}

/// How many letters are added, left out, put for others, or changed places with the next (optimal string
/// alignment).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (i, letter) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, theirs) in other.iter().enumerate() {
            let put = rows[i][j] + usize::from(letter != theirs);
            let mut least = put.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == other[j - 1] && one[i - 1] == *theirs {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant() {
        for (part, meant, keys) in [
            (
                Part::Task,
                Some("results"),
                "result Results RESULT reslut resluts output outputs tool_results tool-results responses",
            ),
            (Part::Task, Some("calls"), "call Calls cals tool_calls toolCalls function_calls function tool"),
            (Part::Task, Some("prompt"), "promt Prompt user input propmt user_prompt"),
            (Part::Task, None, "id label name model date utility tags note seed score cost system"),
            (Part::Call, Some("fn"), "FN function name tool tool_name"),
            (Part::Call, Some("args"), "arg Args agrs arguments input parameters params"),
            (Part::Call, Some("results"), "result results output returned"),
            (Part::Call, None, "id n placeholder_args_of label type time_ms on tags"),
        ] {
            for key in keys.split(' ') {
                assert_eq!(part.meant(key), meant, "{part:?} {key}");
            }
        }
        assert!(Part::Task.has("suite") && !Part::Call.has("suite"));
    }
}
