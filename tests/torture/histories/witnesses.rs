//! The committed sequence, read back from the servers' txn logs by the product's reader.
//!
//! A server that was given a snapshot has a hole in its log; another has what it lacks. All logs must hold
//! the same bytes under the same zxid, and together they are one sequence without holes.

use crate::history::Witness;
use crate::server::Server;
use std::collections::BTreeMap;
use std::fs;
use zkctl::format::txn_log;

/// The records of one server's logs by zxid.
type Log = BTreeMap<i64, Vec<u8>>;

/// The sequence of servers that do not run any more, and how many records were compared.
///
/// # Errors
/// Where the logs disagree.
pub(crate) fn read(servers: &[Server]) -> Result<(Vec<Witness>, u64), String> {
    let logs = servers.iter().map(log_of).collect::<Result<Vec<_>, _>>()?;
    merge(&logs)
}

fn log_of(server: &Server) -> Result<Log, String> {
    let mut log = Log::new();
    for path in server.files("log.") {
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let start = txn_log::HEADER_LEN;
        let Some(rest) = bytes.get(start..) else { continue };
        txn_log::read_header(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut last = i64::MIN;
        for (_, body) in txn_log::Records::new(rest, start as u64) {
            let zxid = Witness::of(body).map_err(|e| e.to_string())?.zxid;
            if zxid <= last {
                return Err(format!("TotalOrder: {}: {zxid:#x} behind {last:#x}", path.display()));
            }
            last = zxid;
            if log.insert(zxid, body.to_vec()).is_some_and(|other| other != body) {
                return Err(format!("Agreement: {}: two txns {zxid:#x}", path.display()));
            }
        }
    }
    Ok(log)
}

/// One sequence of all logs.
pub(crate) fn merge(logs: &[Log]) -> Result<(Vec<Witness>, u64), String> {
    let mut all: BTreeMap<i64, &[u8]> = BTreeMap::new();
    let mut compared = 0;
    for (zxid, body) in logs.iter().flatten() {
        match all.insert(*zxid, body) {
            Some(other) if other != body => return Err(format!("Agreement: two txns {zxid:#x}")),
            Some(_) => compared += 1,
            None => {}
        }
    }
    // Whoever has the txn before and the txn behind has all between, or was given a snapshot: then somebody
    // else has them. A txn that only one has, inside the others' range, was never decided.
    let zxids: Vec<i64> = all.keys().copied().collect();
    for pair in zxids.windows(2) {
        let same_epoch = pair[0] >> 32 == pair[1] >> 32;
        if same_epoch && pair[1] != pair[0] + 1 {
            return Err(format!("LocalPrimaryOrder: {:#x} behind {:#x}", pair[1], pair[0]));
        }
        if !same_epoch && pair[1] & 0xffff_ffff != 1 {
            return Err(format!("PrimaryIntegrity: epoch begins with {:#x}", pair[1]));
        }
    }
    for log in logs {
        extras(log, logs, &zxids)?;
    }
    Ok((
        all.values().map(|body| Witness::of(body)).collect::<Result<_, _>>().map_err(|e| e.to_string())?,
        compared,
    ))
}

/// What stands only in one log, before what it shares with others again, lost its way and was not cut off.
fn extras(log: &Log, logs: &[Log], zxids: &[i64]) -> Result<(), String> {
    if logs.len() == 1 {
        return Ok(());
    }
    let newest = zxids.last().copied().unwrap_or(0) >> 32;
    let others = |zxid: &i64| logs.iter().filter(|l| l.contains_key(zxid)).count();
    match log.keys().find(|zxid| *zxid >> 32 < newest && others(zxid) == 1) {
        Some(zxid) => Err(format!("Agreement: {zxid:#x} is in one log alone")),
        None => Ok(()),
    }
}
