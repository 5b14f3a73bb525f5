//! Known bugs that can be put back one at a time, to prove that the tests would see them.
//!
//! Owns the closed list of them, each with its origin, and the question `on` that the line it breaks asks.
//! Without the feature `mutants` the answer is the constant `false`: the product holds neither a mutant nor
//! its name. With the feature a thread chooses one by `choose`. Deliberately absent: the tests that kill them.

#[cfg(feature = "mutants")]
use std::cell::Cell;

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal from $origin:literal,)+) => {
        /// One known bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $variant,)+
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All of them, in the order of the list.
            pub const ALL: &[Mutant] = &[$(Mutant::$variant),+];

            /// Its name at run time.
            pub const fn name(self) -> &'static str {
                match self { $(Mutant::$variant => $name),+ }
            }

            /// Whose bug it was.
            pub const fn origin(self) -> &'static str {
                match self { $(Mutant::$variant => $origin),+ }
            }
        }
    };
}

mutants! {
    // --- broadcast: what is acknowledged, decided and applied ---
    /// A follower acknowledges a proposal when it arrives, not when it is on its disk.
    AckBeforeFsync = "ack_before_fsync" from "ZOOKEEPER-3911, -4646",
    /// A leader counts itself for a proposal that is still on its way to its disk.
    LeaderCountsUnsynced = "leader_counts_unsynced" from "ZOOKEEPER-4646",
    /// What is decided is applied though our own disk does not hold it yet.
    AppliedAheadOfDisk = "applied_ahead_of_disk" from "ZOOKEEPER-4882",
    /// What is on our own disk is applied though nobody has decided it.
    AppliedAheadOfDecision = "applied_ahead_of_decision" from "ZOOKEEPER-790",
    /// One server less than a majority decides.
    MinorityDecides = "minority_decides" from "Zab, quorum durability",
    /// Observers count like voters.
    ObserversCounted = "observers_counted" from "Zab, quorums of voters",
    /// A leader that has lost its quorum stays in office.
    LeaderWithoutQuorumStays = "leader_without_quorum_stays" from "ZOOKEEPER-2247",
    /// A sync is answered without asking a quorum whether this leader still leads.
    SyncWithoutQuorum = "sync_without_quorum" from "ZOOKEEPER-1675",
    /// Behind the last counter of an epoch the zxid goes on into the next epoch.
    CounterWrapsIntoEpoch = "counter_wraps_into_epoch" from "ZOOKEEPER-1277",

    // --- election and discovery ---
    /// One server less than a majority elects, promises and establishes.
    MinorityIsQuorum = "minority_is_quorum" from "Zab, quorum intersection",
    /// The epoch in which a server last followed does not count in its vote, only its zxid.
    VoteIgnoresEpoch = "vote_ignores_epoch" from "ZOOKEEPER-1818",
    /// An election is fought with what is in memory while the disk is still writing it.
    ElectionBeforeDisk = "election_before_disk" from "ZOOKEEPER-3642, -5094, -4712",
    /// A wiped server votes and acknowledges as if it had never had anything.
    WipedServerVotes = "wiped_server_votes" from "Junqueira 2015, wiped data directory",
    /// A voter that was killed behind its first snapshot is not new any more, and nobody can vote.
    FirstSnapshotEndsNew = "first_snapshot_ends_new" from "zkctl, found by the simulator",
    /// An epoch is promised in memory only.
    AcceptedEpochNotWritten = "accepted_epoch_not_written" from "ZOOKEEPER-1653, -2307",
    /// A promise that was made to another leader counts again: the new epoch is chosen by the leader's own alone.
    PromiseCountedTwice = "promise_counted_twice" from "Zab, one leader per epoch",
    /// A leader does not wait for a quorum of ACKEPOCHs.
    PromisesNotAwaited = "promises_not_awaited" from "Zab, one leader per epoch",

    // --- synchronization ---
    /// A follower acknowledges NEWLEADER before what the leader sent is on its disk.
    NewLeaderAckedEarly = "new_leader_acked_early" from "ZOOKEEPER-3911",
    /// A leader serves without a quorum of ACKs of NEWLEADER.
    NewLeaderAcksNotAwaited = "new_leader_acks_not_awaited" from "ZOOKEEPER-335",
    /// currentEpoch is on disk before the history of that epoch.
    EpochBeforeHistory = "epoch_before_history" from "ZOOKEEPER-4643",
    /// A DIFF lacks the first txn that it should bring.
    DiffWithHole = "diff_with_hole" from "ZOOKEEPER-4925",
    /// After a SNAP and a restart, the window for DIFFs leads over the hole in the log.
    WindowOverSnapHole = "window_over_snap_hole" from "ZOOKEEPER-4925",
    /// A learner that is ahead of what is decided keeps its tail.
    AheadLearnerGetsDiff = "ahead_learner_gets_diff" from "ZOOKEEPER-3526, -4352",
    /// A learner whose old epoch ended otherwise keeps its tail.
    DivergedLearnerGetsDiff = "diverged_learner_gets_diff" from "ZOOKEEPER-4352",
    /// What was decided and not yet applied when a SNAP began is neither in it nor behind it.
    SnapPointAheadOfTree = "snap_point_ahead_of_tree" from "ZOOKEEPER-3104",
    /// Proposals go to learners only from their ACK of NEWLEADER on, not from their synchronization on.
    ForwardedAfterAck = "forwarded_after_ack" from "Zab TLA+, issue 1",
    /// What is decided between NEWLEADER and its ACK is not applied with UPTODATE.
    CommitWhileSettlingLost = "commit_while_settling_lost" from "Zab TLA+, issue 3",
    /// A received snapshot stays in memory and never gets its name on disk.
    SnapNotInstalled = "snap_not_installed" from "ZOOKEEPER-3642",
    /// The end of an abandoned SNAP stream is taken for the end of the next one.
    StaleIncomingEnd = "stale_incoming_end" from "ZOOKEEPER-4712, -4541",
    /// After a TRUNC the tree in memory keeps what was cut from the disk.
    TruncKeepsTree = "trunc_keeps_tree" from "ZOOKEEPER-5094, -2845",

    // --- storage: what a power cut or a bad disk finds ---
    /// The log is not synced before it counts as durable.
    LogNotSynced = "log_not_synced" from "ZOOKEEPER-4785",
    /// The directory is not synced behind a new segment's name.
    SegmentNameNotSynced = "segment_name_not_synced" from "ALICE; ZOOKEEPER has none",
    /// A snapshot gets its name before its bytes are synced.
    SnapshotNotSynced = "snapshot_not_synced" from "ZOOKEEPER-2872",
    /// The directory is not synced behind our own snapshot's name.
    SnapshotNameNotSynced = "snapshot_name_not_synced" from "ALICE; ClickHouse #111339",
    /// A small file, such as an epoch, gets its name before its bytes are synced.
    EpochNotSynced = "epoch_not_synced" from "ZOOKEEPER-2307, -1653",
    /// The directory is not synced behind a small file's name, such as an epoch's.
    EpochNameNotSynced = "epoch_name_not_synced" from "ZOOKEEPER-2354",
    /// A failed fsync is tried again, and its second answer believed.
    FailedSyncRetried = "failed_sync_retried" from "Rebello 2020",
    /// A server whose disk failed goes on.
    DiskFailureIgnored = "disk_failure_ignored" from "ZOOKEEPER-2247",
    /// A TRUNC that failed counts as done.
    FailedCutIgnored = "failed_cut_ignored" from "ZOOKEEPER-3701",
    /// A TRUNC cuts the txn that was to stay.
    TruncOneTooMany = "trunc_one_too_many" from "ZOOKEEPER-1154, -1156",
    /// A TRUNC leaves one txn too many.
    TruncOneTooFew = "trunc_one_too_few" from "ZOOKEEPER-1156",
    /// A TRUNC leaves snapshots that hold what it cut.
    TruncKeepsNewerSnapshot = "trunc_keeps_newer_snapshot" from "ZOOKEEPER-4837",
    /// After a TRUNC the next append goes to the offset from before.
    AppendAtStaleOffset = "append_at_stale_offset" from "ZOOKEEPER-1489",
    /// The mark of what is durable outlives the TRUNC of what it speaks of.
    MarkOutlivesCut = "mark_outlives_cut" from "zkctl, design",
    /// The mark of what is durable names what is still being written.
    MarkAheadOfDisk = "mark_ahead_of_disk" from "zkctl, design",
    /// A purge takes the segment that reaches beyond the newest snapshot.
    PurgeDropsNeededLog = "purge_drops_needed_log" from "ZOOKEEPER-3231",
    /// A pre-zeroed segment's name is used again while the first is being renamed.
    SpareNameReused = "spare_name_reused" from "zkctl, found by the simulator",

    // --- recovery ---
    /// A torn tail is left in place behind the log.
    TornTailKept = "torn_tail_kept" from "ZOOKEEPER-2560, -2561, -4744",
    /// Damage below what was durable is cut like a torn tail.
    CorruptionCutAsTorn = "corruption_cut_as_torn" from "Protocol-aware recovery, FAST 2018",
    /// A log record's checksum is not looked at.
    LogChecksumIgnored = "log_checksum_ignored" from "ZOOKEEPER-2560, -4744",
    /// A snapshot's checksum is not looked at.
    SnapshotChecksumIgnored = "snapshot_checksum_ignored" from "ZOOKEEPER-2872",
    /// What was read back after a kill is voted with though it may be in the page cache only.
    RecoveredNotSynced = "recovered_not_synced" from "Zab, durable credentials; ZOOKEEPER-790",
    /// Logs without any snapshot that can be read begin an empty tree.
    EmptyTreeWithLogs = "empty_tree_with_logs" from "ZOOKEEPER-2325, -3644, -3056",
    /// Behind an empty snapshot a log may begin anywhere.
    MissingBeginningIgnored = "missing_beginning_ignored" from "zkctl, found by the simulator",
    /// Txns that failed are not replayed, so that the end of the log is not where it was.
    ErrorTxnNotReplayed = "error_txn_not_replayed" from "ZOOKEEPER-2845",
    /// A log that is read back in a running server sweeps away what the other lane is writing.
    ReloadSweepsFiles = "reload_sweeps_files" from "zkctl, found by the simulator",

    // --- tree and snapshots ---
    /// A snapshot holds changes of txns behind its border.
    BeforeImageLost = "before_image_lost" from "ZOOKEEPER-3127",
    /// A snapshot lacks the sessions.
    SnapshotWithoutSessions = "snapshot_without_sessions" from "ZOOKEEPER-1367",
    /// closeSession leaves the session's ephemerals.
    CloseKeepsEphemerals = "close_keeps_ephemerals" from "ZOOKEEPER-1367, -2355",
    /// The parts before the culprit of a failed multi are applied.
    FailedMultiHalfApplied = "failed_multi_half_applied" from "ZOOKEEPER-3127",
    /// A delete does not move its parent's pzxid.
    DeleteKeepsPzxid = "delete_keeps_pzxid" from "ZOOKEEPER-3249",

    // --- requests ---
    /// setData and delete do not look at the expected version.
    ExpectedVersionIgnored = "expected_version_ignored" from "conditional updates",
    /// Sequence numbers count the children there are, so that deleted names come back.
    SequenceNameReused = "sequence_name_reused" from "ZOOKEEPER-3144, -3145",
    /// A read is answered before the writes of its session in front of it.
    ReadOvertakesWrite = "read_overtakes_write" from "ZOOKEEPER-1863",
    /// A client that has seen a later state than this server is taken.
    AheadClientAccepted = "ahead_client_accepted" from "single system image",

    // --- sessions ---
    /// A session that is closing may still create ephemerals.
    ClosingSessionMayWrite = "closing_session_may_write" from "ZOOKEEPER-1208",
    /// A session ends when half its timeout has passed.
    SessionExpiresEarly = "session_expires_early" from "ZOOKEEPER-1366",
    /// A learner does not tell the leader which of its clients gave a sign of life.
    TouchesNotRelayed = "touches_not_relayed" from "session liveness on learners",
    /// A session that is over is taken up again.
    ExpiredSessionTakenUp = "expired_session_taken_up" from "ClickHouse #116690, the other way",
    /// A session is handed to whoever knows its id.
    PasswordUnchecked = "password_unchecked" from "session passwords",

    // --- watches ---
    /// A one-shot watch stays when it has fired.
    OneShotFiresTwice = "one_shot_fires_twice" from "watches, at most once",
    /// A child watch does not hear of a child's end.
    ChildWatchMissesDelete = "child_watch_misses_delete" from "ZOOKEEPER-3145",
    /// A watch that was removed is still there.
    RemovedWatchStays = "removed_watch_stays" from "removeWatches",
    /// setWatches tells of changes of znodes that the client may not READ.
    HiddenChangeTold = "hidden_change_told" from "CVE-2024-23944",
    /// setWatches does not look at what has changed while the client was away.
    SetWatchesMissesChange = "set_watches_misses_change" from "ZOOKEEPER-3144, -3249",
}

#[cfg(feature = "mutants")]
thread_local! {
    static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether this bug is back: never in the product.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn on(_: Mutant) -> bool {
    false
}

/// Whether this bug is back in this thread.
#[cfg(feature = "mutants")]
pub fn on(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

/// Puts a bug back in this thread, in place of the one chosen before.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}

#[cfg(feature = "mutants")]
impl std::str::FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Mutant, String> {
        Mutant::ALL
            .iter()
            .copied()
            .find(|m| m.name() == name)
            .ok_or_else(|| format!("there is no mutant {name:?}"))
    }
}
