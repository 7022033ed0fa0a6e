//! How deep a policy may be, checked before it is parsed: a parser's stack ends somewhere.

/// How deep brackets may be nested.
const MAX_DEPTH: usize = 24;
/// Operators of one policy: a chain of them is as deep as it is long.
const MAX_OPERATORS: usize = 200;

/// Where a text goes too deep, in bytes from its start, and what is the matter.
pub(crate) fn check(text: &str) -> Result<(), (usize, String)> {
    let (mut depth, mut operators) = (0usize, 0usize);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string(rest),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                operators += usize::from(matches!(&rest[..end], "if" | "in" | "is" | "has" | "like"));
                end
            }
            c => {
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    ';' => (depth, operators) = (0, 0),
                    ',' | ':' => {}
                    c => operators += usize::from(!c.is_whitespace()),
                }
                c.len_utf8()
            }
        };
        let at = text.len() - rest.len();
        if depth > MAX_DEPTH {
            return Err((at, format!("brackets are nested deeper than {MAX_DEPTH}")));
        }
        if operators > MAX_OPERATORS {
            return Err((
                at,
                format!("more than {MAX_OPERATORS} operators in one policy; make several of it"),
            ));
        }
        rest = &rest[length..];
    }
    Ok(())
}

/// The length of the string that a text begins with.
fn string(text: &str) -> usize {
    let mut is_escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
        if at == 0 {
            is_escaped = false;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn depth_and_length_are_bounded_and_strings_are_not_looked_into() {
        let deep = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
        let long = |n: usize| vec!["a"; n].join(" + ");
        assert_eq!(check(&deep(24)), Ok(()));
        assert_eq!(check(&deep(25)).unwrap_err().0, 24);
        assert_eq!(check(&long(201)), Ok(()));
        assert!(check(&long(202)).is_err());
        assert!(check(&vec!["a"; 202].join(" in ")).is_err());
        assert_eq!(check(&format!("{};{}", long(150), long(150))), Ok(()));
        assert_eq!(check(&format!("\"{}\\\"{}\" // {}", deep(99), "((".repeat(99), deep(99))), Ok(()));
        assert_eq!(check(&format!("[{}]", vec!["Host::\"a.example\""; 5000].join(", "))), Ok(()));
        assert!(check(&format!("\"\\\\\"{}", deep(99))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in ".{0,60}") {
            let _ = check(&text);
        }
    }
}
