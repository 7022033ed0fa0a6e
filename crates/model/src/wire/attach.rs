//! How a client attaches, and hands its terminal over.

use serde::{Deserialize, Serialize};

use crate::ids::AppName;
use crate::spec::WindowSize;

/// How a channel attaches.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    /// The app; `main` when absent.
    pub app: Option<AppName>,
    /// Watch only.
    pub read_only: bool,
    /// Take over typing: nobody else may type while this lasts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// The client's window; `None` when the client is not a terminal.
    pub size: Option<WindowSize>,
    /// Go on from this output offset instead of a fresh screen, if the ring still has it.
    pub resume_from: Option<u64>,
    /// Raw output from the oldest byte, no screen: for clients that are not terminals.
    pub raw: bool,
    /// A random number the client keeps across reconnects: names its sequence of input frames.
    pub client: u64,
}

/// A client's terminal, for the keeper to write to: its descriptor comes with the frame (unix(7),
/// SCM_RIGHTS), and behind it one that the client's guardian reads, if there is one. Only a client on
/// the same machine can hand one over; answered by [`super::Reply::HandedOver`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandOver {
    /// The client's count of what it has handed over.
    pub number: u32,
    /// What was done to the terminal before, as [`super::Event::Changed`] told it.
    pub modes: String,
    /// The terminal has shown this session before: it is drawn anew, without what scrolled off.
    pub again: bool,
}

/// Where a client's input is typed, for the keeper to read as long as it writes to the terminal that was handed
/// over: its descriptor comes with the frame. What the client read itself before comes before it by frames. With
/// no descriptor nothing more is read; answered by [`super::Reply::ReadsTyped`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadTyped {
    /// The number that the terminal was handed over with.
    pub number: u32,
    /// The number of the client's last frame of input. What is read goes on from it.
    pub last: u64,
    /// What a terminal sends for the key that leaves: where one of these is read
    /// ([`super::Pastes`]), [`super::Event::Leave`] follows.
    pub leave: Vec<String>,
}
