//! Protocols in Scribble: checked before anything runs, then held to by a monitor.
//!
//! Pure: no clock, no file, no socket.

#![forbid(unsafe_code)]

mod automaton;
mod check;
mod codec;
mod complete;
mod diagnostic;
pub mod held;
mod inline;
mod limits;
mod local;
pub mod machine;
mod modules;
pub mod monitor;
mod outline;
mod parse;
pub mod plan;
#[cfg(test)]
mod print;
mod resolve;
mod scribble;
mod session;
mod syntax;
mod tables;
mod token;

pub use check::{Discipline, Judgement, Projection, Report, check, check_all, project};
pub use diagnostic::{Act, Code, Diagnostic, Move, Place};
pub use limits::Limits;
pub use modules::{Loader, NoImports, Source, module_name};
pub use outline::{Outline, Stage, outline};
