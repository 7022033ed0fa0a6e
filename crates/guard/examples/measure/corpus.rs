//! The corpora, which lie beside the repository in `shared/corpora` or where `SESSILE_CORPORA` says.

use std::path::PathBuf;

use serde_json::Value;

/// A file of the corpora.
pub fn path(name: &str) -> PathBuf {
    let folder = std::env::var_os("SESSILE_CORPORA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora")),
        PathBuf::from,
    );
    folder.join(name)
}

/// The lines of a file of JSON lines; `None`, said aloud, where there is no such file.
#[allow(dead_code, reason = "not every corpus is of lines")]
pub fn lines(name: &str) -> Option<Vec<Value>> {
    let text = read(name)?;
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect())
}

/// A file's text; `None`, said aloud, where there is none.
pub fn read(name: &str) -> Option<String> {
    let path = path(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            eprintln!("skipped: {name}: {error} (SESSILE_CORPORA names the folder of corpora)");
            None
        }
    }
}

/// A row of the table: name, figure, target, how many texts it is over.
#[allow(dead_code, reason = "not every program prints rows")]
pub fn row(name: &str, figure: &str, target: &str, count: usize) {
    println!("{name}\t{figure}\t{target}\t{count}");
}

/// So many of so many, in percent.
#[allow(dead_code, reason = "not every program prints figures")]
#[expect(clippy::cast_precision_loss, reason = "counts of texts")]
pub fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}
