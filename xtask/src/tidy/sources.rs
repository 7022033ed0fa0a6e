//! Rules about the text of tracked files.

use super::{File, Finding};

/// Most lines of a source file of a crate.
const MOST_LINES: usize = 600;
/// Crates that may hold unsafe code.
const UNSAFE_CRATES: [&str; 3] = ["sandbox", "anchor", "vault"];
/// Crates without clock, entropy, file or network.
const PURE_CRATES: [&str; 7] = ["model", "session", "policy", "protocol", "guard", "terminal", "jar"];
/// What a pure crate does not name.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::os::unix::net",
    "std::process",
    "std::thread",
    "SystemTime::now",
    "Instant::now",
    "std::env",
    "println!",
];

/// Every rule for one file.
pub fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(check_leftovers(file));
    findings.extend(check_host_paths(file));
    if matches!(file.path.as_str(), "Cargo.lock" | "fuzz/Cargo.lock") || file.path.starts_with(".cargo/") {
        findings.extend(check_registries(file));
    }
    if let Some((krate, inside)) = crate_source(&file.path) {
        findings.extend(check_length(file));
        findings.extend(check_unsafe(file, krate, inside));
        if PURE_CRATES.contains(&krate) {
            findings.extend(check_purity(file));
        }
    }
    findings
}

/// The crate's folder and the path below its `src`, for the source of one of our crates.
fn crate_source(path: &str) -> Option<(&str, &str)> {
    let (krate, inside) = path.strip_prefix("crates/")?.split_once("/src/")?;
    inside.ends_with(".rs").then_some((krate, inside))
}

/// Lines of code: without comments, numbered from 0.
fn code(file: &File) -> impl Iterator<Item = (usize, &str)> {
    file.text
        .lines()
        .enumerate()
        .map(|(i, line)| (i, line.trim_start()))
        .filter(|(_, l)| !l.starts_with("//"))
}

fn check_length(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    (lines > MOST_LINES).then(|| {
        Finding::new(&file.path, format!("{lines} lines; past {MOST_LINES}, what is its second subject?"))
    })
}

fn check_unsafe(file: &File, krate: &str, inside: &str) -> Vec<Finding> {
    if UNSAFE_CRATES.contains(&krate) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (i, line) in code(file) {
        let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code)"];
        if words.iter().any(|word| line.contains(word)) {
            findings.push(Finding::at(&file.path, i, "unsafe code belongs in sandbox, anchor or vault"));
        }
    }
    if matches!(inside, "lib.rs" | "main.rs") && !file.text.contains("#![forbid(unsafe_code)]") {
        findings.push(Finding::new(&file.path, "lacks #![forbid(unsafe_code)]"));
    }
    findings
}

fn check_purity(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in code(file) {
        if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
            findings.push(Finding::at(&file.path, i, format!("a pure crate does not use {word}")));
        }
    }
    findings
}

fn check_leftovers(file: &File) -> Vec<Finding> {
    // Assembled, so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        if let Some(word) = words.iter().find(|word| line.contains(**word)) {
            findings.push(Finding::at(&file.path, i, format!("{word}: do it or write an issue")));
        }
    }
    findings
}

fn check_host_paths(file: &File) -> Vec<Finding> {
    if file.path.starts_with("LICENSE") {
        return Vec::new();
    }
    let folders = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Use", "rs/")];
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        if folders.iter().any(|folder| names_folder(line, folder)) || names_home(line) {
            findings.push(Finding::at(&file.path, i, "names a folder of somebody's machine"));
        }
    }
    findings
}

/// Whether the line names this folder of the root: not as the later part of a longer path.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}' | '~' | '*'))
    })
}

/// Whether the line names a home folder other than those that stand for any.
fn names_home(line: &str) -> bool {
    let home = concat!("/ho", "me/");
    line.match_indices(home).any(|(at, _)| {
        let rest = &line[at + home.len()..];
        let name: String =
            rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
        !matches!(name.as_str(), "" | "user" | "you" | "me" | "alice" | "bob" | "ann")
            && names_folder(line, home)
    })
}

fn check_registries(file: &File) -> Vec<Finding> {
    let public = "\"registry+https://github.com/rust-lang/crates.io-index\"";
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        let line = line.trim();
        let foreign_source = line.strip_prefix("source = ").is_some_and(|source| source != public);
        let redirect =
            ["[source", "[registries", "[registry", "replace-with"].iter().any(|w| line.starts_with(w));
        if foreign_source || redirect {
            findings.push(Finding::at(&file.path, i, "dependencies come from crates.io only"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&File { path: path.to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn a_long_file_is_found() {
        let lines = |n: usize| format!("#![forbid(unsafe_code)]\n{}", "//\n".repeat(n - 1));
        assert_eq!(found("crates/keeper/src/lib.rs", &lines(600)), 0);
        assert_eq!(found("crates/keeper/src/lib.rs", &lines(601)), 1);
    }

    #[test]
    fn unsafe_code_is_found_where_it_does_not_belong() {
        let text = "#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        assert_eq!(found("crates/daemon/src/lib.rs", text), 1);
        assert_eq!(found("crates/sandbox/src/lib.rs", text), 0);
        assert_eq!(found("crates/daemon/src/lib.rs", "// no attribute\n"), 1);
        assert_eq!(found("crates/daemon/src/other.rs", "// unsafe { in a comment }\n"), 0);
    }

    #[test]
    fn a_clock_in_a_pure_crate_is_found() {
        let text = "fn f() { std::time::Instant::now(); }\n";
        assert_eq!(found("crates/session/src/machine.rs", text), 1);
        assert_eq!(found("crates/keeper/src/machine.rs", text), 0);
        assert_eq!(found("crates/session/src/machine.rs", "//! never calls Instant::now\n"), 0);
    }

    #[test]
    fn leftovers_are_found_anywhere() {
        assert_eq!(found("docs/receipt.md", concat!("TO", "DO: more\n")), 1);
        assert_eq!(found("docs/receipt.md", "to do\n"), 0);
    }

    #[test]
    fn folders_of_a_machine_are_found() {
        assert_eq!(found("README.md", concat!("see /wo", "rk/main\n")), 1);
        assert_eq!(found("README.md", concat!("`/ro", "ot/.cargo`\n")), 1);
        assert_eq!(found("README.md", concat!("/ho", "me/somebody/x\n")), 1);
        assert_eq!(found("README.md", "inside, /home/user/x\n"), 0);
        assert_eq!(found("README.md", concat!("storage/ro", "ot/x and network/\n")), 0);
    }

    #[test]
    fn another_registry_is_found() {
        let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert_eq!(found("Cargo.lock", public), 0);
        for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
            assert_eq!(found(lock, "source = \"registry+https://mirror.example/index\"\n"), 1);
        }
        assert_eq!(found(".cargo/config.toml", "[source.crates-io]\nreplace-with = \"m\"\n"), 2);
    }
}
