//! What is never forgotten: a keeper's checksummed log and the daemon's database.
