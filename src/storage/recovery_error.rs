//! Why a database is refused as it lies there: what is wrong, where, and what an operator can do.

use crate::zxid::{Epoch, Zxid};
use thiserror::Error;

/// Why a database cannot be used as it lies there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecoveryError {
    /// Bytes that were durable are damaged.
    #[error(
        "{file} is corrupt at offset {offset}: {why}. Everything up to offset {durable} was on disk, so this \
         is no torn tail; restore the file, or move the whole data directory away and let the server \
         synchronise from the others"
    )]
    Corrupt {
        /// The segment.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong.
        why: String,
        /// How far it was known to be durable.
        durable: u64,
    },
    /// A record is missing between two others.
    #[error(
        "{file}: zxid {got} follows {after}: a part of the log is missing; bring the deleted log files back, \
         or move the whole data directory away and let the server synchronise from the others"
    )]
    Gap {
        /// The segment.
        file: String,
        /// The last zxid before the gap.
        after: Zxid,
        /// The one behind it.
        got: Zxid,
    },
    /// Logs without any snapshot that can be read.
    #[error(
        "there are log files or snapshots, but no snapshot that can be read ({why}); bring one back, or set \
         snapshot.trust.empty=true if this database never had one (ZooKeeper 3.4)"
    )]
    NoSnapshot {
        /// What was wrong with those there are.
        why: String,
    },
    /// A snapshot that cannot be read, and a log that cannot stand in for it.
    #[error(
        "{file} cannot be read, and the log does not hold what led to it (its last zxid before is {last}); \
         restore the file, or move the whole data directory away and let the server synchronise from the others"
    )]
    Unbridged {
        /// The snapshot.
        file: String,
        /// The last zxid that can be read in front of it.
        last: Zxid,
    },
    /// The segment in which the log went on is not there any more.
    #[error(
        "{file} is missing, and the log was on disk up to offset {offset} of it; bring it back, or move the whole \
         data directory away and let the server synchronise from the others (remove zkctl.durable if another \
         server has cut the log on purpose)"
    )]
    Missing {
        /// The segment.
        file: String,
        /// How far it was durable.
        offset: u64,
    },
    /// Data directory and log directory do not belong together.
    #[error("{0}; {advice}", advice = .0.advice())]
    LogDirectory(LogDirectory),
    /// A record that no server would have written.
    #[error("{file}: the txn {zxid} cannot be applied: {why}")]
    Txn {
        /// The segment.
        file: String,
        /// Which txn.
        zxid: Zxid,
        /// Why.
        why: String,
    },
    /// A znode whose ACL no part of the history tells (ZOOKEEPER-4846, -4689).
    #[error(
        "{count} znodes have an ACL that the snapshot does not hold and the log does not bring; move the data \
         directory away and let the server synchronise from the others"
    )]
    Acl {
        /// How many.
        count: usize,
    },
    /// An epoch file that is none.
    #[error("{file} does not hold an epoch but {text:?}; write the right number into it")]
    Epoch {
        /// The file.
        file: String,
        /// Its content.
        text: String,
    },
    /// Epoch files that no server can have written both.
    #[error(
        "acceptedEpoch holds {accepted} and currentEpoch {current}, though an epoch is accepted before it is \
         entered; write the right numbers into them"
    )]
    Epochs {
        /// `acceptedEpoch`.
        accepted: Epoch,
        /// `currentEpoch`.
        current: Epoch,
    },
    /// The file that says what was promised to which epoch's leader is not there any more.
    #[error("acceptedEpoch is missing, and with it what this server has promised; bring it back")]
    NoPromise,
}

impl RecoveryError {
    /// What is wrong, without what to do about it.
    pub(super) fn damage(&self) -> String {
        match self {
            RecoveryError::Corrupt { file, offset, why, .. } => {
                format!("{file} is corrupt at offset {offset}: {why}")
            }
            RecoveryError::Gap { file, after, got } => {
                format!("{file}: zxid {got} follows {after}: a part of the log is missing")
            }
            RecoveryError::NoSnapshot { why } => format!("no snapshot can be read ({why})"),
            RecoveryError::Missing { file, .. } => format!("{file}, the end of the log, is missing"),
            RecoveryError::LogDirectory(what) => what.to_string(),
            RecoveryError::Unbridged { file, last } => {
                format!("{file} cannot be read, and the log goes to {last} only before it")
            }
            RecoveryError::Txn { file, zxid, why } => {
                format!("{file}: the txn {zxid} cannot be applied: {why}")
            }
            RecoveryError::Acl { count } => format!("{count} znodes have an ACL that nothing tells"),
            RecoveryError::Epoch { file, text } => format!("{file} does not hold an epoch but {text:?}"),
            RecoveryError::Epochs { accepted, current } => {
                format!("acceptedEpoch holds {accepted}, less than currentEpoch's {current}")
            }
            RecoveryError::NoPromise => {
                "acceptedEpoch is missing, and with it what this server has promised".to_owned()
            }
        }
    }
}

/// How a log directory does not belong to its data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LogDirectory {
    /// It has none of the log behind the newest snapshot.
    #[error("the log directory (dataLogDir) was wiped, or is not the one that this database was used with")]
    Lost,
    /// It was lost once, and the database has been received anew since.
    #[error("the log directory (dataLogDir) is an older one of this database, which went on without it")]
    Older,
    /// It is another database's.
    #[error("the log directory (dataLogDir) belongs to another database than the data directory (dataDir)")]
    Another,
    /// There is a log directory, and nothing else.
    #[error(
        "the data directory (dataDir) is empty, and the log directory (dataLogDir) belongs to a database"
    )]
    DataLost,
}

impl LogDirectory {
    fn advice(self) -> &'static str {
        match self {
            LogDirectory::Lost | LogDirectory::Older => {
                "mount or bring back the one that was used last. If it is lost, and no other server has the \
                 database: remove zkctl.database from both; this server then knows nothing behind its newest snapshot"
            }
            LogDirectory::Another => {
                "set dataDir and dataLogDir to two that belong together, or move both away and let the server \
                 synchronise from the others"
            }
            LogDirectory::DataLost => {
                "mount or bring back the data directory. If it is lost, move the log directory away as well and let \
                 the server synchronise from the others"
            }
        }
    }
}
