//! Why a request failed.

use std::fmt;

use thiserror::Error;

/// An error code of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i32);

impl Code {
    /// The znode is not there.
    pub const NO_NODE: Code = Code(-101);
    /// The version given is not the znode's.
    pub const BAD_VERSION: Code = Code(-103);
    /// The znode is there already.
    pub const NODE_EXISTS: Code = Code(-110);
    /// The znode has children.
    pub const NOT_EMPTY: Code = Code(-111);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            -1 => "SYSTEMERROR",
            -2 => "RUNTIMEINCONSISTENCY",
            -5 => "MARSHALLINGERROR",
            -6 => "UNIMPLEMENTED",
            -8 => "BADARGUMENTS",
            -101 => "NONODE",
            -102 => "NOAUTH",
            -103 => "BADVERSION",
            -108 => "NOCHILDRENFOREPHEMERALS",
            -110 => "NODEEXISTS",
            -111 => "NOTEMPTY",
            -112 => "SESSIONEXPIRED",
            -114 => "INVALIDACL",
            -118 => "SESSIONMOVED",
            -119 => "NOTREADONLY",
            other => return write!(f, "error {other}"),
        };
        f.write_str(name)
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// The server answered with an error.
    #[error("the server answered {0}")]
    Server(Code),
    /// The connection was lost; whether the request was executed is not known.
    #[error("the connection was lost before the answer came")]
    ConnectionLoss,
    /// The session has ended on the servers' side.
    #[error("the session has expired")]
    Expired,
    /// Nothing answered in time; the last reason is kept.
    #[error("no answer within {ms} ms ({last})")]
    TimedOut {
        /// How long it was tried.
        ms: u64,
        /// What was seen last.
        last: String,
    },
    /// The client has been closed.
    #[error("the client is closed")]
    Closed,
    /// The server sent what is no answer.
    #[error("the server sent something that is no answer: {0}")]
    Malformed(String),
}
