//! The ledger of proof: what each run tried and found, one JSON object a line, from which
//! `docs/reliability.md` is made. It names the state of `src` that was tried by its hash.
//!
//! A run is written down only where `PROOF_LEDGER` names the file, as `make soak` does.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes a run down: its kind (`simulation`, `mutant`, `kills` ...), what it was a run of (a mutant, a workload,
/// a fuzz target; may be empty), and counts that add up over runs. A count of a fault is named `fault: KIND`.
pub(crate) fn record<'a>(kind: &str, of: &str, counts: impl IntoIterator<Item = (&'a str, u64)>) {
    let Some(path) = std::env::var_os("PROOF_LEDGER") else { return };
    let counts: Map<String, Value> = counts.into_iter().map(|(k, n)| (k.to_owned(), json!(n))).collect();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let line = json!({ "at": at, "kind": kind, "of": of, "src": src_hash(), "counts": counts });
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    // One write: runs beside each other do not mix their lines.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The first twelve digits of a SHA-256 over the names and contents of all files of `src`, as they were when
/// this was first asked.
pub(crate) fn src_hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(hash_sources)
}

fn hash_sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut sum = Sha256::new();
    for file in files {
        sum.update(file.strip_prefix(&root).unwrap().to_str().unwrap());
        sum.update([0]);
        let bytes = fs::read(&file).unwrap();
        sum.update((bytes.len() as u64).to_be_bytes());
        sum.update(bytes);
    }
    sum.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
