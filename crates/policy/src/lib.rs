//! What policy files in Cedar say of a session's connections and requests, and of tool calls and messages.
//!
//! | room | what is in it |
//! |---|---|
//! | `texts` | limits, schema, names and places of policies of any kind |
//! | [`load`] | texts become [`Policies`], or what is wrong with them and where |
//! | `bounds` | how deep a policy may be |
//! | [`decide`] | what policies say of a connection or a request |
//! | [`path`] | one spelling for a request's path |
//! | [`guard`] | the same for calls of tools and for messages, under a schema of their own |
//!
//! The language is Cedar (Cutler et al., "Cedar: A New Language for Expressive, Fast, Safe, and
//! Analyzable Authorization", OOPSLA 2024); the words it may use stand in [`SCHEMA`]. Pure: the
//! crate reads no file.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bounds;
pub mod decide;
pub mod guard;
pub mod load;
pub mod path;
mod texts;

pub use decide::{Opinion, Request};
pub use load::{Policies, load};
pub use texts::Flaw;

/// The words that policies may use: kinds of entities, actions and what is known of each.
pub const SCHEMA: &str = include_str!("schema.cedarschema");
