//! Tools beside the server: a load generator; log, snapshot and purge tools on `format`.

pub mod bench;
pub mod purge;
