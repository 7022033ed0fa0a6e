//! What tests change about a daemon, by orders in `SESSILE_DEBUG` as keepers have them.
//!
//! Only in debug builds. `silence=MILLISECONDS` is how long a keeper that was asked to end its
//! session may be silent before it is looked at.

use std::time::Duration;

/// How long a keeper may be silent; `usual` but for a test's order.
pub fn silence(usual: Duration) -> Duration {
    if !cfg!(debug_assertions) {
        return usual;
    }
    let orders = std::env::var("SESSILE_DEBUG").unwrap_or_default();
    let ordered = orders.split(',').find_map(|order| order.strip_prefix("silence=")?.parse().ok());
    ordered.map_or(usual, Duration::from_millis)
}
