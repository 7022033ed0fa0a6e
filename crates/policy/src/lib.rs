//! What policy files in Cedar say of a session's connections and requests.
//!
//! | room | what is in it |
//! |---|---|
//! | [`load`] | texts become [`Policies`], or what is wrong with them and where |
//! | `bounds` | how deep a policy may be |
//! | [`decide`] | what policies say of a connection or a request |
//! | [`path`] | one spelling for a request's path |
//!
//! The language is Cedar (Cutler et al., "Cedar: A New Language for Expressive, Fast, Safe, and
//! Analyzable Authorization", OOPSLA 2024); the words it may use stand in [`SCHEMA`]. Pure: the
//! crate reads no file.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bounds;
pub mod decide;
pub mod load;
pub mod path;

pub use decide::{Opinion, Request};
pub use load::{Flaw, Policies, load};

/// The words that policies may use: kinds of entities, actions and what is known of each.
pub const SCHEMA: &str = include_str!("schema.cedarschema");
