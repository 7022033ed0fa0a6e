//! Protocols in Scribble: checked before anything runs, then held to by a monitor.
//!
//! Pure: no clock, no file, no socket.

pub mod machine;
