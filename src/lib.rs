//! zkctl: a complete ZooKeeper server, and the tool that operates ensembles of it.
//!
//! The modules stand on floors; a file imports only from lower floors and from its own module.
//! `tests/tidy.rs` enforces it. The map, with what is deliberately absent from each floor, is
//! `docs/architecture.md`.
//!
//! | floor | modules | owns |
//! |---|---|---|
//! | 0 | `zxid` `ids` `time` `limits` `keyed_map` `prng` `mutants` | vocabulary; every bound in one file |
//! | 1 | `jute` `wire` `format` `config` | bytes to typed records and back |
//! | 2 | `tree` `session` `auth` `pipeline` | replicated state; request to txn; txn to change |
//! | 3 | `zab` | election, discovery, synchronization, broadcast, quorums |
//! | 4 | `storage` | what to write, sync, keep, recover, purge |
//! | 5 | `server` | one server, still without IO |
//! | 6 | `runtime` | sockets, files, threads, clock |
//! | 1' | `client`, then `ops`; `tools` | the operator's half, beside 2 to 6 |
//! | 7 | `cli` | flags, output, prompts, exit codes |

// floor 0
pub mod ids;
pub mod keyed_map;
pub mod limits;
pub mod mutants;
pub mod prng;
pub mod time;
pub mod zxid;

// floor 1
pub mod config;
pub mod format;
pub mod jute;
pub mod wire;

// floor 2
pub mod auth;
pub mod pipeline;
pub mod session;
pub mod tree;

// floor 3
pub mod zab;

// floor 4
pub mod storage;

// floor 5
pub mod server;

// floor 6
pub mod runtime;

// floor 1': the operator's half
pub mod client;
pub mod ops;
pub mod tools;

// floor 7
pub mod cli;
