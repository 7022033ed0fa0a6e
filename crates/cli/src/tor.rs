//! What options and configuration say about a session's tor.

use std::path::Path;

use sessile_model::network::Route;
use sessile_model::problem::ProblemKind;
use sessile_model::tor::{MAX_CONFIG, TorEntry, check};

use crate::config::RunDefaults;
use crate::failure::Failure;
use crate::files;
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
    let text = files::text(path, MAX_CONFIG)?.as_str().to_owned();
    check(&text).map_err(|e| {
        Failure::new(ProblemKind::BadRequest, format!("{}: {e}", path.display()))
            .hint("bridges, and what chooses a path through the network, may be set")
    })?;
    Ok(text)
}
