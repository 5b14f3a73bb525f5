//! A snapshot's bytes, and a SNAP's, which has no checksum: the same in one piece or in many, refused or a
//! tree that is written and read again to the same.

use super::Target;
use super::database::Database;
use zkctl::format::snapshot::{self, Verifier};
use zkctl::prng::Prng;
use zkctl::storage::Dir;
use zkctl::tree::{Loader, Tree, TreeOptions};
use zkctl::zxid::Zxid;

pub(crate) const TARGET: Target =
    Target { name: "snapshot_file", run, sample, memory: (2048, 1 << 20), runs: 20_000 };

const OPTIONS: TreeOptions = TreeOptions { seed: 7, extended_types: true };

pub(crate) fn run(data: &[u8]) {
    let Some(body) = data.get(snapshot::HEADER_LEN..) else { return };
    let whole = load(body, usize::MAX);
    let parts = load(body, 50);
    assert_eq!(whole.is_some(), parts.is_some(), "in one piece and in many");
    let (Some((mut tree, used)), Some((other, _))) = (whole, parts) else { return };
    assert_eq!(tree.digest(), other.digest());
    if let Ok(mut verifier) = Verifier::begin(&data[..snapshot::HEADER_LEN]) {
        verifier.cover(&body[..used]);
        let _ = verifier.tail(&body[used..]);
    }
    if tree.unresolved_acls() > 0 {
        return;
    }
    let mut again = Vec::new();
    let cursor = tree.open_cursor(std::iter::empty());
    while !tree.read_cursor(cursor, 64, &mut again) {}
    let (read, used) = load(&again, usize::MAX).expect("what we write we read");
    assert_eq!(used, again.len());
    assert_eq!((read.digest(), read.node_count()), (tree.digest(), tree.node_count()));
}

/// The tree, and how many bytes it took; `None` when they are none. `piece` bytes arrive at a time.
fn load(bytes: &[u8], piece: usize) -> Option<(Tree, usize)> {
    let mut loader = Loader::new(OPTIONS, bytes.len() as u64);
    let (mut from, mut to) = (0usize, 0usize);
    loop {
        to = to.saturating_add(piece).min(bytes.len());
        let progress = loader.push(&bytes[from..to]).ok()?;
        from += progress.consumed;
        if progress.done {
            return Some((loader.finish(Zxid(9)).ok()?.0, from));
        }
        if to == bytes.len() {
            return None;
        }
    }
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    // Made once: a server for every sample would be all that is measured.
    thread_local! {
        static MADE: Vec<Vec<u8>> = (0..8).map(whole).collect();
    }
    MADE.with(|made| made[prng.below(8) as usize].clone())
}

/// The tree of a database as a snapshot file.
fn whole(seed: u64) -> Vec<u8> {
    let database = Database::make(seed);
    assert!(database.files.iter().any(|(f, _)| f.dir == Dir::Data && f.name.starts_with("snapshot.")));
    let options = super::stage::recovery_options();
    let recovered = zkctl::storage::recover(&mut database.disk(), &options).unwrap();
    let mut tree = recovered.tree;
    let mut out = Vec::new();
    let mut writer = snapshot::Writer::begin(&mut out);
    let from = out.len();
    let cursor = tree.open_cursor(std::iter::empty());
    while !tree.read_cursor(cursor, 64, &mut out) {}
    writer.cover(&out[from..]);
    let digest = tree.digest();
    writer.finish(&mut out, tree.last_zxid(), digest);
    out
}
