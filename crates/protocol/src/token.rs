//! Words and signs of a file.

use crate::diagnostic::{Code, Problem, Span};

/// Words that are no names.
const KEYWORDS: [&str; 26] = [
    "module",
    "import",
    "data",
    "sig",
    "type",
    "protocol",
    "as",
    "global",
    "local",
    "explicit",
    "aux",
    "role",
    "self",
    "from",
    "to",
    "connect",
    "wrap",
    "disconnect",
    "and",
    "choice",
    "at",
    "or",
    "rec",
    "continue",
    "do",
    "__EMPTY_OP",
];

/// The longest name, with its dots.
pub(crate) const LONGEST_NAME: usize = 255;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Letters, digits and underscores, in any order.
    Word,
    /// A text in quotes.
    Quoted,
    /// One of `{}()<>;,.@`.
    Sign(u8),
    /// After the last.
    End,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub span: Span,
}

/// Whether the word has a meaning of its own, and so is no name.
pub(crate) fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// Cuts a text into tokens; the last is [`TokenKind::End`].
///
/// # Errors
/// When a character belongs to no token, or a comment or a quoted text does not end.
pub(crate) fn tokens(file: u16, text: &str) -> Result<Vec<Token>, Problem> {
    let bytes = text.as_bytes();
    let span = |start: usize, end: usize| Span { file, start: start as u32, end: end as u32 };
    let mut tokens = Vec::new();
    // Some editors begin a text with a byte order mark.
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        let kind = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b'\x0c' => {
                at += 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = find(bytes, at, b"\n").unwrap_or(bytes.len());
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let open = span(start, start + 2);
                let end = find(bytes, at + 2, b"*/")
                    .ok_or_else(|| Problem::at(Code::Syntax, open, "a comment does not end"))?;
                at = end + 2;
                continue;
            }
            b'{' | b'}' | b'(' | b')' | b'<' | b'>' | b';' | b',' | b'.' | b'@' => {
                at += 1;
                TokenKind::Sign(byte)
            }
            b'"' => {
                let quoted = |b: u8| b.is_ascii_alphanumeric() || b"{}()[]:/\\.#&?!_".contains(&b);
                at += 1;
                while bytes.get(at).is_some_and(|b| quoted(*b)) {
                    at += 1;
                }
                if bytes.get(at) != Some(&b'"') {
                    let text = "a quoted text is of letters and digits without accents and of \
                                {}()[]:/\\.#&?!_, and ends with a quote in its line";
                    return Err(Problem::at(Code::Syntax, span(start, at), text));
                }
                at += 1;
                TokenKind::Quoted
            }
            b if is_word(b) => {
                while bytes.get(at).is_some_and(|b| is_word(*b)) {
                    at += 1;
                }
                if at - start > LONGEST_NAME {
                    let text = format!("a name is at most {LONGEST_NAME} characters long");
                    return Err(Problem::at(Code::TooLarge, span(start, at), text));
                }
                TokenKind::Word
            }
            _ => {
                let text = "this character stands for nothing in Scribble";
                return Err(Problem::at(Code::Syntax, span(start, start + 1), text));
            }
        };
        tokens.push(Token { kind, span: span(start, at) });
    }
    tokens.push(Token { kind: TokenKind::End, span: span(at, at) });
    Ok(tokens)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes[from..].windows(what.len()).position(|w| w == what).map(|at| from + at)
}
