//! A session's gateway: the one place where its packets leave.
//!
//! ```text
//!  app ──► lo of its own namespace ──► listener ──► connection: name, policy, question
//!                                                       │ first bytes agree with the name
//!                                                       ▼
//!                                                       │ HTTP/1: the guard says what may go
//!                                         route: direct, socks5, tor ─► the world
//! ```
//!
//! One process per session, started by its keeper when the first packet comes. One thread. The
//! modules [`addresses`], [`dns`], [`flows`], [`names`], [`policy`], [`questions`] and [`sight`]
//! decide without waiting for anything; the others wait.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod addresses;
mod confine;
mod connection;
pub mod dns;
pub mod flows;
pub mod gateway;
pub mod guard;
pub mod http;
pub mod intercept;
mod life;
pub mod link;
pub mod names;
pub mod policy;
pub mod proxy;
pub mod questions;
mod relay;
pub mod route;
pub mod secret;
pub mod sight;
pub mod stream;

use std::io;

/// Serves the session whose keeper holds the other end of descriptor 3.
///
/// # Errors
/// When this process was not started by a keeper, cannot be confined, or its link fails.
pub fn run() -> io::Result<()> {
    let socket = confine::link()?;
    confine::confine()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let link = link::Link::new(socket)?;
        gateway::serve(link).await
    })
}
