//! A directory with files changed, cut, exchanged or gone: recovery gives a tree that there once was, or says
//! what is wrong. What was durable is never dropped without a word.

use super::database::Database;
use super::stage::recovery_options;
use super::{Target, draw};
use std::cell::RefCell;
use std::collections::BTreeMap;
use zkctl::prng::Prng;
use zkctl::storage::{self, Recovered};
use zkctl::zab::Trust;

pub(crate) const TARGET: Target =
    Target { name: "recovery", run, sample, memory: (1 << 16, 32 << 20), runs: 1500 };

/// Bytes of an edit: file, kind, offset (2), length, value.
const EDIT: usize = 6;

thread_local! {
    static MADE: RefCell<BTreeMap<u64, Database>> = const { RefCell::new(BTreeMap::new()) };
}

/// The first byte says which database; the others are edits.
pub(crate) fn run(data: &[u8]) {
    let Some((seed, edits)) = data.split_first() else { return };
    let seed = u64::from(seed % 16);
    let original = MADE.with_borrow_mut(|m| m.entry(seed).or_insert_with(|| Database::make(seed)).clone());
    let mut changed = original.clone();
    for edit in edits.chunks_exact(EDIT).take(8) {
        apply(&mut changed, edit);
    }
    let sound_sidecars = original.files.iter().all(|(file, bytes)| {
        let whole = changed.files.iter().any(|(f, b)| f == file && b == bytes);
        !file.name.starts_with("zkctl.") || whole
    });
    if let Ok(recovered) = storage::recover(&mut changed.disk(), &recovery_options()) {
        judge(&original, &recovered, sound_sidecars);
    }
    if let Ok(recovered) = storage::recover_repairable(&mut changed.disk(), &recovery_options()) {
        judge(&original, &recovered, sound_sidecars);
    }
}

fn judge(original: &Database, recovered: &Recovered, sound_sidecars: bool) {
    let last = recovered.tree.last_zxid().0;
    let was = original.digests.get(&last);
    assert_eq!(was, Some(&recovered.tree.digest()), "the tree at {last:#x} is none that there was");
    let newest = *original.digests.keys().next_back().unwrap();
    if sound_sidecars && recovered.zab.trust == Trust::Trusted {
        assert_eq!(last, newest, "what was durable is gone: {:?}", recovered.notes);
    }
}

fn apply(database: &mut Database, edit: &[u8]) {
    if database.files.is_empty() {
        return;
    }
    let index = usize::from(edit[0]) % database.files.len();
    let other = usize::from(edit[5]) % database.files.len();
    let bytes = &mut database.files[index].1;
    let len = bytes.len();
    let at = usize::from(u16::from_be_bytes([edit[2], edit[3]])) % len.max(1);
    let block = at..(at + usize::from(edit[4])).min(len);
    match edit[1] % 9 {
        0 | 1 if len > 0 => bytes[at] ^= 1 << (edit[5] % 8),
        2 if len > 0 => bytes[at] = edit[5],
        3 => bytes.truncate(at),
        4 => bytes[block].fill(0),
        5 => drop(bytes.drain(block)),
        6 => {
            let copy = bytes[block].to_vec();
            bytes.splice(at..at, copy);
        }
        7 => bytes.extend(std::iter::repeat_n(edit[5], usize::from(edit[4]))),
        // Two files of a directory exchanged.
        8 if database.files[index].0.dir == database.files[other].0.dir => {
            let mine = std::mem::take(&mut database.files[index].1);
            let theirs = std::mem::replace(&mut database.files[other].1, mine);
            if index != other {
                database.files[index].1 = theirs;
            } else {
                database.files[index].1 = database.files[other].1.clone();
            }
        }
        _ => {}
    }
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = vec![prng.next_u64() as u8];
    for _ in 0..prng.between(1, 3) {
        let offset = draw::of(prng, &[16, 64, 700, 4000]);
        let offset = prng.below(offset) as u16;
        out.extend([prng.next_u64() as u8, prng.next_u64() as u8]);
        out.extend(offset.to_be_bytes());
        out.extend([prng.below(60) as u8, prng.next_u64() as u8]);
    }
    out
}
