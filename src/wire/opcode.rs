//! Operation codes: of client requests, and of txns, which share the numbers.

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// What a request asks for or a txn does, by its number on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$doc])* $name = $number,)* }

        impl OpCode {
            /// The operation of a number; `None` when there is none.
            pub fn from_wire(number: i32) -> Option<OpCode> {
                match number { $($number => Some(OpCode::$name),)* _ => None }
            }

            /// The original's name of it.
            pub fn name(self) -> &'static str {
                match self { $(OpCode::$name => $text,)* }
            }
        }
    };
}

opcodes! {
    /// Only from server to client.
    Notification = 0, "notification";
    /// Makes a znode; the reply holds its path.
    Create = 1, "create";
    /// Removes a znode.
    Delete = 2, "delete";
    /// Stat of a znode, or a watch for its birth.
    Exists = 3, "exists";
    /// Data and stat.
    GetData = 4, "getData";
    /// Replaces the data.
    SetData = 5, "setData";
    /// The ACL and stat.
    GetAcl = 6, "getACL";
    /// Replaces the ACL.
    SetAcl = 7, "setACL";
    /// Names of the children.
    GetChildren = 8, "getChildren";
    /// Waits until the server has caught up with the leader.
    Sync = 9, "sync";
    /// Keeps the session alive.
    Ping = 11, "ping";
    /// Names of the children, and stat.
    GetChildren2 = 12, "getChildren2";
    /// Compares a version; inside a multi only.
    Check = 13, "check";
    /// Several writes, all or none.
    Multi = 14, "multi";
    /// As create; the reply holds path and stat.
    Create2 = 15, "create2";
    /// Changes the ensemble's members.
    Reconfig = 16, "reconfig";
    /// Whether a watch is set.
    CheckWatches = 17, "checkWatches";
    /// Takes a watch back.
    RemoveWatches = 18, "removeWatches";
    /// Makes a container znode.
    CreateContainer = 19, "createContainer";
    /// The leader's own removal of an empty container.
    DeleteContainer = 20, "deleteContainer";
    /// Makes a znode with a time to live.
    CreateTtl = 21, "createTTL";
    /// Several reads in one request.
    MultiRead = 22, "multiRead";
    /// `addauth`.
    Auth = 100, "auth";
    /// Sets one-shot watches again after a reconnect.
    SetWatches = 101, "setWatches";
    /// One step of a SASL exchange.
    Sasl = 102, "sasl";
    /// Paths of the session's ephemerals.
    GetEphemerals = 103, "getEphemerals";
    /// How many znodes are below a path.
    GetAllChildrenNumber = 104, "getAllChildrenNumber";
    /// As setWatches, with persistent ones.
    SetWatches2 = 105, "setWatches2";
    /// Sets a persistent watch.
    AddWatch = 106, "addWatch";
    /// The identities of the connection.
    WhoAmI = 107, "whoAmI";
    /// Opens a session; internal.
    CreateSession = -10, "createSession";
    /// Ends a session.
    CloseSession = -11, "closeSession";
    /// A txn or a multi's result that failed.
    Error = -1, "error";
}

impl OpCode {
    /// Its number.
    pub fn wire(self) -> i32 {
        self as i32
    }

    /// Whether it becomes a txn.
    pub fn is_write(self) -> bool {
        use OpCode::*;
        matches!(
            self,
            Create
                | Create2
                | CreateContainer
                | CreateTtl
                | Delete
                | DeleteContainer
                | SetData
                | SetAcl
                | Reconfig
                | Multi
                | Check
                | CreateSession
                | CloseSession
        )
    }
}

/// Request ids with a meaning of their own.
pub mod xid {
    /// A watch event; server to client.
    pub const NOTIFICATION: i32 = -1;
    /// A ping and its answer.
    pub const PING: i32 = -2;
    /// `addauth` and its answer.
    pub const AUTH: i32 = -4;
    /// setWatches after a reconnect.
    pub const SET_WATCHES: i32 = -8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_operations_agree() {
        for number in -200..200 {
            if let Some(op) = OpCode::from_wire(number) {
                assert_eq!(op.wire(), number);
                assert!(!op.name().is_empty());
            }
        }
        assert_eq!(OpCode::from_wire(10), None);
        assert_eq!(OpCode::from_wire(-11), Some(OpCode::CloseSession));
    }
}
