//! Four-letter words: recognising them, and their answers as text in the original's shapes.
//!
//! Typed data goes in, text comes out; `srvr` is also read back (`report`), which is how operators learn a
//! server's state. Deliberately absent: where the data comes from, and words that nobody answers yet
//! (they are recognised all the same, so that they are refused instead of read as a frame).

mod report;

pub use report::{ClientLine, Latency, Mode, ReportError, ServerReport};

use std::fmt::Write;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A four-letter word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Word { $($(#[$doc])* $name,)* }

        /// All of them.
        pub const ALL: &[Word] = &[$(Word::$name,)*];

        impl Word {
            /// Its four letters.
            pub fn text(self) -> &'static str {
                match self { $(Word::$name => $text,)* }
            }
        }
    };
}

words! {
    /// The configuration.
    Conf = "conf";
    /// Connections in full.
    Cons = "cons";
    /// Resets the connections' counters.
    Crst = "crst";
    /// Sizes of the data directories.
    Dirs = "dirs";
    /// Sessions and ephemerals.
    Dump = "dump";
    /// The environment.
    Envi = "envi";
    /// The trace mask.
    Gtmk = "gtmk";
    /// Recent digests.
    Hash = "hash";
    /// Whether the server is read-only.
    Isro = "isro";
    /// Metrics.
    Mntr = "mntr";
    /// Whether the process answers.
    Ruok = "ruok";
    /// Resets the server's counters.
    Srst = "srst";
    /// The server's state.
    Srvr = "srvr";
    /// The server's state, with its clients.
    Stat = "stat";
    /// Sets the trace mask.
    Stmk = "stmk";
    /// Watches by session.
    Wchc = "wchc";
    /// Watches by path.
    Wchp = "wchp";
    /// A summary of watches.
    Wchs = "wchs";
}

/// Recognises a word at the front of a fresh connection's bytes: the word, and how many bytes it takes
/// with a line end (`\n` or `\r\n`) behind it, if one has come. `None` when the first four bytes are no
/// word, or fewer have come. No word is a legal frame length, so the two cannot be mixed up.
pub fn recognise(bytes: &[u8]) -> Option<(Word, usize)> {
    let letters = bytes.get(..4)?;
    let word = ALL.iter().copied().find(|w| w.text().as_bytes() == letters)?;
    let end = match &bytes[4..] {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => 0,
    };
    Some((word, 4 + end))
}

/// `ruok`'s answer, without a line end.
pub const IMOK: &str = "imok";
/// The answer of a server that has no leader, to every word but ruok, isro and envi.
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// The answer to a word that is not allowed.
pub fn refusal(word: Word) -> String {
    format!("{} is not executed because it is not in the whitelist.\n", word.text())
}

/// `isro`'s answer, without a line end: `None` for a server that is not serving.
pub fn isro(read_only: Option<bool>) -> &'static str {
    match read_only {
        Some(true) => "ro",
        Some(false) => "rw",
        None => "null",
    }
}

/// A metric's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric<'a> {
    /// A count or a gauge.
    Int(i64),
    /// An average.
    Float(f64),
    /// A name.
    Text(&'a str),
}

/// `mntr`'s answer: a line for each key, which is given without its prefix `zk_`.
pub fn mntr<'a>(metrics: impl IntoIterator<Item = (&'a str, Metric<'a>)>) -> String {
    let mut out = String::new();
    for (key, value) in metrics {
        // Writing to a String cannot fail.
        let _ = match value {
            Metric::Int(n) => writeln!(out, "zk_{key}\t{n}"),
            Metric::Float(x) => writeln!(out, "zk_{key}\t{x:?}"),
            Metric::Text(text) => writeln!(out, "zk_{key}\t{text}"),
        };
    }
    out
}

/// `envi`'s answer.
pub fn envi<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("Environment:\n");
    for (key, value) in entries {
        let _ = writeln!(out, "{key}={value}");
    }
    out
}

/// What `conf` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfReport<'a> {
    /// The client port; -1 for none.
    pub client_port: i32,
    /// The TLS client port; -1 for none.
    pub secure_client_port: i32,
    /// The snapshots' directory, `version-2` included.
    pub data_dir: &'a str,
    /// Its bytes.
    pub data_dir_size: u64,
    /// The logs' directory, `version-2` included.
    pub data_log_dir: &'a str,
    /// Its bytes.
    pub data_log_size: u64,
    /// `tickTime` in milliseconds.
    pub tick_time: u64,
    /// Connections per client address.
    pub max_client_cnxns: i32,
    /// The shortest session timeout in milliseconds.
    pub min_session_timeout: u64,
    /// The longest one.
    pub max_session_timeout: u64,
    /// The listener's backlog; -1 for the system's.
    pub listen_backlog: i32,
    /// The content of `myid`; 0 standalone.
    pub server_id: i64,
    /// What only members of an ensemble have.
    pub quorum: Option<QuorumConf<'a>>,
}

/// The part of `conf` that only members of an ensemble have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConf<'a> {
    /// In ticks.
    pub init_limit: u32,
    /// In ticks.
    pub sync_limit: u32,
    /// 3.
    pub election_alg: i32,
    /// Of this server; several are divided by `|`.
    pub election_port: &'a str,
    /// Of this server; several are divided by `|`.
    pub quorum_port: &'a str,
    /// Whether this server is an observer.
    pub observer: bool,
    /// The member list as it stands in `/zookeeper/config`.
    pub members: &'a str,
}

impl ConfReport<'_> {
    /// The answer to `conf`. It ends with the member list, without a line end of its own.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(out, "{key}={value}");
        };
        line("clientPort", &self.client_port);
        line("secureClientPort", &self.secure_client_port);
        line("dataDir", &self.data_dir);
        line("dataDirSize", &self.data_dir_size);
        line("dataLogDir", &self.data_log_dir);
        line("dataLogSize", &self.data_log_size);
        line("tickTime", &self.tick_time);
        line("maxClientCnxns", &self.max_client_cnxns);
        line("minSessionTimeout", &self.min_session_timeout);
        line("maxSessionTimeout", &self.max_session_timeout);
        line("clientPortListenBacklog", &self.listen_backlog);
        line("serverId", &self.server_id);
        if let Some(quorum) = &self.quorum {
            line("initLimit", &quorum.init_limit);
            line("syncLimit", &quorum.sync_limit);
            line("electionAlg", &quorum.election_alg);
            line("electionPort", &quorum.election_port);
            line("quorumPort", &quorum.quorum_port);
            line("peerType", &i32::from(quorum.observer));
            out.push_str("membership: \n");
            out.push_str(quorum.members);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_recognised_with_and_without_a_line_end() {
        assert_eq!(recognise(b"srvr"), Some((Word::Srvr, 4)));
        assert_eq!(recognise(b"ruok\n"), Some((Word::Ruok, 5)));
        assert_eq!(recognise(b"mntr\r\nx"), Some((Word::Mntr, 6)));
        assert_eq!(recognise(b"srv"), None);
        assert_eq!(recognise(b"\0\0\0\x2d"), None);
        for word in ALL {
            let as_length = i32::from_be_bytes(word.text().as_bytes().try_into().unwrap());
            assert!(as_length as usize > crate::limits::JUTE_MAX_BUFFER);
        }
    }

    #[test]
    fn a_refusal_names_the_word() {
        assert_eq!(refusal(Word::Dump), "dump is not executed because it is not in the whitelist.\n");
    }

    #[test]
    fn lines_of_mntr_and_envi() {
        let text = mntr([
            ("version", Metric::Text("3.9")),
            ("avg_latency", Metric::Float(0.0)),
            ("znode_count", Metric::Int(5)),
        ]);
        assert_eq!(text, "zk_version\t3.9\nzk_avg_latency\t0.0\nzk_znode_count\t5\n");
        assert_eq!(envi([("os.name", "Linux")]), "Environment:\nos.name=Linux\n");
    }
}
