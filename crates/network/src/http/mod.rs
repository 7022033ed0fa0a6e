//! HTTP/1.1 between an app and a host: every request of a connection is read, judged and written
//! anew. [`head`] and [`body`] read without waiting for anything, [`visit`] carries out, and every
//! part of every body passes [`inspection`].

pub mod body;
pub mod conceal;
mod farewell;
pub mod head;
mod inlet;
pub mod inspection;
pub mod visit;

pub use farewell::{Refusal, farewell, refusal};
