//! Log, snapshot and purge tools on `format`.
