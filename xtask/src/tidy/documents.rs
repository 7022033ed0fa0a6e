//! Links and paths in documents lead somewhere.

use super::{File, Finding};

/// First parts of paths in code spans that are taken for paths in this repository.
const FOLDERS: [&str; 7] = ["crates/", "docs/", "fuzz/", "xtask/", "api/", ".ci/", ".cargo/"];

/// Checks a Markdown file's relative links and the paths it names; `exists` is asked with paths
/// in the repository.
pub fn check(file: &File, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    if !file.path.ends_with(".md") {
        return Vec::new();
    }
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut fenced = false;
    for (i, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in links(line) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            if path.is_empty() {
                if !headings(&file.text).any(|known| known == heading) {
                    findings.push(Finding::at(&file.path, i, format!("no heading #{heading}")));
                }
            } else if !exists(&joined(folder, path)) {
                findings.push(Finding::at(&file.path, i, format!("the link to {path} leads nowhere")));
            }
        }
        for path in named_paths(line) {
            if !exists(path) {
                findings.push(Finding::at(&file.path, i, format!("there is no {path}")));
            }
        }
    }
    findings
}

/// Targets of the line's links that lie in this repository.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// Code spans of the line that look like paths in this repository.
fn named_paths(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|span| {
        FOLDERS.iter().any(|folder| span.starts_with(folder))
            && !span.contains(|c: char| c.is_whitespace() || matches!(c, '*' | '{' | '<' | '…' | ':'))
    })
}

/// The anchors of a document's headings, as forges make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

fn joined(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let file = File { path: "docs/a.md".to_owned(), text: text.to_owned() };
        let known = ["docs/b.md", "README.md", "crates/model"];
        check(&file, &|path| known.contains(&path)).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "# One two\n[a](b.md) [b](../README.md#x) [c](#one-two) [d](https://example.org/x) `crates/model`\n";
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn links_and_paths_that_lead_nowhere_are_found() {
        let text = "[a](c.md)\n[b](#none)\n`crates/none/src` and `cargo xtask`\n";
        assert_eq!(
            found(text),
            [
                "docs/a.md:1: the link to c.md leads nowhere",
                "docs/a.md:2: no heading #none",
                "docs/a.md:3: there is no crates/none/src",
            ]
        );
    }

    #[test]
    fn examples_in_fences_are_not_links() {
        assert_eq!(found("```\n[a](c.md) `crates/none`\n```\n"), Vec::<String>::new());
    }
}
