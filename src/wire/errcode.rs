//! Error codes of replies and error txns (`KeeperException.Code`).

use std::fmt;

/// An error code as on the wire; numbers the original does not name are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ErrorCode(pub i32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: ErrorCode = ErrorCode($number);)*

            /// The original's name of it without underscores; `None` for a number without a name.
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $($number => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

codes! {
    /// No error.
    OK = 0;
    /// System errors begin here.
    SYSTEMERROR = -1;
    /// What an op of a failed multi gets when another one was the culprit.
    RUNTIMEINCONSISTENCY = -2;
    /// Never sent by the server.
    DATAINCONSISTENCY = -3;
    /// Made by clients.
    CONNECTIONLOSS = -4;
    /// A request that cannot be decoded.
    MARSHALLINGERROR = -5;
    /// An operation this server does not offer.
    UNIMPLEMENTED = -6;
    /// Made by clients.
    OPERATIONTIMEOUT = -7;
    /// A path or flag that is not allowed.
    BADARGUMENTS = -8;
    /// Internal to the session trackers.
    UNKNOWNSESSION = -12;
    /// Reconfig: no quorum of the new members is connected and synchronised.
    NEWCONFIGNOQUORUM = -13;
    /// Reconfig: another one is under way.
    RECONFIGINPROGRESS = -14;
    /// User errors have codes below this one.
    APIERROR = -100;
    /// The znode does not exist.
    NONODE = -101;
    /// The ACL does not allow it.
    NOAUTH = -102;
    /// The version is not the expected one.
    BADVERSION = -103;
    /// Ephemerals cannot have children.
    NOCHILDRENFOREPHEMERALS = -108;
    /// The znode exists.
    NODEEXISTS = -110;
    /// The znode has children.
    NOTEMPTY = -111;
    /// The session is over.
    SESSIONEXPIRED = -112;
    /// Made by clients.
    INVALIDCALLBACK = -113;
    /// An ACL that cannot be.
    INVALIDACL = -114;
    /// `addauth` failed; the connection is closed behind it.
    AUTHFAILED = -115;
    /// The session is served by another server now; the connection is closed without a reply.
    SESSIONMOVED = -118;
    /// A write to a read-only server.
    NOTREADONLY = -119;
    /// An ephemeral for a local session that may not be upgraded.
    EPHEMERALONLOCALSESSION = -120;
    /// checkWatches and removeWatches: no such watch.
    NOWATCHER = -121;
    /// Made by clients.
    REQUESTTIMEOUT = -122;
    /// `reconfigEnabled` is off.
    RECONFIGDISABLED = -123;
    /// SASL is required and was not done.
    SESSIONCLOSEDREQUIRESASLAUTH = -124;
    /// A hard quota is reached.
    QUOTAEXCEEDED = -125;
    /// The request waited too long in a queue.
    THROTTLEDOP = -127;
}

impl ErrorCode {
    /// Whether there is no error.
    pub fn is_ok(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_names() {
        assert_eq!(ErrorCode(-101).to_string(), "NONODE");
        assert_eq!(ErrorCode(-126).to_string(), "error -126");
        assert!(ErrorCode::OK.is_ok() && !ErrorCode::NONODE.is_ok());
    }
}
