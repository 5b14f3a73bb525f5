//! One server: Zab, tree, sessions, storage and client connections, without IO.
