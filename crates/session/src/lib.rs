//! The lifecycle of one session as a pure machine.
