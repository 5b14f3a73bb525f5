//! The settings of servers that run over disks and links of memory, with time that is told: small and quick.

use zkctl::auth::AuthRules;
use zkctl::config::Whitelist;
use zkctl::ids::Sid;
use zkctl::server::{ConfFacts, PeerAddress, Settings};
use zkctl::storage::{RecoveryOptions, StorageOptions};
use zkctl::zab;
use zkctl::zxid::Zxid;

pub(crate) const ELECTION: u16 = 3888;
pub(crate) const QUORUM: u16 = 2888;
pub(crate) const TICK_MS: u64 = 200;

/// One server's; hosts are named by their ids. What a test draws it changes.
pub(crate) fn settings(
    me: i64,
    listed: impl IntoIterator<Item = i64>,
    voters: impl IntoIterator<Item = i64>,
    recovery: RecoveryOptions,
) -> Settings {
    let peer = |n: i64| PeerAddress { host: n.to_string(), quorum_port: QUORUM, election_port: ELECTION };
    Settings {
        me: Sid(me),
        members: listed.into_iter().map(|n| (Sid(n), peer(n))).collect(),
        tick_ms: TICK_MS,
        session_ms: (400, 8000),
        connections_per_ip: 0,
        connections: 0,
        outstanding_max: 1000,
        sessionless_ms: 10_000,
        frame_max: 1 << 20,
        slice: 512 << 10,
        txn_max: 2 << 20,
        leader_serves: true,
        rules: AuthRules::default(),
        whitelist: Whitelist::All,
        conf: ConfFacts::default(),
        version_line: "test".into(),
        environment: Vec::new(),
        config_text: ("version=0".into(), 0),
        seed: me as u64,
        began_wall_ms: 1_000_000,
        storage: storage_options(recovery, me as u64),
        zab: zab::Config {
            me: Sid(me),
            quorum: zab::Majority::new(voters.into_iter().map(Sid).collect()),
            standalone: false,
            config_text: "version=0".into(),
            config_version: 0,
            tick_ms: TICK_MS,
            init_limit: 10,
            sync_limit: 5,
            settle_ms: 200,
            resend_ms: (200, 2000),
            window: (100, 1 << 20),
            counter_max: Zxid::COUNTER_MAX,
        },
    }
}

/// Storage that does nothing by itself: snapshots are rare, nothing is prepared or purged.
pub(crate) fn storage_options(recovery: RecoveryOptions, seed: u64) -> StorageOptions {
    StorageOptions {
        snap_count: 1000,
        snap_bytes: u64::MAX,
        log_bytes: None,
        prealloc_bytes: 0,
        force_sync: true,
        purge: (3, 0),
        recovery,
        seed,
    }
}
