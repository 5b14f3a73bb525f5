//! Every default of a configuration in one const table, and every key by what becomes of it.
//!
//! Bounds of the server itself are in `limits`; here is what a zoo.cfg that says nothing means.

use crate::limits;

/// What holds when zoo.cfg is silent.
pub struct Defaults {
    /// `tickTime`, ms.
    pub tick_ms: u32,
    /// `initLimit` of a standalone server, ticks; an ensemble must say it.
    pub init_limit: u32,
    /// `syncLimit` of a standalone server, ticks; an ensemble must say it.
    pub sync_limit: u32,
    /// `minSessionTimeout` in ticks.
    pub min_session_ticks: u32,
    /// `maxSessionTimeout` in ticks.
    pub max_session_ticks: u32,
    /// `maxClientCnxns`.
    pub max_client_cnxns: u32,
    /// `autopurge.snapRetainCount`, which is also its least value.
    pub snap_retain_count: u32,
    /// `snapCount`.
    pub snap_count: u64,
    /// `snapSizeLimitInKb`.
    pub snap_size_limit_kb: i64,
    /// `txnLogSizeLimitInKb`; -1 is none.
    pub txn_log_size_limit_kb: i64,
    /// `preAllocSize`, KB.
    pub prealloc_kb: u64,
    /// `commitLogCount`, which is also its least value.
    pub commit_log_count: u32,
    /// `fsync.warningthresholdms`.
    pub fsync_warning_ms: u64,
    /// `jute.maxbuffer`.
    pub jute_max_buffer: u32,
    /// `globalOutstandingLimit`.
    pub global_outstanding: u32,
    /// `cnxTimeout`, ms.
    pub cnx_timeout_ms: u32,
    /// `electionPortBindRetry`.
    pub election_bind_retry: u32,
    /// `znode.container.checkIntervalMs`.
    pub container_check_ms: u64,
    /// `znode.container.maxPerMinute`.
    pub container_max_per_minute: u32,
    /// `nio.sessionlessCnxnTimeout`, ms.
    pub sessionless_ms: u64,
}

/// The table.
pub const DEFAULTS: Defaults = Defaults {
    tick_ms: 3000,
    init_limit: 10,
    sync_limit: 5,
    min_session_ticks: 2,
    max_session_ticks: 20,
    max_client_cnxns: limits::CLIENT_CONNECTIONS_PER_IP as u32,
    snap_retain_count: 3,
    snap_count: limits::SNAP_COUNT,
    snap_size_limit_kb: 4_194_304,
    txn_log_size_limit_kb: -1,
    prealloc_kb: limits::LOG_PREALLOC_BYTES >> 10,
    commit_log_count: 500,
    fsync_warning_ms: 1000,
    jute_max_buffer: limits::JUTE_MAX_BUFFER as u32,
    global_outstanding: limits::GLOBAL_OUTSTANDING as u32,
    cnx_timeout_ms: 5000,
    election_bind_retry: 3,
    container_check_ms: 60_000,
    container_max_per_minute: 10_000,
    sessionless_ms: limits::SESSIONLESS_MS,
};

/// Every four-letter word that was ever a command, so that a typing error in a whitelist is noticed.
pub const FOUR_LETTER_WORDS: &[&str] = &[
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "kill", "lead", "mntr", "reqs",
    "ruok", "srst", "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
];

/// Keys that set something here; for suggestions.
pub(super) const KNOWN: &[&str] = &[
    "4lw.commands.whitelist",
    "DigestAuthenticationProvider.digestAlg",
    "DigestAuthenticationProvider.enabled",
    "DigestAuthenticationProvider.superDigest",
    "autopurge.purgeInterval",
    "autopurge.snapRetainCount",
    "clientPort",
    "clientPortAddress",
    "clientPortListenBacklog",
    "closeSessionTxn.enabled",
    "cnxTimeout",
    "commitLogCount",
    "connectToLearnerMasterLimit",
    "dataDir",
    "dataLogDir",
    "datadir.autocreate",
    "db.autocreate",
    "digest.enabled",
    "dynamicConfigFile",
    "electionAlg",
    "electionPortBindRetry",
    "extendedTypesEnabled",
    "forceSync",
    "fsync.warningthresholdms",
    "globalOutstandingLimit",
    "initLimit",
    "jute.maxbuffer",
    "jute.maxbuffer.extrasize",
    "leaderServes",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "maxClientCnxns",
    "maxCnxns",
    "maxSessionTimeout",
    "minSessionTimeout",
    "multiAddress.enabled",
    "nio.sessionlessCnxnTimeout",
    "observerMasterPort",
    "peerType",
    "preAllocSize",
    "quorumListenOnAllIPs",
    "readonlymode.enabled",
    "reconfigEnabled",
    "secureClientPort",
    "secureClientPortAddress",
    "skipACL",
    "snapCount",
    "snapSizeLimitInKb",
    "snapshot.trust.empty",
    "standaloneEnabled",
    "syncEnabled",
    "syncLimit",
    "tickTime",
    "txnLogSizeLimitInKb",
    "zkctl.disk.hardMb",
    "zkctl.disk.softMb",
    "zkctl.session.keyFile",
    "znode.container.checkIntervalMs",
    "znode.container.maxPerMinute",
];

/// Keys of the original that tune parts which do not exist here; taken in silence. A trailing dot
/// stands for everything below.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
    "admin.",
    "bitHashCacheSize",
    "clientTcpKeepAlive",
    "commitProcessor.",
    "fastleader.",
    "fips-mode",
    "flushDelay",
    "follower.nodelay",
    "jvm.pause.",
    "largeRequestMaxBytes",
    "largeRequestThreshold",
    "leader.",
    "leaderConnectDelayDuringRetryMs",
    "learner.",
    "maxBatchSize",
    "maxGetChildrenResponseCacheSize",
    "maxInProcessingDeadWatchers",
    "maxResponseCacheSize",
    "maxWriteQueuePollTime",
    "messageTracker.",
    "multiAddress.",
    "netty.",
    "nio.",
    "observer.",
    "observerMaster.",
    "pathStats.",
    "quorum.cnxn.threads.size",
    "quorumCnxnTimeoutMs",
    "serializeLastProcessedZxid.enabled",
    "serverCnxnFactory",
    "snapshotSizeFactor",
    "sslQuorumReloadCertFiles",
    "tcpKeepAlive",
    "watchManagerName",
    "watcherCleanIntervalInSeconds",
    "watcherCleanThreadsNum",
    "watcherCleanThreshold",
];

/// Features of the original that are not here yet: taken with a warning, since somebody counts on them.
pub(super) const ABSENT: &[&str] = &[
    "IPAuthenticationProvider.",
    "X509AuthenticationProvider.",
    "allowSaslFailedClients",
    "audit.enable",
    "audit.impl.class",
    "authProvider.",
    "client.certReload",
    "client.portUnification",
    "connection_throttle_",
    "emulate353TTLNodes",
    "enableEagerACLCheck",
    "enforce.auth.",
    "enforceQuota",
    "ensembleAuthName",
    "kerberos.",
    "metricsProvider.",
    "portUnification",
    "quorum.auth.",
    "request_stale_",
    "request_throttle_",
    "sasl.serverconfig",
    "sessionRequireClientSASLAuth",
    "snapshot.compression.method",
    "ssl.",
    "superUser",
    "throttled_op_wait_time",
];

/// Whether a key is in one of the two tables above.
pub(super) fn listed(table: &[&str], key: &str) -> bool {
    table.iter().any(|known| if known.ends_with(['.', '_']) { key.starts_with(known) } else { key == *known })
}
