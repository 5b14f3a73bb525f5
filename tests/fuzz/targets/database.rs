//! Databases that the product made, and what their trees were behind every txn.

use super::disk::SimDisk;
use super::stage::Stage;
use super::{client_stream, draw};
use std::collections::BTreeMap;
use zkctl::prng::Prng;
use zkctl::server::Event;
use zkctl::storage::{Dir, Disk, FileRef, read_all};

/// Files with their bytes, and the digest of the tree behind each zxid that it went through.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) files: Vec<(FileRef, Vec<u8>)>,
    pub(crate) digests: BTreeMap<u64, u64>,
}

impl Database {
    /// What a server leaves that served a client and stopped in order.
    pub(crate) fn make(seed: u64) -> Database {
        let mut prng = Prng::new(seed);
        let mut stage = Stage::standalone();
        let mut digests = BTreeMap::new();
        let mut note = |stage: &Stage| {
            let tree = stage.server(1).tree();
            digests.insert(tree.last_zxid().0, tree.digest());
        };
        note(&stage);
        stage.open_client(1, 1);
        let mut bytes = Vec::new();
        client_stream::hello(&mut bytes);
        stage.client_says(1, 1, &bytes);
        note(&stage);
        for xid in 1..30 {
            let mut bytes = Vec::new();
            draw::request(&mut prng, xid, &mut bytes);
            stage.client_says(1, 1, &bytes);
            note(&stage);
            if stage.clients[&(1, 1)].closed {
                break;
            }
        }
        stage.give(1, Event::Stop);
        Database { files: files(&mut stage.take_disk(1)), digests }
    }

    /// A disk that holds it.
    pub(crate) fn disk(&self) -> SimDisk {
        let mut disk = SimDisk::new();
        for (file, bytes) in &self.files {
            disk.write(file, 0, bytes).unwrap();
            disk.sync(file).unwrap();
            disk.sync_dir(file.dir).unwrap();
        }
        disk
    }
}

fn files(disk: &mut SimDisk) -> Vec<(FileRef, Vec<u8>)> {
    let mut out = Vec::new();
    for dir in [Dir::Data, Dir::Log] {
        for name in disk.list(dir).unwrap() {
            let file = FileRef { dir, name };
            let bytes = read_all(disk, &file).unwrap().unwrap();
            out.push((file, bytes));
        }
    }
    out
}
