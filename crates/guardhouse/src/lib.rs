//! A session's guard: the process that looks at what passes between those who speak in a session.
//!
//! ```text
//!  keeper ──Judge──► text ─► inspect ─► whose is it? ─► policies ──Judged──► keeper
//!         ──Delivered──► remembered
//! ```
//!
//! ```text
//!  gateway ──Part──► head or window ─► inspect ─► whose is it? ─► policies ─┬─ nothing of it ──Goes──► gateway
//!                                            keeper ◄──Weighed── something ─┘   (audit, or a question)
//!                                                   ──Release──► Goes, Refused ─────────────────────► gateway
//! ```
//!
//! One process per session, started by its keeper on first need. One thread, which waits for its keeper and
//! its gateway. It decides and does nothing: the keeper delivers, asks and journals, the gateway sends. It keeps no file; what its
//! successor must know the keeper keeps ([`sessile_model::guarding::Memory`]).
//!
//! | module | subject |
//! |---|---|
//! | `confine` | what it gives up before it listens |
//! | `link` | its end of the socket to the keeper |
//! | `watch` | its end of the socket to the gateway |
//! | [`post`] | what it knows and says; `post::outgoing` of requests, `post::trace` of traces that were recorded |
//! | `relay` | the same program as the relay of an MCP server: another process, which asks instead of deciding |
//! | [`vault`] | the secret memory in which values lie |
//! | `exact` | JSON with its numbers digit by digit |
//! | `bytes` | a payload as a text, and places in it as places in the payload |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bytes;
mod confine;
mod exact;
mod link;
pub mod post;
mod relay;
pub mod vault;
mod watch;

use std::io;
use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use sessile_model::guarding::{Order, Report, VERSION};

use crate::link::Link;
use crate::post::Post;
use crate::post::outgoing::Act;
use crate::vault::Vault;
use crate::watch::{Heard, Watch};

pub use relay::run as relay;

/// What the fuzz targets reach.
#[cfg(feature = "fuzz")]
pub mod fuzz {
    pub use sessile_model::mcp::{Asked, Verdict};

    pub use crate::relay::desk::{Deed, Desk};
}

/// Serves the session whose keeper holds the other end of descriptor 3, until it says Quit or is gone.
///
/// # Errors
/// When this process was not started by a keeper, cannot be confined, or its link fails.
pub fn run() -> io::Result<()> {
    let socket = confine::link()?;
    // Once it is confined it could make none.
    let vault = Vault::secret().map_err(io::Error::other)?;
    confine::confine()?;
    let link = Link::new(socket);
    let Some(mut post) = begin(&link, vault)? else { return Ok(()) };
    let mut watch: Option<Watch> = None;
    loop {
        let (is_ordered, is_shown) = wait(&link, watch.as_ref())?;
        if is_ordered {
            let Some((order, file)) = link.next()? else { break };
            match order {
                Order::Quit => break,
                Order::Watch { at_ms } => {
                    act(&link, &mut post, &mut watch, Post::unwatched)?;
                    watch = file.map(|socket| Watch::new(socket, at_ms));
                }
                Order::Release { ticket, goes } => {
                    let at_ms = watch.as_ref().map_or(0, Watch::now_ms);
                    act(&link, &mut post, &mut watch, |post| post.release(ticket, goes, at_ms))?;
                }
                Order::Begin { .. }
                | Order::Given { .. }
                | Order::Judge { .. }
                | Order::Delivered { .. }
                | Order::Dropped { .. }
                | Order::ResetRisk { .. }
                | Order::Unknown => {
                    for report in post.obey(order) {
                        link.tell(&report)?;
                    }
                }
            }
        }
        if is_shown {
            look(&link, &mut post, &mut watch)?;
        }
    }
    // What it knew is overwritten as it is freed.
    drop(post);
    Ok(())
}

/// Waits for the first order. `None` where there is nothing to do, or it cannot be done.
fn begin(link: &Link, (vault, weaker_because): (Vault, Option<String>)) -> io::Result<Option<Post>> {
    loop {
        match link.next()? {
            Some((Order::Begin { version: VERSION, spec, key, memory, given, variables }, _)) => {
                return match Post::begin_given(vault, &spec, &key, memory, given, &variables) {
                    Ok(post) => {
                        link.tell(&Report::Ready { weaker_because })?;
                        Ok(Some(post))
                    }
                    Err(error) => {
                        link.tell(&Report::Failed { cause: error.to_string() })?;
                        Ok(None)
                    }
                };
            }
            Some((Order::Begin { version, .. }, _)) => {
                let cause = format!("a guard of version {VERSION} is told to begin as version {version}");
                link.tell(&Report::Failed { cause })?;
                return Ok(None);
            }
            None | Some((Order::Quit, _)) => return Ok(None),
            // What comes before the first order is from nobody who knows this program.
            Some(_) => {}
        }
    }
}

/// Waits until the keeper or the gateway has something to say.
fn wait(link: &Link, watch: Option<&Watch>) -> io::Result<(bool, bool)> {
    let mut fds: Vec<PollFd<'_>> = vec![PollFd::from_borrowed_fd(link.as_fd(), PollFlags::IN)];
    fds.extend(watch.map(|watch| PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)));
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
    Ok((ready(0), ready(1)))
}

/// Looks at what the gateway shows.
fn look(link: &Link, post: &mut Post, watch: &mut Option<Watch>) -> io::Result<()> {
    let Some(at_ms) = watch.as_ref().map(Watch::now_ms) else { return Ok(()) };
    match watch.as_ref().map_or(Heard::Nothing, Watch::next) {
        Heard::Nothing => Ok(()),
        Heard::Shown(showing) => act(link, post, watch, |post| post.show(*showing, at_ms)),
        Heard::Gone => {
            *watch = None;
            act(link, post, watch, Post::unwatched)
        }
    }
}

/// Carries out what follows; the risk is told before what raised it.
fn act(
    link: &Link,
    post: &mut Post,
    watch: &mut Option<Watch>,
    decide: impl FnOnce(&mut Post) -> Vec<Act>,
) -> io::Result<()> {
    let before = post.risk().clone();
    let mut acts = decide(post);
    if *post.risk() != before {
        let at_ms = watch.as_ref().map_or(0, Watch::now_ms);
        acts.insert(0, Act::Tell(post.risk_report(at_ms)));
    }
    let mut left = Vec::new();
    for next in acts {
        match next {
            Act::Tell(report) => link.tell(&report)?,
            // One that takes nothing hears no more: what it waits for is refused there.
            Act::Say(word) => {
                if watch.as_ref().is_some_and(|watch| watch.say(&word).is_err()) {
                    *watch = None;
                    left = post.unwatched();
                }
            }
        }
    }
    for next in left {
        if let Act::Tell(report) = next {
            link.tell(&report)?;
        }
    }
    Ok(())
}
