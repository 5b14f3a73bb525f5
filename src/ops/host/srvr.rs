//! The answer to `srvr`, read.

use serde::{Deserialize, Serialize};

/// What a server is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Leads.
    Leader,
    /// Follows.
    Follower,
    /// Observes.
    Observer,
    /// Runs alone.
    Standalone,
    /// Serves reads only.
    ReadOnly,
}

impl Mode {
    /// The original's word.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Observer => "observer",
            Mode::Standalone => "standalone",
            Mode::ReadOnly => "read-only",
        }
    }

    fn parse(word: &str) -> Option<Mode> {
        [Mode::Leader, Mode::Follower, Mode::Observer, Mode::Standalone, Mode::ReadOnly]
            .into_iter()
            .find(|m| m.word() == word)
    }
}

/// The fields of `srvr`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Srvr {
    /// Version without the build date.
    pub version: String,
    /// Least, average and greatest latency, ms.
    pub latency: [f64; 3],
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Client connections.
    pub connections: u64,
    /// Requests in flight.
    pub outstanding: u64,
    /// The last zxid, as `0x...`.
    pub zxid: String,
    /// What it is.
    pub mode: Mode,
    /// Znodes.
    pub znodes: u64,
}

/// Reads an answer; `None` when it is not one.
pub(super) fn parse(text: &str) -> Option<Srvr> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let number = |name: &str| field(name).and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut latency = [0.0; 3];
    for (slot, word) in latency.iter_mut().zip(field("Latency min/avg/max")?.split('/')) {
        *slot = word.parse().unwrap_or(0.0);
    }
    let version = field("Zookeeper version")?;
    Some(Srvr {
        version: version.split(',').next().unwrap_or(version).to_owned(),
        latency,
        received: number("Received"),
        sent: number("Sent"),
        connections: number("Connections"),
        outstanding: number("Outstanding"),
        zxid: field("Zxid")?.to_owned(),
        mode: Mode::parse(field("Mode")?)?,
        znodes: number("Node count"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 3.9.3 prints it.
    const ANSWER: &str = "Zookeeper version: 3.9.3-c26634f34490bb0ea7a09cc51e05ede3b4e320ee, built on 2024-10-17 23:21 UTC\n\
        Latency min/avg/max: 0/1.5/12\nReceived: 10\nSent: 9\nConnections: 1\nOutstanding: 0\nZxid: 0x100000002\n\
        Mode: follower\nNode count: 5\n";

    #[test]
    fn the_original_s_answer_is_read() {
        let srvr = parse(ANSWER).unwrap();
        assert_eq!(srvr.version, "3.9.3-c26634f34490bb0ea7a09cc51e05ede3b4e320ee");
        assert_eq!((srvr.latency, srvr.mode, srvr.znodes), ([0.0, 1.5, 12.0], Mode::Follower, 5));
        assert_eq!((srvr.zxid.as_str(), srvr.connections, srvr.received), ("0x100000002", 1, 10));
        assert_eq!(parse("This ZooKeeper instance is not currently serving requests\n"), None);
        assert_eq!(parse(&ANSWER.replace("follower", "king")), None);
    }
}
