//! The tiny process under a session: parent of its apps, holder of what cannot be reopened; and
//! the first process of each sandbox.
//!
//! The anchor is [`program`]; [`protocol`] says what its sockets speak, [`link`] is the keeper's end
//! of one and [`supervisor`] the daemon's end of the other. A [`ring`] is where it pumps terminal
//! output. The same binary is [`init`], to which keepers talk through [`control`].
//!
//! Deliberately absent: threads, a heap in the program's loop, and any knowledge of what the
//! descriptors it holds are for.

pub mod control;
mod exchange;
pub mod fds;
pub mod image;
pub mod inherit;
pub mod init;
pub mod link;
pub mod numbers;
pub mod program;
pub mod protocol;
pub mod ring;
pub mod seclusion;
pub mod supervisor;
mod sys;
