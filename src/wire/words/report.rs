//! What `srvr` and `stat` tell, written and read.
//!
//! Reading is tolerant of versions: lines it does not know are skipped, lines that older servers do not
//! have default, but a report without a mode is none.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use thiserror::Error as ThisError;

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It leads.
    Leader,
    /// It follows.
    Follower,
    /// It observes.
    Observer,
    /// It is alone by configuration.
    Standalone,
    /// It is cut off from the quorum and serves reads.
    ReadOnly,
}

impl Mode {
    const ALL: [Mode; 5] = [Mode::Leader, Mode::Follower, Mode::Observer, Mode::Standalone, Mode::ReadOnly];

    /// The mode of a name.
    pub fn parse(text: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|m| m.text() == text)
    }

    /// Its name on the wire.
    pub fn text(self) -> &'static str {
        match self {
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Observer => "observer",
            Mode::Standalone => "standalone",
            Mode::ReadOnly => "read-only",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Request latencies in milliseconds since the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// The shortest.
    pub min: i64,
    /// The mean.
    pub avg: f64,
    /// The longest.
    pub max: i64,
}

/// A connection as `stat` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLine {
    /// The client.
    pub peer: SocketAddr,
    /// What the server waits for on the socket: 1 to read, 4 to write.
    pub interest: u32,
    /// Requests under way.
    pub queued: i64,
    /// Packets received.
    pub received: i64,
    /// Packets sent.
    pub sent: i64,
}

/// What `srvr` tells.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerReport {
    /// Version, revision and build date: all that stands behind `Zookeeper version: `.
    pub version: String,
    /// Latencies.
    pub latency: Latency,
    /// Packets received.
    pub received: i64,
    /// Packets sent.
    pub sent: i64,
    /// Client connections.
    pub connections: i64,
    /// Requests under way.
    pub outstanding: i64,
    /// The last applied zxid.
    pub zxid: u64,
    /// What the server is.
    pub mode: Mode,
    /// Znodes, the root counted twice.
    pub node_count: i64,
    /// Bytes of the last, the smallest and the largest proposal; of a leader only; -1 before the first.
    pub proposal_sizes: Option<[i64; 3]>,
}

/// Why a server's answer is no report.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum ReportError {
    /// The process is up, but has no leader or is still loading.
    #[error("the server is not serving requests")]
    NotServing,
    /// The word is not allowed there.
    #[error("the server does not answer this word: it is not in its whitelist")]
    NotAllowed,
    /// It closed the connection without a word.
    #[error("the server answered nothing")]
    Empty,
    /// A line whose value is none.
    #[error("cannot read the line {0:?}")]
    Line(String),
    /// Text of something else.
    #[error("the answer is not a server's: no line says its mode")]
    NoMode,
}

impl ServerReport {
    /// The answer to `srvr`; with `clients` the answer to `stat`.
    pub fn text(&self, clients: Option<&[ClientLine]>) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, clients);
        out
    }

    fn write(&self, out: &mut String, clients: Option<&[ClientLine]>) -> fmt::Result {
        writeln!(out, "Zookeeper version: {}", self.version)?;
        if self.mode == Mode::ReadOnly {
            writeln!(out, "READ-ONLY mode; serving only read-only clients")?;
        }
        if let Some(clients) = clients {
            writeln!(out, "Clients:")?;
            for c in clients {
                write!(out, " /{}[{:x}]", c.peer, c.interest)?;
                writeln!(out, "(queued={},recved={},sent={})", c.queued, c.received, c.sent)?;
            }
            writeln!(out)?;
        }
        let Latency { min, avg, max } = self.latency;
        // The original rounds to four places and always shows one.
        let avg = (avg * 10_000.0).round() / 10_000.0;
        writeln!(out, "Latency min/avg/max: {min}/{avg:?}/{max}")?;
        writeln!(out, "Received: {}", self.received)?;
        writeln!(out, "Sent: {}", self.sent)?;
        writeln!(out, "Connections: {}", self.connections)?;
        writeln!(out, "Outstanding: {}", self.outstanding)?;
        writeln!(out, "Zxid: 0x{:x}", self.zxid)?;
        writeln!(out, "Mode: {}", self.mode)?;
        writeln!(out, "Node count: {}", self.node_count)?;
        if let Some([last, min, max]) = self.proposal_sizes {
            writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}")?;
        }
        Ok(())
    }

    /// Reads the answer to `srvr` or `stat` of any server since 3.4.
    pub fn parse(text: &str) -> Result<ServerReport, ReportError> {
        if text.trim().is_empty() {
            return Err(ReportError::Empty);
        }
        if text.contains("not currently serving requests") {
            return Err(ReportError::NotServing);
        }
        if text.contains("is not executed because it is not in the whitelist") {
            return Err(ReportError::NotAllowed);
        }
        let mut mode = None;
        let mut report = ServerReport {
            version: String::new(),
            latency: Latency::default(),
            received: 0,
            sent: 0,
            connections: 0,
            outstanding: 0,
            zxid: 0,
            mode: Mode::Standalone,
            node_count: 0,
            proposal_sizes: None,
        };
        for line in text.lines() {
            let Some((key, value)) = line.split_once(": ") else { continue };
            let read = match key {
                "Mode" => {
                    mode = Mode::parse(value.trim());
                    mode.is_some()
                }
                _ => report.read_line(key, value.trim()).is_some(),
            };
            if !read {
                return Err(ReportError::Line(line.to_owned()));
            }
        }
        report.mode = mode.ok_or(ReportError::NoMode)?;
        Ok(report)
    }

    /// Takes a line's value; `None` when it cannot be read.
    fn read_line(&mut self, key: &str, value: &str) -> Option<()> {
        let int = || value.parse::<i64>().ok();
        match key {
            "Zookeeper version" => self.version = value.to_owned(),
            "Latency min/avg/max" => {
                let [min, avg, max] = three(value)?;
                self.latency =
                    Latency { min: min.parse().ok()?, avg: avg.parse().ok()?, max: max.parse().ok()? };
            }
            "Received" => self.received = int()?,
            "Sent" => self.sent = int()?,
            "Connections" => self.connections = int()?,
            "Outstanding" => self.outstanding = int()?,
            "Zxid" => self.zxid = u64::from_str_radix(value.strip_prefix("0x")?, 16).ok()?,
            "Node count" => self.node_count = int()?,
            "Proposal sizes last/min/max" => {
                let [last, min, max] = three(value)?;
                self.proposal_sizes = Some([last.parse().ok()?, min.parse().ok()?, max.parse().ok()?]);
            }
            _ => {}
        }
        Some(())
    }
}

fn three(value: &str) -> Option<[&str; 3]> {
    let parts: Vec<&str> = value.split('/').collect();
    parts.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: &str = "Zookeeper version: 3.9.3-c26634f34490bb0ea7a09cc51e05ede3b4e320ee, built on 2024-10-17 23:21 UTC\n\
        Latency min/avg/max: 0/1.5/4\n\
        Received: 8\n\
        Sent: 7\n\
        Connections: 1\n\
        Outstanding: 0\n\
        Zxid: 0x100000003\n\
        Mode: leader\n\
        Node count: 6\n\
        Proposal sizes last/min/max: 48/48/92\n";

    #[test]
    fn a_leaders_report_is_read_and_written_alike() {
        let report = ServerReport::parse(LEADER).unwrap();
        assert_eq!((report.mode, report.zxid, report.node_count), (Mode::Leader, 0x1_0000_0003, 6));
        assert_eq!(report.proposal_sizes, Some([48, 48, 92]));
        assert_eq!(report.text(None), LEADER);
    }

    #[test]
    fn stat_lists_clients_and_is_read_too() {
        let report = ServerReport { mode: Mode::ReadOnly, ..ServerReport::parse(LEADER).unwrap() };
        let client =
            ClientLine { peer: "127.0.0.1:5".parse().unwrap(), interest: 1, queued: 0, received: 3, sent: 2 };
        let text = report.text(Some(&[client]));
        assert!(text.contains(
            "serving only read-only clients\nClients:\n /127.0.0.1:5[1](queued=0,recved=3,sent=2)\n\nLatency"
        ));
        assert_eq!(ServerReport::parse(&text), Ok(report));
    }

    #[test]
    fn other_answers_are_told_apart() {
        for (text, error) in [
            ("", ReportError::Empty),
            (super::super::NOT_SERVING, ReportError::NotServing),
            ("srvr is not executed because it is not in the whitelist.\n", ReportError::NotAllowed),
            ("HTTP/1.1 400 Bad Request\n", ReportError::NoMode),
            ("Mode: chief\n", ReportError::Line("Mode: chief".into())),
            ("Mode: leader\nZxid: zz\n", ReportError::Line("Zxid: zz".into())),
        ] {
            assert_eq!(ServerReport::parse(text), Err(error), "{text:?}");
        }
        // A server of 3.4: an integer mean, and lines missing.
        let old = ServerReport::parse("Latency min/avg/max: 0/0/12\nMode: follower\n").unwrap();
        assert_eq!((old.latency.max, old.mode), (12, Mode::Follower));
    }
}
