//! Changes of text files in git's unified format, as `git apply` and `patch -p1` read it.

use std::fmt::Write;
use std::time::{Duration, Instant};

use similar::{ChangeTag, TextDiff};

use super::tree::shown;

/// Bytes of one side of a file that is compared line by line.
pub(super) const MAX_TEXT: usize = 4 << 20;
/// Bytes of one file's diff.
const MAX_FILE: usize = 1 << 20;
/// Bytes of the whole diff, as it is in JSON, where control characters take six each.
const MAX_ALL: usize = 8 << 20;
/// Time for finding one file's shortest diff; a longer one is taken after that.
const FILE_TIME: Duration = Duration::from_millis(300);
/// The same for all files together.
const ALL_TIME: Duration = Duration::from_secs(3);
const CONTEXT_LINES: usize = 3;

/// One side of a changed file or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    /// `100644`, `100755` or `120000`.
    pub(crate) mode: &'static str,
    pub(crate) content: Content,
}

/// What one side holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Text, or a link's target.
    Text(String),
    /// Not shown, and why.
    Omitted(&'static str),
}

impl Content {
    /// Text if it is UTF-8 without NUL, as git tells text from binary files.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Self::Text(text),
            Ok(_) | Err(_) => Self::Omitted("is binary"),
        }
    }
}

/// A diff in the making.
#[derive(Debug)]
pub(crate) struct Unified {
    text: String,
    left: usize,
    deadline: Instant,
}

impl Unified {
    pub(crate) fn new() -> Self {
        Self { text: String::new(), left: MAX_ALL, deadline: Instant::now() + ALL_TIME }
    }

    /// Whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    /// Adds a path's change. A change of kind is a removal and an addition.
    pub(crate) fn add(&mut self, path: &str, old: Option<&Side>, new: Option<&Side>) {
        match (old, new) {
            (Some(a), Some(b)) if (a.mode == "120000") != (b.mode == "120000") => {
                self.one(path, Some(a), None);
                self.one(path, None, Some(b));
            }
            (old, new) => self.one(path, old, new),
        }
    }

    /// Adds a line that tools skip: what is not shown, and why.
    pub(super) fn remark(&mut self, path: &str, why: &str) {
        self.push(&format!("# {} {why}\n", shown(path.as_bytes())));
    }

    fn one(&mut self, path: &str, old: Option<&Side>, new: Option<&Side>) {
        for side in [old, new].into_iter().flatten() {
            if let Content::Omitted(why) = side.content {
                return self.remark(path, &format!("{why}: not shown as text"));
            }
        }
        let deadline = self.deadline.min(Instant::now() + FILE_TIME);
        let diff = render(path, old, new, deadline);
        if diff.len() > MAX_FILE {
            self.remark(path, "has a diff of more than 1 MiB: not shown");
        } else if !self.push(&diff) {
            self.remark(path, "and what follows is not shown: the whole diff is over 8 MiB");
            self.left = 0;
        }
    }

    fn push(&mut self, text: &str) -> bool {
        let cost: usize = text.chars().map(json_cost).sum();
        let fits = cost <= self.left;
        if fits {
            self.left -= cost;
            self.text.push_str(text);
        }
        fits
    }
}

/// Bytes that a character takes in a JSON string.
pub(super) fn json_cost(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

fn text(side: Option<&Side>) -> &str {
    match side.map(|s| &s.content) {
        Some(Content::Text(text)) => text,
        Some(Content::Omitted(_)) | None => "",
    }
}

fn render(path: &str, old: Option<&Side>, new: Option<&Side>, deadline: Instant) -> String {
    let (old_text, new_text) = (text(old), text(new));
    // Where no `---` line follows, patch(1) would end a bare name at its first blank.
    let blank_ends = old_text == new_text;
    let (a, b) = (quoted("a/", path, blank_ends), quoted("b/", path, blank_ends));
    let mut out = format!("diff --git {a} {b}\n");
    match (old, new) {
        (None, Some(new)) => out += &format!("new file mode {}\n", new.mode),
        (Some(old), None) => out += &format!("deleted file mode {}\n", old.mode),
        (Some(old), Some(new)) if old.mode != new.mode => {
            out += &format!("old mode {}\nnew mode {}\n", old.mode, new.mode);
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    if old_text == new_text {
        // patch(1) knows an empty file's coming and going by this line alone.
        out += match (old, new) {
            (None, Some(_)) => "index 0000000..e69de29\n",
            (Some(_), None) => "index e69de29..0000000\n",
            (Some(_), Some(_)) | (None, None) => "",
        };
        return out;
    }
    // patch(1) takes a name with a blank to end there, unless a tab follows.
    let end = |name: &str| if name.contains(' ') { "\t" } else { "" };
    out += &match old {
        Some(_) => format!("--- {a}{}\n", end(&a)),
        None => "--- /dev/null\n".to_owned(),
    };
    out += &match new {
        Some(_) => format!("+++ {b}{}\n", end(&b)),
        None => "+++ /dev/null\n".to_owned(),
    };
    // Lines end with a line feed only: other line ends are content to git.
    let old_lines: Vec<&str> = old_text.split_inclusive('\n').collect();
    let new_lines: Vec<&str> = new_text.split_inclusive('\n').collect();
    let diff = TextDiff::configure().deadline(deadline).diff_slices(&old_lines, &new_lines);
    for hunk in diff.unified_diff().context_radius(CONTEXT_LINES).iter_hunks() {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", hunk.header());
        for change in hunk.iter_changes() {
            out.push(match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            });
            out.push_str(change.value());
            if !change.value().ends_with('\n') {
                out.push_str("\n\\ No newline at end of file\n");
            }
        }
        if out.len() > MAX_FILE {
            break;
        }
    }
    out
}

/// A path as git writes it: in quotes with C escapes where it holds control characters, quotes or
/// backslashes, or a blank that would end it.
fn quoted(prefix: &str, path: &str, blank_ends: bool) -> String {
    let special = |c: char| c.is_ascii_control() || c == '"' || c == '\\' || c == ' ' && blank_ends;
    if !path.contains(special) {
        return format!("{prefix}{path}");
    }
    let mut out = format!("\"{prefix}");
    for c in path.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\{:03o}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Side {
        Side { mode: "100644", content: Content::Text(text.to_owned()) }
    }

    #[test]
    fn only_line_feeds_end_lines() {
        let mut unified = Unified::new();
        unified.add("f", Some(&file("a\rb\nc")), Some(&file("a\rB\nc")));
        let expected = "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-a\rb\n+a\rB\n c\n\\ No newline at end of file\n";
        assert_eq!(unified.finish(), expected);
    }

    #[test]
    fn names_are_quoted_as_git_does() {
        assert_eq!(quoted("a/", "grüß dich", false), "a/grüß dich");
        assert_eq!(quoted("a/", "x\ny\"\u{1b}", false), "\"a/x\\ny\\\"\\033\"");
    }

    #[test]
    fn large_and_binary_files_are_named_only() {
        let mut unified = Unified::new();
        unified.add("b", None, Some(&Side { mode: "100644", content: Content::from_bytes(vec![0xff]) }));
        unified.add("large", None, Some(&file(&"line\n".repeat(300_000))));
        let text = unified.finish();
        assert_eq!(
            text,
            "# b is binary: not shown as text\n# large has a diff of more than 1 MiB: not shown\n"
        );
    }

    #[test]
    fn the_whole_is_bounded_as_it_is_sent() {
        let mut unified = Unified::new();
        let text = format!("{}\n", "\u{1b}".repeat(900 << 10));
        for i in 0..20 {
            unified.add(&format!("f{i}"), None, Some(&file(&text)));
        }
        assert!(unified.is_full());
        let json = serde_json::to_string(&unified.finish()).unwrap();
        assert!(json.len() < MAX_ALL + 1000, "{}", json.len());
    }

    #[test]
    fn unlike_texts_end_in_time() {
        let noise = |seed: u64| {
            let mut x = seed;
            (0..200_000).fold(String::new(), |mut s, _| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let _ = writeln!(s, "{}", (x >> 33) % 5000);
                s
            })
        };
        let (a, b) = (noise(1), noise(2));
        let start = Instant::now();
        let mut unified = Unified::new();
        unified.add("f", Some(&file(&a)), Some(&file(&b)));
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}
