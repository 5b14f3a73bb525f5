//! Reaching hosts: the user's own ssh, or this machine itself; commands, uploads, locks, facts.
//!
//! Every argument is quoted by the transport; scripts are constant and take values as positional
//! parameters. Deliberately absent: what to run when.

mod command;
mod explain;
mod facts;
mod fleet;
mod lock;
mod ssh;
mod ssh_config;
mod upload;

pub use command::{Command, Input, Output};
pub use facts::{NodeView, Unreachable};
pub use fleet::Fleet;
pub use lock::{HostLock, LockError};
pub use ssh::{Remote, RemoteError, Target};
pub use upload::{Release, ReleaseError};
