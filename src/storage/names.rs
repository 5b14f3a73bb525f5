//! The names of files: `log.<hex>`, `snapshot.<hex>`, and ours, which Apache ignores.

use crate::zxid::Zxid;

/// `acceptedEpoch`, in the data directory.
pub(super) const ACCEPTED_EPOCH: &str = "acceptedEpoch";
/// `currentEpoch`, in the data directory.
pub(super) const CURRENT_EPOCH: &str = "currentEpoch";
/// Apache's mark of a directory that may begin empty (`zkServer-initialize.sh`), in the data directory's parent.
pub(super) const INITIALIZE: &str = "initialize";
/// Our record of how far the log is known to be durable, in the log directory.
pub(super) const DURABLE: &str = "zkctl.durable";
/// Our record of which segment we began last, in the log directory: a newer one was written by Apache.
pub(super) const BEGUN: &str = "zkctl.segment";
/// Our mark of a database that lost something, in the data directory.
pub(super) const UNTRUSTED: &str = "zkctl.untrusted";
/// A pre-zeroed segment that waits for its first record, in the log directory.
pub(super) fn spare_name(number: u64) -> String {
    format!("zkctl.spare.{number}.zkctl-tmp")
}

/// `log.<hex>`.
pub fn log_name(first: Zxid) -> String {
    format!("log.{:x}", first.0)
}

/// `snapshot.<hex>`.
pub fn snapshot_name(zxid: Zxid) -> String {
    format!("snapshot.{:x}", zxid.0)
}

/// The zxid in `prefix.<hex>`; `None` for any other name.
pub fn parse(name: &str, prefix: &str) -> Option<Zxid> {
    let hex = name.strip_prefix(prefix)?.strip_prefix('.')?;
    let plain = !hex.is_empty() && hex.len() <= 16 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(hex, 16).ok().map(Zxid)).flatten()
}

/// The zxids of all `prefix.<hex>` among names, ascending.
pub(super) fn all(names: &[String], prefix: &str) -> Vec<Zxid> {
    let mut zxids: Vec<_> = names.iter().filter_map(|n| parse(n, prefix)).collect();
    zxids.sort_unstable();
    zxids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_taken() {
        assert_eq!(parse("log.500000001", "log"), Some(Zxid(0x5_0000_0001)));
        for other in ["log.", "log.5.zkctl-tmp", "snapshot.5", "log.xyz", "log.11112222333344445", "logs.5"] {
            assert_eq!(parse(other, "log"), None, "{other}");
        }
        assert_eq!(all(&["log.b".into(), "log.1".into(), "x".into()], "log"), [Zxid(1), Zxid(0xb)]);
    }
}
