//! The bytes of log and snapshot files.
