//! The quorum port: QuorumPacket and the bodies that ride in it.
//!
//! The stream has no length prefix; `decode` reads one packet off the front of what has arrived
//! and `Error::Short` means more is needed. Deliberately absent: what a packet means (`zab`).

use crate::ids::Sid;
use crate::jute::{self, Error, Reader};
use crate::limits;

/// Packet types by their number on the wire.
pub mod kind {
    /// ->L: a write or sync of a learner's client.
    pub const REQUEST: i32 = 1;
    /// L->F: a txn to log and acknowledge.
    pub const PROPOSAL: i32 = 2;
    /// F->L: everything up to this zxid is on my disk.
    pub const ACK: i32 = 3;
    /// L->F: this zxid is decided.
    pub const COMMIT: i32 = 4;
    /// Both ways: liveness, carrying session touches back.
    pub const PING: i32 = 5;
    /// Both ways: may this session go on here?
    pub const REVALIDATE: i32 = 6;
    /// L->: answers a REQUEST of opcode sync.
    pub const SYNC: i32 = 7;
    /// L->O: a decided txn.
    pub const INFORM: i32 = 8;
    /// L->F: a decided reconfig.
    pub const COMMIT_AND_ACTIVATE: i32 = 9;
    /// L->: the history is complete; log it, then acknowledge.
    pub const NEW_LEADER: i32 = 10;
    /// F->L: first packet of a follower.
    pub const FOLLOWER_INFO: i32 = 11;
    /// L->: serve now.
    pub const UP_TO_DATE: i32 = 12;
    /// L->: what you have is good; what is missing follows.
    pub const DIFF: i32 = 13;
    /// L->: cut your log behind this zxid.
    pub const TRUNC: i32 = 14;
    /// L->: a whole tree follows.
    pub const SNAP: i32 = 15;
    /// O->L: first packet of an observer.
    pub const OBSERVER_INFO: i32 = 16;
    /// L->: the new epoch.
    pub const LEADER_INFO: i32 = 17;
    /// ->L: epoch accepted; my last zxid and current epoch.
    pub const ACK_EPOCH: i32 = 18;
    /// L->O: a decided reconfig.
    pub const INFORM_AND_ACTIVATE: i32 = 19;
}

/// The protocol version in LearnerInfo and LEADERINFO.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// Behind a SNAP's stream, so that a learner notices a broken one.
pub const SNAP_SIGNATURE: &str = "BenWasHere";

/// Appended by zkctl to LearnerInfo and LEADERINFO; Apache reads neither so far.
pub const ZKCTL_MARK: &[u8; 4] = b"zkc1";

/// A client's identity as it travels with a REQUEST: scheme and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthInfo {
    /// `ip`, `digest` and so on.
    pub scheme: String,
    /// What the scheme proved.
    pub id: String,
}

/// One packet of the quorum port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumPacket<'a> {
    /// One of `kind`.
    pub kind: i32,
    /// Its zxid; -1 in several kinds.
    pub zxid: i64,
    /// Its body; null on the wire when `None`.
    pub data: Option<&'a [u8]>,
    /// The identities of a REQUEST, still encoded as a jute vector; empty when null.
    pub auth: &'a [u8],
}

/// Reads one packet whose body takes at most `body_max` bytes; returns it and how many bytes it took.
/// One that asks for more than body and identities may take is refused, not waited for.
pub fn decode(bytes: &[u8], body_max: usize) -> Result<(QuorumPacket<'_>, usize), Error> {
    match decode_whole(bytes, body_max) {
        Err(Error::Short(_)) if bytes.len() > body_max + limits::IDENTITIES_BYTES_MAX => {
            Err(Error::Length(i32::try_from(bytes.len()).unwrap_or(i32::MAX)))
        }
        other => other,
    }
}

fn decode_whole(bytes: &[u8], body_max: usize) -> Result<(QuorumPacket<'_>, usize), Error> {
    let mut reader = Reader::with_field_max(bytes, body_max);
    let kind = reader.i32()?;
    let zxid = reader.i64()?;
    let data = reader.buffer()?;
    let auth_from = reader.position();
    let count = reader.vec_len()?;
    for _ in 0..count.unwrap_or(0) {
        reader.buffer()?;
        reader.buffer()?;
    }
    let auth = if count.unwrap_or(0) == 0 { &[] } else { &bytes[auth_from..reader.position()] };
    Ok((QuorumPacket { kind, zxid, data, auth }, reader.position()))
}

/// Writes one packet behind `out`.
pub fn encode(out: &mut Vec<u8>, packet: &QuorumPacket<'_>) {
    jute::put_i32(out, packet.kind);
    jute::put_i64(out, packet.zxid);
    match packet.data {
        Some(data) => jute::put_buffer(out, data),
        None => jute::put_null(out),
    }
    if packet.auth.is_empty() {
        jute::put_null(out);
    } else {
        out.extend_from_slice(packet.auth);
    }
}

/// The identities of a REQUEST as their jute vector.
pub fn encode_auth(auth: &[AuthInfo]) -> Vec<u8> {
    let mut out = Vec::new();
    jute::put_vec_len(&mut out, auth.len());
    for info in auth {
        jute::put_string(&mut out, &info.scheme);
        jute::put_string(&mut out, &info.id);
    }
    out
}

/// The identities of a REQUEST; none when the vector was null or empty.
pub fn decode_auth(bytes: &[u8]) -> Result<Vec<AuthInfo>, Error> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(bytes);
    let count = reader.vec_len()?.unwrap_or(0);
    // Java writes what lies beyond the basic plane as surrogates, which are not UTF-8, and reads them back
    // as replacement characters; so do we.
    let mut text = || -> Result<String, Error> {
        Ok(String::from_utf8_lossy(reader.buffer()?.unwrap_or_default()).into_owned())
    };
    let mut out = Vec::new();
    for _ in 0..count {
        out.push(AuthInfo { scheme: text()?, id: text()? });
    }
    Ok(out)
}

/// The body of FOLLOWERINFO and OBSERVERINFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerInfo {
    /// Who joins.
    pub sid: Sid,
    /// Its protocol version; 0 from servers before 3.4.
    pub protocol: i32,
    /// The version of its member list.
    pub config_version: i64,
    /// Whether zkctl's mark stands behind it.
    pub zkctl: bool,
}

impl LearnerInfo {
    /// Reads any of the lengths that servers have sent: 8, 12, 20 bytes, or 20 and a mark.
    pub fn decode(bytes: &[u8]) -> Result<LearnerInfo, Error> {
        let mut reader = Reader::new(bytes);
        let sid = Sid(reader.i64()?);
        let protocol = if reader.is_done() { 0 } else { reader.i32()? };
        let config_version = if reader.is_done() { 0 } else { reader.i64()? };
        Ok(LearnerInfo { sid, protocol, config_version, zkctl: reader.rest().starts_with(ZKCTL_MARK) })
    }

    /// Writes it with zkctl's mark.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        jute::put_i64(&mut out, self.sid.0);
        jute::put_i32(&mut out, self.protocol);
        jute::put_i64(&mut out, self.config_version);
        if self.zkctl {
            out.extend_from_slice(ZKCTL_MARK);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_survive_and_a_prefix_is_short() {
        let auth = encode_auth(&[AuthInfo { scheme: "ip".into(), id: "127.0.0.1".into() }]);
        let packet = QuorumPacket { kind: kind::REQUEST, zxid: -1, data: Some(b"abc"), auth: &auth };
        let mut bytes = Vec::new();
        encode(&mut bytes, &packet);
        assert_eq!(decode(&bytes, 1 << 20).unwrap(), (packet, bytes.len()));
        for cut in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..cut], 1 << 20), Err(Error::Short(_))), "cut at {cut}");
        }
        assert_eq!(decode_auth(packet.auth).unwrap()[0].id, "127.0.0.1");
    }

    #[test]
    fn an_absurd_length_is_refused_before_its_bytes_arrive() {
        let mut bytes = Vec::new();
        jute::put_i32(&mut bytes, kind::PROPOSAL);
        jute::put_i64(&mut bytes, 1);
        jute::put_i32(&mut bytes, i32::MAX);
        assert_eq!(decode(&bytes, 1 << 20), Err(Error::Length(i32::MAX)));
    }

    #[test]
    fn learner_info_of_every_age_is_read() {
        let info = LearnerInfo { sid: Sid(3), protocol: PROTOCOL_VERSION, config_version: 7, zkctl: true };
        let bytes = info.encode();
        assert_eq!(LearnerInfo::decode(&bytes), Ok(info));
        assert_eq!(LearnerInfo::decode(&bytes[..20]), Ok(LearnerInfo { zkctl: false, ..info }));
        assert_eq!(LearnerInfo::decode(&bytes[..8]).unwrap().protocol, 0);
    }
}
