//! Secret memory, session keys, the installation's signing key, signed receipts.
//!
//! | module | subject |
//! |---|---|
//! | [`secret`] | memory that is never swapped, dumped or inherited, and survives its process in a descriptor |
//! | [`keys`] | a session's root key and the keys derived from it |
//! | [`installation`] | the signing key of this installation |
//! | [`receipt`] | signing and verifying receipts |

#![warn(missing_docs)]

pub mod installation;
pub mod keys;
pub mod receipt;
pub mod secret;

pub use installation::InstallationKey;
pub use keys::{DerivedKey, Purpose, RootKey};
pub use receipt::{PublicKey, Verified, verify};
pub use secret::{Protection, SecretMemory};
