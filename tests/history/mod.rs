//! Histories: what clients asked, what they were told and when; and what is checked about them.
//!
//! Shared by the simulator and the tests of real processes. `model` is a sequential ZooKeeper of its own,
//! which has nothing in common with the product's tree but the protocol; `replay` runs a history through it
//! in zxid order; `watches` follows each client's stream of replies and events; `linear` searches, key by
//! key, for an order that explains the answers, and trusts no zxid.

pub(crate) mod acl;
pub(crate) mod codec;
#[allow(dead_code, reason = "the simulator looks at every step and needs no search")]
pub(crate) mod linear;
pub(crate) mod model;
pub(crate) mod replay;
pub(crate) mod watches;

use acl::Acl;
use std::collections::{BTreeMap, BTreeSet};
use zkctl::auth::digest_id;
use zkctl::jute;
use zkctl::wire::reply::Stat;
use zkctl::wire::txn::{Txn, TxnRecord};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create {
        path: String,
        data: Vec<u8>,
        flags: i32,
        acl: Acl,
        with_stat: bool,
    },
    Delete {
        path: String,
        version: i32,
    },
    SetData {
        path: String,
        data: Vec<u8>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Acl,
        version: i32,
    },
    /// Inside a multi only.
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Op>),
    Exists {
        path: String,
        watch: bool,
    },
    GetData {
        path: String,
        watch: bool,
    },
    GetChildren {
        path: String,
        watch: bool,
        with_stat: bool,
    },
    GetAcl {
        path: String,
    },
    MultiRead(Vec<Op>),
    GetEphemerals {
        prefix: String,
    },
    CountBelow {
        path: String,
    },
    Sync {
        path: String,
    },
    Ping,
    AddWatch {
        path: String,
        recursive: bool,
    },
    CheckWatches {
        path: String,
        kind: WatcherType,
    },
    RemoveWatches {
        path: String,
        kind: WatcherType,
    },
    /// Of the scheme digest the proof is user and password.
    AddAuth {
        scheme: String,
        proof: String,
    },
    /// What a client registers again on a new connection.
    SetWatches(Registered),
    /// From an address that the client knows.
    WhoAmI {
        address: String,
    },
    NotOffered {
        what: NotOffered,
        path: String,
    },
    CloseSession,
}

impl Op {
    /// Adds whom it proves the client to be.
    pub(crate) fn prove(&self, proven: &mut Vec<String>) {
        if let Op::AddAuth { scheme, proof } = self {
            let id = digest_id(proof);
            if scheme == "digest" && !proven.contains(&id) {
                proven.push(id);
            }
        }
    }

    /// Whether it becomes a txn.
    pub(crate) fn is_write(&self) -> bool {
        matches!(
            self,
            Op::Create { .. }
                | Op::Delete { .. }
                | Op::SetData { .. }
                | Op::SetAcl { .. }
                | Op::Check { .. }
                | Op::Multi(_)
                | Op::NotOffered { .. }
                | Op::CloseSession
        )
    }
}

/// Which watches checkWatches and removeWatches mean, by the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatcherType {
    Children = 1,
    Data = 2,
    Any = 3,
    Persistent = 4,
    Recursive = 5,
}

impl WatcherType {
    pub(crate) const ALL: [WatcherType; 5] = [
        WatcherType::Children,
        WatcherType::Data,
        WatcherType::Any,
        WatcherType::Persistent,
        WatcherType::Recursive,
    ];

    pub(crate) fn means(self, other: WatcherType) -> bool {
        self == other || self == WatcherType::Any
    }
}

/// What is refused wherever it comes from, by a txn that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotOffered {
    /// Outside a multi.
    Check,
    Container,
    Ttl,
    Reconfig,
}

/// The watches a client holds, as it would set them again: paths by kind, and the last zxid it saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) since: i64,
    pub(crate) data: BTreeSet<String>,
    pub(crate) exist: BTreeSet<String>,
    pub(crate) child: BTreeSet<String>,
    pub(crate) persistent: BTreeSet<String>,
    pub(crate) recursive: BTreeSet<String>,
}

impl Registered {
    pub(crate) fn is_empty(&self) -> bool {
        [&self.data, &self.exist, &self.child, &self.persistent, &self.recursive].iter().all(|s| s.is_empty())
    }

    /// Everything that such a watch may be on.
    pub(crate) fn paths(&self) -> Vec<&String> {
        let sets = [&self.data, &self.exist, &self.child, &self.persistent, &self.recursive];
        sets.into_iter().flatten().collect()
    }

    fn remove(&mut self, path: &str, kind: WatcherType) {
        let sets = [
            (WatcherType::Data, &mut self.data),
            (WatcherType::Data, &mut self.exist),
            (WatcherType::Children, &mut self.child),
            (WatcherType::Persistent, &mut self.persistent),
            (WatcherType::Recursive, &mut self.recursive),
        ];
        for (_, set) in sets.into_iter().filter(|(of, _)| kind.means(*of)) {
            set.remove(path);
        }
    }

    /// What an answer leaves behind.
    pub(crate) fn learn(&mut self, op: &Op, outcome: &Outcome) {
        if let (Op::RemoveWatches { path, kind }, Outcome::Done) = (op, outcome) {
            return self.remove(path, *kind);
        }
        let (set, path) = match (op, outcome) {
            (Op::Exists { path, watch: true }, Outcome::Failed(model::NO_NODE)) => (&mut self.exist, path),
            (_, Outcome::Failed(_)) => return,
            (Op::GetData { path, watch: true } | Op::Exists { path, watch: true }, _) => {
                (&mut self.data, path)
            }
            (Op::GetChildren { path, watch: true, .. }, _) => (&mut self.child, path),
            (Op::AddWatch { path, recursive: false }, _) => (&mut self.persistent, path),
            (Op::AddWatch { path, recursive: true }, _) => (&mut self.recursive, path),
            _ => return,
        };
        set.insert(path.clone());
    }

    /// One-shot watches are over with their event, as in the original's client.
    pub(crate) fn heard(&mut self, kind: i32, path: &str) {
        if kind != model::CHILDREN_CHANGED {
            self.data.remove(path);
            self.exist.remove(path);
        }
        if matches!(kind, model::DELETED | model::CHILDREN_CHANGED) {
            self.child.remove(path);
        }
    }
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created {
        path: String,
        stat: Option<Stat>,
    },
    Stat(Stat),
    Data {
        data: Vec<u8>,
        stat: Stat,
    },
    Children {
        names: BTreeSet<String>,
        stat: Option<Stat>,
    },
    Acl {
        acl: Acl,
        stat: Stat,
    },
    Many(Vec<Outcome>),
    Paths(BTreeSet<String>),
    Count(i32),
    /// Schemes and users.
    Identities(Vec<(String, String)>),
    Done,
    Failed(i32),
}

impl Witness {
    /// Of a txn's bytes.
    pub(crate) fn of(bytes: &[u8]) -> Result<Witness, jute::Error> {
        let TxnRecord { header, txn, .. } = TxnRecord::decode(bytes)?;
        let error = |txn: &Txn<'_>| if let Txn::Error { err } = txn { err.0 } else { 0 };
        let err = match &txn {
            Txn::Multi(multi) => {
                multi.iter().map(|(_, part)| error(&part)).find(|err| *err != 0).unwrap_or(0)
            }
            single => error(single),
        };
        let (session, cxid, kind) = (header.session.0, header.cxid, header.op.wire());
        Ok(Witness { zxid: header.zxid.wire(), session, cxid, time: header.time, kind, err })
    }
}

impl Outcome {
    /// Why it was refused, of a multi its culprit's reason; 0 if it was not.
    pub(crate) fn error(&self) -> i32 {
        match self {
            Outcome::Failed(err) => *err,
            Outcome::Many(parts) => parts.iter().map(Outcome::error).find(|err| *err != 0).unwrap_or(0),
            _ => 0,
        }
    }
}

/// One request of one client.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) client: u64,
    pub(crate) session: i64,
    pub(crate) xid: i32,
    pub(crate) op: Op,
    /// What the client has proven to be on this connection: ids of the scheme digest.
    pub(crate) who: Vec<String>,
    /// When it was sent; any clock that all clients share.
    pub(crate) invoked: u64,
    /// The answer; none if the connection was lost first, and then nobody knows.
    pub(crate) returned: Option<Returned>,
}

#[derive(Clone, Debug)]
pub(crate) struct Returned {
    pub(crate) at: u64,
    /// Of the reply's header.
    pub(crate) zxid: i64,
    pub(crate) outcome: Outcome,
}

/// What a client's connections brought, in order.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// A connection was accepted; watches of earlier ones are gone.
    Connected,
    /// The answer to the request at this place of the history.
    Reply(usize),
    /// A watch event: its kind's number, its path, and the zxid of its header (-1 from setWatches).
    Event { kind: i32, path: String, zxid: i64 },
}

/// A txn of the committed sequence, without its content: where a request took its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) zxid: i64,
    pub(crate) session: i64,
    pub(crate) cxid: i32,
    /// The leader's wall clock.
    pub(crate) time: i64,
    /// The txn's type; -1 is an error txn.
    pub(crate) kind: i32,
    /// Of an error txn, or the culprit's in a multi that failed; else 0.
    pub(crate) err: i32,
}

/// All of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) records: Vec<Record>,
    /// Of each client.
    pub(crate) arrivals: BTreeMap<u64, Vec<Arrival>>,
    /// What clients have proven to be on the connections that they have now.
    proven: BTreeMap<u64, Vec<String>>,
}

impl History {
    /// Notes a request; the number is its place.
    pub(crate) fn invoke(&mut self, client: u64, session: i64, xid: i32, op: Op, at: u64) -> usize {
        let proven = self.proven.entry(client).or_default();
        let who = proven.clone();
        op.prove(proven);
        self.records.push(Record { client, session, xid, op, who, invoked: at, returned: None });
        self.records.len() - 1
    }

    pub(crate) fn returned(&mut self, place: usize, at: u64, zxid: i64, outcome: Outcome) {
        let record = &mut self.records[place];
        record.returned = Some(Returned { at, zxid, outcome });
        let client = record.client;
        self.arrived(client, Arrival::Reply(place));
    }

    pub(crate) fn arrived(&mut self, client: u64, arrival: Arrival) {
        if matches!(arrival, Arrival::Connected) {
            self.proven.remove(&client);
        }
        self.arrivals.entry(client).or_default().push(arrival);
    }
}
