//! Every bound of the server in one place, each with its reason.

/// `jute.maxbuffer`'s default: the largest client frame and the largest field (0xfffff, as the original).
pub const JUTE_MAX_BUFFER: usize = 0xf_ffff;
/// Slack over `jute.maxbuffer` for txns read back from logs and peers (`jute.maxbuffer.extrasize`):
/// a txn is a little larger than the request it came from (ZOOKEEPER-3496).
pub const JUTE_EXTRA: usize = JUTE_MAX_BUFFER;
/// The largest txn that is made or taken from a peer, unless `jute.maxbuffer` says otherwise.
pub const TXN_BYTES_MAX: usize = JUTE_MAX_BUFFER + JUTE_EXTRA;
/// The largest record read back from a log, a snapshot or a SNAP. Not a setting: what another server
/// acknowledged under a larger `jute.maxbuffer` must be read; this only bounds a damaged length.
pub const RECORD_BYTES_MAX: usize = 512 << 20;
/// What the identities of one connection may take in a REQUEST: each goes along with every write.
pub const IDENTITIES_BYTES_MAX: usize = 64 << 10;
/// The largest ACL that is stored, in entries and bytes: `auth` expands to an entry per identity.
pub const ACL_ENTRIES_MAX: usize = 4096;
/// See `ACL_ENTRIES_MAX`.
pub const ACL_BYTES_MAX: usize = JUTE_MAX_BUFFER;
/// Proposals kept in memory for DIFF: the original keeps 500 (`zookeeper.commitLogCount`); more, so
/// that a learner which missed a restart's worth of small writes is served from memory.
pub const COMMITTED_WINDOW_TXNS: usize = 25_000;
/// Bytes the committed window may hold: txns of 1 MB must not eat the machine.
pub const COMMITTED_WINDOW_BYTES: usize = 16 << 20;
/// The largest message on an election link (the original's `PACKETMAXSIZE`).
pub const ELECTION_MESSAGE_MAX: usize = 1024 * 512;
/// First and longest interval of repeated notifications, in milliseconds. The original's goes up to a minute
/// (`zookeeper.fastleader.maxNotificationInterval`), which is how long an observer may then take to hear that
/// there is a leader again; a notification is some hundred bytes.
pub const NOTIFICATION_MS: (u64, u64) = (200, 3_200);
/// The longest address list in an election link's first message.
pub const ELECTION_HELLO_MAX: usize = 2048;
/// How long an accepted election link may stay without a hello. A server says it at once; the original
/// waits tickTime * syncLimit, which is this with its example configuration.
pub const ELECTION_HELLO_MS: u64 = 10_000;
/// Accepted election links without a hello; one more closes the oldest. A member needs one for the time of
/// a round trip, so more than a few are no members.
pub const ELECTION_SILENT_MAX: usize = 64;
/// Election links to servers that our member list does not name; one more closes the oldest. A server that
/// joins needs one until the list names it.
pub const ELECTION_UNLISTED_MAX: usize = 16;
/// Requests in flight above which those who have some among them are no longer read
/// (`zookeeper.globalOutstandingLimit`).
pub const GLOBAL_OUTSTANDING: usize = 1000;
/// Bytes a client connection may leave unread before it is no longer served reads.
pub const CLIENT_OUT_BYTES_MAX: usize = 4 << 20;
/// The largest answer to a multiRead: a few bytes may ask for the same megabyte thousands of times. No
/// client's own limit lets so much in.
pub const MULTI_READ_BYTES_MAX: usize = 64 << 20;
/// Bytes of one slice of a snapshot or a SNAP stream: about a millisecond's work.
pub const SNAPSHOT_SLICE: usize = 512 << 10;
/// Bytes queued for a peer beyond which SNAP transfers pause.
pub const PEER_OUT_BYTES_PAUSE: usize = 4 << 20;
/// Bytes queued for a learner beyond which it is cut off: it will synchronise again.
pub const PEER_OUT_BYTES_MAX: usize = 256 << 20;
/// Connections per client address (`maxClientCnxns`).
pub const CLIENT_CONNECTIONS_PER_IP: usize = 60;
/// How long a connection may stay without a session (`zookeeper.nio.sessionlessCnxnTimeout`).
pub const SESSIONLESS_MS: u64 = 10_000;
/// Backlog of the client listener; the original's 50 makes reconnect herds wait for SYN retries.
pub const LISTEN_BACKLOG: i32 = 4096;
/// Log preallocation (`zookeeper.preAllocSize`).
pub const LOG_PREALLOC_BYTES: u64 = 64 << 20;
/// Txns between snapshots (`zookeeper.snapCount`).
pub const SNAP_COUNT: u64 = 100_000;
/// How often the disk's room is measured. What is written meanwhile must fit above the hard reserve, so much
/// written asks earlier (`ROOM_BYTES_MIN` at least).
pub const ROOM_EVERY_MS: u64 = 1000;
/// See `ROOM_EVERY_MS`: near the reserve each megabyte is worth a look, which costs a system call.
pub const ROOM_BYTES_MIN: u64 = 1 << 20;
/// The hard reserve: two log batches (4 MB each) under way, a spare slice under way, and small files.
pub const ROOM_HARD_BYTES: u64 = 16 << 20;
/// On a small disk the reserve is no more than this part of it.
pub const ROOM_HARD_SHARE: u64 = 40;
/// On a small disk the soft mark, two segments and a snapshot elsewhere, is no more than this part of it.
pub const ROOM_SOFT_SHARE: u64 = 10;
/// Below the soft mark a segment is made ready in pieces of this part of its length.
pub const ROOM_SEGMENT_PART: u64 = 8;
/// A segment that is made ready only in part is a multiple of this.
pub const ROOM_SEGMENT_BLOCK: u64 = 64 << 10;
/// How long a candidate with little room waits for one with more before it stands itself; twice that without
/// any. A round of votes takes milliseconds, or `finalizeWait` beside an Apache server.
pub const ROOM_YIELD_MS: u64 = 600;
/// Znodes the tree's index is sized for before they are loaded; a larger image grows it on the way.
pub const LOAD_RESERVE_ZNODES: usize = 1 << 24;

const _: () = assert!(TXN_BYTES_MAX > JUTE_MAX_BUFFER && RECORD_BYTES_MAX > TXN_BYTES_MAX);
const _: () = assert!(PEER_OUT_BYTES_MAX > PEER_OUT_BYTES_PAUSE + TXN_BYTES_MAX);
