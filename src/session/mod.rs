//! Sessions: which exist, who owns them, when they end.
