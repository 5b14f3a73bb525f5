//! The election port: the first message of a link, and notifications.
//!
//! Deliberately absent: what a vote is worth (`zab::election`).

use crate::ids::Sid;
use crate::jute::{self, Error, Reader};
use crate::limits;

/// First long of an election link since 3.5: one address.
pub const HELLO_V1: i64 = -65536;
/// First long of an election link with `multiAddress.enabled`: several addresses.
pub const HELLO_V2: i64 = -65535;

/// The first message of an election link, sent by the side that dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who dials.
    pub sid: Sid,
    /// Its election addresses as `host:port`; empty from servers before 3.5.
    pub addresses: Vec<String>,
}

impl Hello {
    /// Reads it off the front; returns it and the bytes it took.
    pub fn decode(bytes: &[u8]) -> Result<(Hello, usize), Error> {
        let mut reader = Reader::with_field_max(bytes, limits::ELECTION_HELLO_MAX);
        let version = reader.i64()?;
        if version >= 0 {
            return Ok((Hello { sid: Sid(version), addresses: Vec::new() }, reader.position()));
        }
        if version != HELLO_V1 && version != HELLO_V2 {
            return Err(Error::Value { field: "protocolVersion", value: version });
        }
        let sid = Sid(reader.i64()?);
        let text = reader.string()?;
        if text.is_empty() {
            return Err(Error::Length(0));
        }
        let addresses = text.split('|').map(str::to_owned).collect();
        Ok((Hello { sid, addresses }, reader.position()))
    }

    /// Writes it in the form that every server since 3.5 reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        jute::put_i64(&mut out, HELLO_V1);
        jute::put_i64(&mut out, self.sid.0);
        jute::put_string(&mut out, self.addresses.first().map_or("", String::as_str));
        out
    }
}

/// A sender's state in a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerState {
    /// In an election.
    Looking = 0,
    /// Following a leader.
    Following = 1,
    /// Leading.
    Leading = 2,
    /// Observing a leader.
    Observing = 3,
}

/// A notification: the sender's vote and what it knows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The sender's state.
    pub state: PeerState,
    /// Whom it votes for.
    pub leader: Sid,
    /// That candidate's last zxid; -1 when its database is not to be trusted.
    pub zxid: i64,
    /// The round of the vote (`electionEpoch` on the wire).
    pub round: i64,
    /// That candidate's epoch.
    pub peer_epoch: i64,
    /// The message's version: 0 and 1 are historical, 2 carries the member list.
    pub version: i32,
    /// The sender's member list as text; empty when it sent none.
    pub config: String,
    /// Whether zkctl's mark stands behind it.
    pub zkctl: bool,
    /// Behind the mark: the sender's disk holds no database yet.
    pub is_new: bool,
}

/// The notification's version that we send.
pub const NOTIFICATION_VERSION: i32 = 2;

impl Notification {
    /// Reads a payload (without its length prefix) of any age: 28, 40 or more bytes.
    pub fn decode(bytes: &[u8]) -> Result<Notification, Error> {
        let mut reader = Reader::with_field_max(bytes, limits::ELECTION_MESSAGE_MAX);
        let state = match reader.i32()? {
            0 => PeerState::Looking,
            1 => PeerState::Following,
            2 => PeerState::Leading,
            3 => PeerState::Observing,
            value => return Err(Error::Value { field: "state", value: value.into() }),
        };
        let leader = Sid(reader.i64()?);
        let zxid = reader.i64()?;
        let round = reader.i64()?;
        // 28 bytes: a server that derives the epoch from the zxid.
        let peer_epoch = if reader.is_done() { zxid >> 32 } else { reader.i64()? };
        let version = if reader.rest().len() < 4 { 0 } else { reader.i32()? };
        let mut config = String::new();
        let (mut zkctl, mut is_new) = (false, false);
        if version >= 2 && !reader.is_done() {
            config = reader.string()?.to_owned();
            if let Some(flags) = reader.rest().strip_prefix(super::quorum::ZKCTL_MARK) {
                zkctl = true;
                is_new = flags.first() == Some(&1);
            }
        }
        Ok(Notification { state, leader, zxid, round, peer_epoch, version, config, zkctl, is_new })
    }

    /// Writes length prefix and payload behind `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let from = out.len();
        jute::put_i32(out, 0);
        jute::put_i32(out, self.state as i32);
        jute::put_i64(out, self.leader.0);
        jute::put_i64(out, self.zxid);
        jute::put_i64(out, self.round);
        jute::put_i64(out, self.peer_epoch);
        jute::put_i32(out, self.version);
        jute::put_string(out, &self.config);
        if self.zkctl {
            out.extend_from_slice(super::quorum::ZKCTL_MARK);
            jute::put_bool(out, self.is_new);
        }
        let len = (out.len() - from - 4) as i32;
        out[from..from + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// Cuts one length-prefixed message off the front of an election link's bytes, behind the hello:
/// the payload, and how many bytes it took with its prefix.
pub fn next_message(bytes: &[u8]) -> Result<(&[u8], usize), Error> {
    let mut reader = Reader::new(bytes);
    let len = reader.i32()?;
    if len <= 0 || len as usize > limits::ELECTION_MESSAGE_MAX {
        return Err(Error::Length(len));
    }
    let payload = reader.take(len as usize)?;
    Ok((payload, reader.position()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Notification {
        Notification {
            state: PeerState::Leading,
            leader: Sid(2),
            zxid: 0x1_0000_0003,
            round: 4,
            peer_epoch: 1,
            version: 2,
            config: "server.1=a:2:3\nversion=0".into(),
            zkctl: true,
            is_new: true,
        }
    }

    #[test]
    fn notifications_survive() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        let (payload, used) = next_message(&bytes).unwrap();
        assert_eq!(used, bytes.len());
        assert_eq!(Notification::decode(payload).unwrap(), sample());
    }

    #[test]
    fn notifications_of_every_age_are_read() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        let payload = &bytes[4..];
        let oldest = Notification::decode(&payload[..28]).unwrap();
        assert_eq!((oldest.peer_epoch, oldest.version), (1, 0));
        assert_eq!(Notification::decode(&payload[..36]).unwrap().version, 0);
        assert_eq!(Notification::decode(&payload[..40]).unwrap().config, "");
        assert!(!Notification::decode(&payload[..payload.len() - 5]).unwrap().zkctl);
    }

    #[test]
    fn hellos_of_every_age_are_read() {
        let hello = Hello { sid: Sid(1), addresses: vec!["10.0.0.1:3888".into()] };
        let bytes = hello.encode();
        assert_eq!(Hello::decode(&bytes).unwrap(), (hello, bytes.len()));
        let (old, used) = Hello::decode(&7i64.to_be_bytes()).unwrap();
        assert_eq!((old.sid, used), (Sid(7), 8));
        assert!(matches!(Hello::decode(&(-5i64).to_be_bytes()), Err(Error::Value { .. })));
    }

    #[test]
    fn an_empty_or_huge_message_is_refused() {
        assert_eq!(next_message(&0i32.to_be_bytes()), Err(Error::Length(0)));
        assert!(next_message(&i32::MAX.to_be_bytes()).is_err());
    }
}
