//! The files of a data directory that both halves know: how logs and snapshots are named, and which of them
//! nothing needs any more.

use crate::zxid::Zxid;

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
pub fn all(names: &[String], prefix: &str) -> Vec<Zxid> {
    let mut zxids: Vec<_> = names.iter().filter_map(|n| parse(n, prefix)).collect();
    zxids.sort_unstable();
    zxids
}

/// Never fewer snapshots than these are kept, as the original insists.
pub const RETAIN_MIN: usize = 3;

/// What goes, given the snapshots (and whether each is whole) and the log segments, both ascending: snapshots
/// older than the newest `retain` whole ones, and segments whose records all lie at or below the oldest of these.
pub fn superfluous(snapshots: &[(Zxid, bool)], logs: &[Zxid], retain: usize) -> (Vec<Zxid>, Vec<Zxid>) {
    let retain = retain.max(RETAIN_MIN);
    let mut kept = snapshots.iter().rev().filter(|(_, whole)| *whole).map(|(zxid, _)| *zxid);
    let Some(oldest) = kept.nth(retain - 1) else { return (Vec::new(), Vec::new()) };
    let old: Vec<Zxid> = snapshots.iter().map(|(zxid, _)| *zxid).filter(|zxid| *zxid < oldest).collect();
    if old.is_empty() {
        return (Vec::new(), Vec::new());
    }
    // The segment that begins at or before the oldest kept snapshot may reach beyond it.
    let needed_from = logs.partition_point(|first| *first <= oldest).saturating_sub(1);
    (old, logs[..needed_from].to_vec())
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

    fn z(all: &[u64]) -> Vec<Zxid> {
        all.iter().copied().map(Zxid).collect()
    }

    fn whole(all: &[u64]) -> Vec<(Zxid, bool)> {
        all.iter().map(|zxid| (Zxid(*zxid), true)).collect()
    }

    #[test]
    fn every_log_that_a_kept_snapshot_needs_stays() {
        let (snapshots, logs) = superfluous(&whole(&[10, 20, 30, 40]), &z(&[1, 9, 15, 25, 35]), 3);
        assert_eq!(snapshots, z(&[10]));
        assert_eq!(logs, z(&[1, 9]), "log.15 may reach beyond snapshot.20");
    }

    #[test]
    fn fewer_than_three_are_never_left() {
        assert_eq!(superfluous(&whole(&[1, 2, 3]), &z(&[1]), 1), (vec![], vec![]));
        assert_eq!(superfluous(&whole(&[1, 2, 3, 4]), &z(&[1]), 1), (z(&[1]), vec![]));
    }

    #[test]
    fn one_that_is_not_whole_does_not_count_and_goes_when_it_is_older_than_those_kept() {
        let mut snapshots = whole(&[5, 10, 20, 30, 40]);
        (snapshots[0].1, snapshots[3].1) = (false, false);
        assert_eq!(superfluous(&snapshots, &[], 3), (z(&[5]), vec![]));
        snapshots[1].1 = false;
        assert_eq!(
            superfluous(&snapshots, &[], 3),
            (vec![], vec![]),
            "two whole ones are too few to drop any"
        );
    }
}
