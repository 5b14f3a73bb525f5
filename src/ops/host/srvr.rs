//! The answer to `srvr` as facts of a host carry it. Reading it is `wire::words`' business.

use serde::{Deserialize, Serialize};

pub use crate::wire::words::Mode;
use crate::wire::words::ServerReport;

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
    #[serde(with = "mode_text")]
    pub mode: Mode,
    /// Znodes.
    pub znodes: u64,
}

impl From<ServerReport> for Srvr {
    fn from(report: ServerReport) -> Srvr {
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let latency = report.latency;
        Srvr {
            version: report.version.split(',').next().unwrap_or_default().to_owned(),
            latency: [latency.min as f64, latency.avg, latency.max as f64],
            received: count(report.received),
            sent: count(report.sent),
            connections: count(report.connections),
            outstanding: count(report.outstanding),
            zxid: format!("{:#x}", report.zxid),
            mode: report.mode,
            znodes: count(report.node_count),
        }
    }
}

/// A mode in JSON is the original's word for it.
mod mode_text {
    use super::Mode;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(mode.text())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
        let word = String::deserialize(deserializer)?;
        Mode::parse(&word).ok_or_else(|| D::Error::custom(format!("{word:?} is no mode")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Srvr> {
        ServerReport::parse(text).ok().map(Srvr::from)
    }

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
        let json = serde_json::to_string(&srvr).unwrap();
        assert!(json.contains("\"mode\":\"follower\""), "{json}");
        assert_eq!(serde_json::from_str::<Srvr>(&json).unwrap(), srvr);
    }
}
