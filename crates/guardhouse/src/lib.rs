//! A session's guard: the process that looks at what passes between those who speak in a session.
//!
//! ```text
//!  keeper ──Judge──► text ─► inspect ─► whose is it? ─► policies ──Judged──► keeper
//!         ──Delivered──► remembered
//! ```
//!
//! One process per session, started by its keeper on first need. One thread, which waits for its keeper
//! alone. It decides and does nothing: the keeper delivers, asks and journals. It keeps no file; what its
//! successor must know the keeper keeps ([`sessile_model::guarding::Memory`]).
//!
//! | module | subject |
//! |---|---|
//! | `confine` | what it gives up before it listens |
//! | `link` | its end of the socket to the keeper |
//! | [`post`] | what it knows and says |
//! | `bytes` | a payload as a text, and places in it as places in the payload |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bytes;
mod confine;
mod link;
pub mod post;

use std::io;

use sessile_model::guarding::{Order, Report, VERSION};

use crate::post::Post;

/// Serves the session whose keeper holds the other end of descriptor 3, until it says Quit or is gone.
///
/// # Errors
/// When this process was not started by a keeper, cannot be confined, or its link fails.
pub fn run() -> io::Result<()> {
    let socket = confine::link()?;
    confine::confine()?;
    let link = link::Link::new(socket);
    let mut post: Option<Post> = None;
    while let Some(order) = link.next()? {
        match (order, &mut post) {
            (Order::Begin { version: VERSION, spec, key, memory }, None) => {
                match Post::begin(&spec, &key, memory) {
                    Ok(begun) => {
                        post = Some(begun);
                        link.tell(&Report::Ready)?;
                    }
                    Err(error) => {
                        link.tell(&Report::Failed { cause: error.to_string() })?;
                        return Ok(());
                    }
                }
            }
            (Order::Begin { version, .. }, _) => {
                let cause = format!("a guard of version {VERSION} is told to begin as version {version}");
                link.tell(&Report::Failed { cause })?;
                return Ok(());
            }
            (Order::Quit, _) => break,
            (order, Some(post)) => {
                for report in post.obey(order) {
                    link.tell(&report)?;
                }
            }
            // What comes before the first order is from nobody who knows this program.
            (Order::Judge { .. } | Order::Delivered { .. } | Order::Dropped { .. }, None)
            | (Order::ResetRisk { .. } | Order::Unknown, None) => {}
        }
    }
    // What it knew is overwritten as it is freed.
    drop(post);
    Ok(())
}
