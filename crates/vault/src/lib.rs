//! Secret memory, session keys, the installation's signing key, signed receipts.
