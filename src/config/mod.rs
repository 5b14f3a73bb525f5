//! zoo.cfg and the dynamic file: text to typed configuration and back.
//!
//! | file | owns |
//! |---|---|
//! | `properties` | the Java properties dialect, with line numbers |
//! | `server_line` | one `server.N=` value, both ways |
//! | `members` | the member list as a whole, and the dynamic file's text |
//! | `server` | `ServerConfig` and the two steps that make one |
//! | `keys` | what each key sets |
//! | `defaults` | every default and every known key, in tables |
//! | `lint` | several files checked as one ensemble |
//! | `nearest` | "did you mean" |
//!
//! Deliberately absent: reading files (callers hand in texts), name resolution, and rendering,
//! which is the operator's.

mod defaults;
mod error;
mod keys;
pub mod lint;
mod members;
mod nearest;
mod properties;
mod server;
mod server_line;

#[cfg(test)]
mod tests;

pub use defaults::{DEFAULTS, Defaults, FOUR_LETTER_WORDS};
pub use error::{ConfigErrors, Problem};
pub use members::{MemberList, version_of_file_name};
pub use nearest::nearest;
pub use properties::{Entry, Properties, text_of};
pub use server::{
    Autopurge, ClientAddress, Draft, DynamicFile, MyId, ServerConfig, Whitelist, ZkctlSettings,
    my_id_from_text,
};
pub use server_line::{HostPort, Member, PeerAddress, Role, is_loopback};
