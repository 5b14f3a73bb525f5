//! What a server holds, read through its client port, and whether all hold the same.

use crate::client::{Client, get_body};
use crate::ensemble::Ensemble;
use std::collections::{BTreeMap, VecDeque};
use zkctl::jute::Reader;
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::reply::Stat;

/// Requests sent at once.
const PIECE: usize = 500;

/// Each server writes it for itself when it begins to serve, and its stat says when that was.
pub(crate) const CONFIG: &str = "/zookeeper/config";

/// Every znode of a server: data and stat as they came.
pub(crate) type Dump = BTreeMap<String, Vec<u8>>;

/// Reads a whole tree, after a sync.
#[track_caller]
pub(crate) fn dump(client: &mut Client) -> Dump {
    client.sync();
    let mut tree = Dump::new();
    let mut unread: VecDeque<String> = ["/".to_owned()].into();
    while !unread.is_empty() {
        let paths: Vec<_> = unread.drain(..unread.len().min(PIECE)).collect();
        let ask = |p: &String| [(OpCode::GetData, get_body(p)), (OpCode::GetChildren, get_body(p))];
        let requests: Vec<_> = paths.iter().flat_map(ask).collect();
        let replies = crate::state::until("a piece of the tree is read", || client.pipeline(&requests).ok());
        for (path, pair) in paths.into_iter().zip(replies.chunks_exact(2)) {
            assert_eq!((pair[0].err, pair[1].err), (ErrorCode::OK, ErrorCode::OK), "{path}");
            let slash = if path == "/" { "" } else { "/" };
            for child in Reader::new(&pair[1].body).strings().unwrap().iter() {
                unread.push_back(format!("{path}{slash}{child}"));
            }
            let mut body = pair[0].body.clone();
            if path == CONFIG {
                body.truncate(body.len() - Stat::LEN);
            }
            tree.insert(path, body);
        }
    }
    tree
}

/// The data of a znode in a dump.
pub(crate) fn data_of<'a>(dump: &'a Dump, path: &str) -> Option<&'a [u8]> {
    Reader::new(dump.get(path)?).buffer().ok()?
}

/// Reads the trees of all running servers and fails unless they are the same; returns the tree.
#[track_caller]
pub(crate) fn assert_equal(ensemble: &Ensemble) -> Dump {
    ensemble.wait_serving();
    let running = || ensemble.servers.iter().filter(|s| s.is_running());
    let dumps: Vec<_> = running().map(|s| dump(&mut Client::of(s.address()))).collect();
    for (index, other) in dumps.iter().enumerate().skip(1) {
        assert_same(&format!("servers 1 and {}", index + 1), &dumps[0], other);
    }
    for server in running() {
        let mismatches = server.metric("zk_digest_mismatches_count");
        assert_eq!(mismatches.as_deref(), Some("0"), "digests of the log and of the tree agree");
    }
    dumps.into_iter().next().unwrap()
}

/// Fails with what is different.
#[track_caller]
pub(crate) fn assert_same(which: &str, a: &Dump, b: &Dump) {
    assert!(a == b, "{which} differ: {}", difference(a, b));
}

fn difference(a: &Dump, b: &Dump) -> String {
    let mut all: Vec<_> = a.keys().chain(b.keys()).filter(|p| a.get(*p) != b.get(*p)).collect();
    all.sort();
    all.dedup();
    let show = |p: &&&String| format!("{p}: {:?} and {:?}", a.get(**p), b.get(**p));
    format!("{} znodes, such as {:?}", all.len(), all.iter().take(3).map(|p| show(&p)).collect::<Vec<_>>())
}
