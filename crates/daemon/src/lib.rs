//! Finds, authorises, starts and routes; holds no session's secrets.
