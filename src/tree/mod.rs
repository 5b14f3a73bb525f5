//! The replicated tree of znodes.
