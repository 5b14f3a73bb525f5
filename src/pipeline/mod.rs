//! Requests to txns, reads to replies.
