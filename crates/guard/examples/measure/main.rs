//! Measures the guard and prints tab-separated rows: name, figure, target, number of texts.
//!
//! `cargo xtask bench guard` runs this and lays the rows out. `--verbose` says what was missed;
//! names of groups of rows choose among them.

mod corpus;
mod injection;
mod latency;
mod leaks;
mod ordinary;
mod personal;
mod secrets;
mod transformations;

use sessile_guard::Inspector;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verbose = arguments.iter().any(|a| a == "--verbose");
    let groups: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    let wanted = |group: &str| groups.is_empty() || groups.contains(&group);
    let inspector = Inspector::default();
    if wanted("injection") {
        injection::rows(&inspector, verbose);
    }
    if wanted("latency") {
        latency::rows();
    }
    if wanted("leaks") {
        leaks::rows(verbose);
    }
    if wanted("personal") {
        personal::rows(&inspector, verbose);
    }
    if wanted("secrets") {
        secrets::rows(&inspector, verbose);
    }
}
