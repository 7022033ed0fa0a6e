//! `man`: manual pages.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

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
        clap_mangen::generate_to(Program::command(), &self.folder)
            .map_err(|e| Failure::system(format!("write into {}", self.folder.display()), &e))?;
        if json {
            print_json(&pages(&self.folder)?)?;
        }
        Ok(Status::OK)
    }
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
        assert!(page("sessile-daemon-start.1").contains("Examples"));
        assert!(!dir.path().join("man1/sessile-daemon-run.1").exists());
    }
}
