//! Finds, authorises, starts and routes; holds no session's secrets.
//!
//! | module | subject |
//! |---|---|
//! | [`paths`] | where things are, and the rules for folders of ours |
//! | [`serve`] | start and stop |
//! | [`sole`] | one daemon per runtime and state folder: locks, socket, noticing that it is gone |
//! | [`recovery`] | finding every session at the start |
//! | [`opening`] | opening a session |
//! | [`spare`] | an anchor and keeper that wait for the next session |
//! | [`follow`] | one task per session, from its keeper's first word to its receipt |
//! | [`closing`] | taking receipt and log into the journal, removing what is left |
//! | [`remnants`] | processes of a session that no socket leads to |
//! | [`account`] | the receipt of a session that could not be wiped |
//! | [`inside`] | passing requests on to keepers |
//! | [`api`] | HTTP |
//!
//! A request's way: [`api`] reads it, [`daemon`] finds the session it means, [`inside`] or
//! [`opening`] carries it out. Deliberately absent: sessions' output, input and keys (the
//! WebSocket passes frames through unread), timers that fire while nothing happens, and anything
//! that a later daemon could not find again from the folders and the journal.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod account;
pub mod anchor_link;
pub mod api;
pub mod bell;
pub mod closing;
pub mod daemon;
pub mod directory;
pub mod follow;
pub mod inside;
pub mod keeper_link;
pub mod launch;
pub mod ledger;
mod mounts;
mod names;
pub mod opening;
pub mod paths;
pub mod recovery;
mod rehearsal;
pub mod remnants;
pub mod serve;
pub mod sole;
pub mod spare;
pub mod spec_check;

pub use api::openapi;
pub use serve::{Config, DaemonError, run};
