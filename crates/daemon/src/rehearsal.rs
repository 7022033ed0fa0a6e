//! What tests change about a daemon, by orders in `SESSILE_DEBUG` as keepers have them.
//!
//! Only in debug builds. `silence=MILLISECONDS` is how long a keeper that was asked to end its
//! session may be silent before it is looked at. Keepers that are to stop themselves somewhere
//! (`stop=…`) are waited for.

use std::time::Duration;

/// How long a keeper may be silent; `usual` but for a test's order.
pub fn silence(usual: Duration) -> Duration {
    let ordered = order("silence=").and_then(|order| order.parse().ok());
    ordered.map_or(usual, Duration::from_millis)
}

/// Whether keepers stop themselves by order.
pub fn keepers_stop() -> bool {
    order("stop=").is_some()
}

fn order(name: &str) -> Option<String> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let orders = std::env::var("SESSILE_DEBUG").unwrap_or_default();
    orders.split(',').find_map(|order| order.strip_prefix(name)).map(str::to_owned)
}
