//! What options and configuration say about a session's tor.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sessile_model::network::Route;
use sessile_model::problem::ProblemKind;
use sessile_model::tor::{MAX_CONFIG, TorEntry, check};

use crate::config::RunDefaults;
use crate::failure::Failure;
use crate::options::SessionOptions;

/// The lines that are added to its configuration.
///
/// # Errors
/// When they cannot be read, or hold what may not be set.
pub fn config(
    options: &SessionOptions,
    defaults: &RunDefaults,
    route: &Route,
) -> Result<Option<String>, Failure> {
    match (&options.tor_config, &defaults.tor_config) {
        (Some(path), _) => lines(path).map(Some),
        // A default is about sessions that go by tor, and no others.
        (None, Some(path)) if *route == Route::Tor => lines(path).map(Some),
        (None, _) => Ok(None),
    }
}

/// Whose entry guards it goes by.
pub fn entry(options: &SessionOptions, defaults: &RunDefaults, route: &Route) -> TorEntry {
    let default = defaults.tor_entry.filter(|_| *route == Route::Tor);
    options.tor_entry.or(default).unwrap_or_default()
}

fn lines(path: &Path) -> Result<String, Failure> {
    let failed = |e: &std::io::Error| Failure::system(format!("read {}", path.display()), e);
    let mut text = String::new();
    let file = File::open(path).map_err(|e| failed(&e))?;
    file.take(MAX_CONFIG as u64 + 1).read_to_string(&mut text).map_err(|e| failed(&e))?;
    check(&text).map_err(|e| {
        Failure::new(ProblemKind::BadRequest, format!("{}: {e}", path.display()))
            .hint("bridges, and what chooses a path through the network, may be set")
    })?;
    Ok(text)
}
