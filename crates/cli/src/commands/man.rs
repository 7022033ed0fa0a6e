//! `man`: manual pages.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::Program;
use crate::failure::{Failure, Outcome, Status};
use crate::output::print_json;

/// Write the manual pages into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile man ~/.local/share/man/man1")]
pub struct Args {
    /// The folder; made if absent
    folder: PathBuf,
}

impl Args {
    /// Writes one page per command.
    pub fn run(self, json: bool) -> Outcome {
        fs::create_dir_all(&self.folder)
            .map_err(|e| Failure::system(format!("make {}", self.folder.display()), &e))?;
        let mut program = Program::command();
        program.build();
        write_pages(&program, &self.folder)
            .map_err(|e| Failure::system(format!("write into {}", self.folder.display()), &e))?;
        if json {
            print_json(&pages(&self.folder)?)?;
        }
        Ok(Status::OK)
    }
}

/// Writes the page of a command and those of the commands below it.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below, folder)?;
    }
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    page.extend(synopsis(command).into_bytes());
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let more = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    page.extend(sections(&more).into_bytes());
    fs::write(folder.join(man.get_filename()), page)
}

/// How a command is called, as its help says it.
fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let lines = usage.lines().map(|line| line.trim().trim_start_matches("Usage: "));
    format!(".SH SYNOPSIS\n{}", as_it_stands(lines))
}

/// The text behind a command's help: examples and exit codes, whose lines stay as they are, and
/// paragraphs.
fn sections(text: &str) -> String {
    let mut page = String::new();
    let mut has_notes = false;
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let lines: Vec<&str> = paragraph.lines().collect();
        match lines[0] {
            "Examples:" => page += &format!(".SH EXAMPLES\n{}", as_it_stands(lines[1..].iter().copied())),
            "Exit codes:" => {
                page += &format!(".SH \"EXIT STATUS\"\n{}", as_it_stands(lines[1..].iter().copied()));
            }
            _ => {
                page += if has_notes { ".PP\n" } else { ".SH NOTES\n" };
                has_notes = true;
                page.extend(lines.iter().map(|line| roff(line) + "\n"));
            }
        }
    }
    page
}

/// Lines that are not filled.
fn as_it_stands<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: String = lines.map(|line| roff(line) + "\n").collect();
    format!(".nf\n{lines}.fi\n")
}

/// A line in which nothing means anything to roff.
fn roff(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// Our pages in a folder.
fn pages(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries =
        fs::read_dir(folder).map_err(|e| Failure::system(format!("read {}", folder.display()), &e))?;
    let is_ours = |p: &PathBuf| {
        p.file_name().is_some_and(|n| {
            n.to_string_lossy().starts_with("sessile") && n.to_string_lossy().ends_with(".1")
        })
    };
    let mut pages: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(is_ours).collect();
    pages.sort();
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        Args { folder: dir.path().join("man1") }.run(false).unwrap();
        let page = |name: &str| fs::read_to_string(dir.path().join("man1").join(name)).unwrap();
        assert!(page("sessile.1").contains("sealed"));
        assert!(page("sessile-run.1").contains("accept"));
        assert!(page("sessile-daemon-start.1").contains("\n.SH EXAMPLES\n.nf\n"));
        assert!(page("sessile.1").contains("\n.SH \"EXIT STATUS\"\n.nf\n    0  done\n"));
        let typing = page("sessile-type.1");
        assert!(
            typing.contains("\n.SH SYNOPSIS\n.nf\nsessile type [OPTIONS] <SESSION> <TEXT>\n"),
            "{typing}"
        );
        assert!(typing.contains("\n.SH NOTES\nText comes first"), "{typing}");
        assert!(!typing.contains("EXTRA"));
        assert_eq!(roff(".x 'a\\b' --c"), "\\&.x \\(aqa\\eb\\(aq \\-\\-c");
        assert!(!dir.path().join("man1/sessile-daemon-run.1").exists());
    }
}
