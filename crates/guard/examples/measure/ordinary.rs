//! What lies on a machine for development and instructs no model: documentation, programs, configuration. It is read
//! where it is, as Debian has it; none of it is in this repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Bytes of a file that are looked at, as an agent would read its beginning.
const MOST_BYTES: usize = 8 << 10;
const LEAST_BYTES: usize = 200;
/// Most files below one folder.
const MOST_FILES: usize = 700;

/// An ordinary text.
pub struct Ordinary {
    #[allow(dead_code, reason = "said by one of two programs")]
    pub path: PathBuf,
    pub text: String,
    /// It is not trained on.
    pub held_out: bool,
}

/// All that there are on this machine, the same in each run.
pub fn texts() -> Vec<Ordinary> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let roots = [
        "/usr/share/doc",
        "/usr/lib/python3",
        "/usr/lib/python3.11",
        "/usr/share/perl",
        "/etc",
        "/usr/share/nodejs",
    ]
    .into_iter()
    .map(PathBuf::from)
    .chain(home.map(|home| home.join("registry/src")));
    let mut seen = BTreeSet::new();
    let mut texts = Vec::new();
    for root in roots {
        let mut files = Vec::new();
        collect(&root, 0, &mut files);
        // In the order of a hash, so that those taken are of all kinds.
        files.sort_by_key(|path| hash(&path.to_string_lossy()));
        let read = files.into_iter().filter_map(|path| {
            let text = beginning(&path)?;
            seen.insert(hash(&text)).then_some(Ordinary {
                held_out: hash(&text).is_multiple_of(3),
                path,
                text,
            })
        });
        texts.extend(read.take(MOST_FILES));
    }
    if texts.is_empty() {
        eprintln!("skipped: there are no ordinary texts where Debian has them");
    }
    texts
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < 8 => collect(&entry.path(), depth + 1, files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "no part of the pure crate")]
fn beginning(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MOST_BYTES as u64).read_to_end(&mut bytes).ok()?;
    if bytes.len() < LEAST_BYTES || bytes.contains(&0) {
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        // A character may be cut at the end.
        Err(error) if error.utf8_error().error_len().is_none() => {
            let whole = error.utf8_error().valid_up_to();
            String::from_utf8(error.into_bytes()[..whole].to_vec()).ok()
        }
        Err(_) => None,
    }
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        >> 7
}
