//! The quorum port's packets as what they mean.
//!
//! Owns the mapping to and from `wire::quorum`. A packet that has no meaning is refused here, so
//! that the roles only see what they know.

use super::history::Proposal;
use crate::ids::SessionId;
use crate::jute::{self, Error, Reader};
use crate::wire::quorum::{self, LearnerInfo, QuorumPacket, kind};
use crate::wire::txn::TxnRecord;
use crate::zxid::{Epoch, Zxid};
use bytes::Bytes;

/// A message between leader and learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// FOLLOWERINFO or OBSERVERINFO: a learner joins.
    Info {
        /// The epoch it has promised.
        accepted_epoch: Epoch,
        /// Who it is.
        info: LearnerInfo,
        /// OBSERVERINFO.
        observer: bool,
    },
    /// LEADERINFO: the new epoch.
    LeaderInfo {
        /// To promise.
        epoch: Epoch,
        /// Whether the leader is zkctl.
        zkctl: bool,
    },
    /// ACKEPOCH: promised.
    AckEpoch {
        /// The learner's last durable zxid; `None` (-1) when its database is not to be trusted.
        last: Option<Zxid>,
        /// Its current epoch; `None` (-1) when it had promised this epoch before.
        current_epoch: Option<Epoch>,
    },
    /// DIFF.
    Diff(Zxid),
    /// TRUNC.
    Trunc(Zxid),
    /// SNAP; the stream follows.
    Snap(Zxid),
    /// NEWLEADER.
    NewLeader {
        /// `epoch << 32`.
        zxid: Zxid,
        /// The leader's member list.
        config: Bytes,
    },
    /// UPTODATE.
    UpToDate,
    /// PROPOSAL.
    Propose(Proposal),
    /// ACK.
    Ack(Zxid),
    /// COMMIT: this and, from a zkctl leader, everything before.
    Commit(Zxid),
    /// INFORM.
    Inform(Proposal),
    /// PING, either way; the learner's answer carries touched sessions.
    Ping {
        /// Echoed.
        zxid: i64,
        /// `(session, timeout)` pairs, encoded.
        touched: Bytes,
    },
    /// REQUEST: a write or sync of a learner's client.
    Request {
        /// Whose.
        session: SessionId,
        /// The client's xid.
        cxid: i32,
        /// The opcode.
        opcode: i32,
        /// The request's body.
        body: Bytes,
        /// The client's identities, encoded.
        auth: Bytes,
    },
    /// REVALIDATE, the question or the answer.
    Revalidate(Bytes),
    /// SYNC, with the body of the REQUEST it answers.
    Sync(Bytes),
}

fn bytes_of(packet: &QuorumPacket<'_>) -> Bytes {
    packet.data.map(Bytes::copy_from_slice).unwrap_or_default()
}

fn zxid_of(packet: &QuorumPacket<'_>) -> Result<Zxid, Error> {
    Zxid::from_wire(packet.zxid).ok_or(Error::Value { field: "zxid", value: packet.zxid })
}

/// A txn's zxid stands in its header and in the packet; both must agree. What is no txn is refused here:
/// once in the log it could not be read back.
fn proposal_of(packet: &QuorumPacket<'_>) -> Result<Proposal, Error> {
    let zxid = zxid_of(packet)?;
    let data = packet.data.ok_or(Error::Length(-1))?;
    let inside = TxnRecord::decode(data)?.header.zxid;
    if inside != zxid {
        return Err(Error::Value { field: "txn zxid", value: inside.wire() });
    }
    Ok(Proposal { zxid, bytes: Bytes::copy_from_slice(data) })
}

fn info_of(packet: &QuorumPacket<'_>, observer: bool) -> Result<Message, Error> {
    let info = match packet.data {
        Some(data) => LearnerInfo::decode(data)?,
        None => return Err(Error::Length(-1)),
    };
    Ok(Message::Info { accepted_epoch: zxid_of(packet)?.epoch(), info, observer })
}

fn ack_epoch_of(packet: &QuorumPacket<'_>) -> Result<Message, Error> {
    let epoch = Reader::new(packet.data.unwrap_or_default()).i32()?;
    Ok(Message::AckEpoch {
        last: Zxid::from_wire(packet.zxid),
        current_epoch: u32::try_from(epoch).ok().map(Epoch),
    })
}

fn request_of(packet: &QuorumPacket<'_>) -> Result<Message, Error> {
    let mut reader = Reader::new(packet.data.unwrap_or_default());
    let session = SessionId(reader.i64()?);
    let cxid = reader.i32()?;
    let opcode = reader.i32()?;
    let body = Bytes::copy_from_slice(reader.rest());
    quorum::decode_auth(packet.auth)?;
    Ok(Message::Request { session, cxid, opcode, body, auth: Bytes::copy_from_slice(packet.auth) })
}

impl Message {
    /// Reads one message off the front of a link's bytes, its body at most `body_max` bytes; returns it
    /// and how many it took.
    pub fn decode(bytes: &[u8], body_max: usize) -> Result<(Message, usize), Error> {
        let (packet, used) = quorum::decode(bytes, body_max)?;
        // The packet is all there: a body that ends too early is none, and not to be waited for.
        match Message::of(&packet) {
            Err(Error::Short(_)) => Err(Error::Value { field: "packet body", value: packet.kind.into() }),
            message => Ok((message?, used)),
        }
    }

    fn of(packet: &QuorumPacket<'_>) -> Result<Message, Error> {
        Ok(match packet.kind {
            kind::FOLLOWER_INFO => info_of(packet, false)?,
            kind::OBSERVER_INFO => info_of(packet, true)?,
            kind::LEADER_INFO => Message::LeaderInfo {
                epoch: zxid_of(packet)?.epoch(),
                zkctl: packet
                    .data
                    .is_some_and(|d| d.get(4..).is_some_and(|m| m.starts_with(quorum::ZKCTL_MARK))),
            },
            kind::ACK_EPOCH => ack_epoch_of(packet)?,
            kind::DIFF => Message::Diff(zxid_of(packet)?),
            kind::TRUNC => Message::Trunc(zxid_of(packet)?),
            kind::SNAP => Message::Snap(zxid_of(packet)?),
            kind::NEW_LEADER => Message::NewLeader { zxid: zxid_of(packet)?, config: bytes_of(packet) },
            kind::UP_TO_DATE => Message::UpToDate,
            kind::PROPOSAL => Message::Propose(proposal_of(packet)?),
            kind::ACK => Message::Ack(zxid_of(packet)?),
            kind::COMMIT => Message::Commit(zxid_of(packet)?),
            kind::INFORM => Message::Inform(proposal_of(packet)?),
            kind::PING => Message::Ping { zxid: packet.zxid, touched: bytes_of(packet) },
            kind::REQUEST => request_of(packet)?,
            kind::REVALIDATE => Message::Revalidate(bytes_of(packet)),
            kind::SYNC => Message::Sync(bytes_of(packet)),
            other => return Err(Error::Value { field: "packet type", value: other.into() }),
        })
    }

    /// Writes it behind `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind: i32, zxid: i64, data: Option<&[u8]>| {
            quorum::encode(out, &QuorumPacket { kind, zxid, data, auth: &[] });
        };
        match self {
            Message::Info { accepted_epoch, info, observer } => {
                let kind = if *observer { kind::OBSERVER_INFO } else { kind::FOLLOWER_INFO };
                put(kind, accepted_epoch.first_zxid().wire(), Some(&info.encode()));
            }
            Message::LeaderInfo { epoch, zkctl } => {
                let mut data = quorum::PROTOCOL_VERSION.to_be_bytes().to_vec();
                if *zkctl {
                    data.extend_from_slice(quorum::ZKCTL_MARK);
                }
                put(kind::LEADER_INFO, epoch.first_zxid().wire(), Some(&data));
            }
            Message::AckEpoch { last, current_epoch } => {
                let epoch = current_epoch.map_or(-1, |e| e.0 as i32);
                put(kind::ACK_EPOCH, last.map_or(-1, Zxid::wire), Some(&epoch.to_be_bytes()));
            }
            Message::Diff(zxid) => put(kind::DIFF, zxid.wire(), None),
            Message::Trunc(zxid) => put(kind::TRUNC, zxid.wire(), None),
            Message::Snap(zxid) => put(kind::SNAP, zxid.wire(), None),
            Message::NewLeader { zxid, config } => put(kind::NEW_LEADER, zxid.wire(), Some(config)),
            Message::UpToDate => put(kind::UP_TO_DATE, -1, None),
            Message::Propose(p) => put(kind::PROPOSAL, p.zxid.wire(), Some(&p.bytes)),
            Message::Ack(zxid) => put(kind::ACK, zxid.wire(), None),
            Message::Commit(zxid) => put(kind::COMMIT, zxid.wire(), None),
            Message::Inform(p) => put(kind::INFORM, p.zxid.wire(), Some(&p.bytes)),
            Message::Ping { zxid, touched } => {
                put(kind::PING, *zxid, (!touched.is_empty()).then_some(&touched[..]));
            }
            Message::Request { session, cxid, opcode, body, auth } => {
                let mut data = Vec::with_capacity(16 + body.len());
                jute::put_i64(&mut data, session.0);
                jute::put_i32(&mut data, *cxid);
                jute::put_i32(&mut data, *opcode);
                data.extend_from_slice(body);
                quorum::encode(out, &QuorumPacket { kind: kind::REQUEST, zxid: -1, data: Some(&data), auth });
            }
            Message::Revalidate(data) => put(kind::REVALIDATE, -1, Some(data)),
            Message::Sync(data) => put(kind::SYNC, 0, Some(data)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Sid;
    use crate::wire::opcode::OpCode;
    use crate::wire::txn::{Txn, TxnHeader};

    fn txn(zxid: i64) -> Proposal {
        let zxid = Zxid(zxid as u64);
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: 0, op: OpCode::Delete };
        let mut bytes = Vec::new();
        TxnRecord { header, txn: Txn::Delete { path: "/a" }, digest: None }.encode(&mut bytes);
        Proposal { zxid, bytes: bytes.into() }
    }

    #[test]
    fn every_message_survives_the_wire() {
        let info = LearnerInfo { sid: Sid(2), protocol: 0x10000, config_version: 0, zkctl: true };
        let messages = [
            Message::Info { accepted_epoch: Epoch(3), info, observer: true },
            Message::LeaderInfo { epoch: Epoch(4), zkctl: true },
            Message::AckEpoch { last: None, current_epoch: None },
            Message::AckEpoch { last: Some(Zxid(9)), current_epoch: Some(Epoch(3)) },
            Message::Diff(Zxid(1)),
            Message::Trunc(Zxid(1)),
            Message::Snap(Zxid(1)),
            Message::NewLeader { zxid: Epoch(4).first_zxid(), config: Bytes::from_static(b"x") },
            Message::UpToDate,
            Message::Propose(txn(7)),
            Message::Ack(Zxid(7)),
            Message::Commit(Zxid(7)),
            Message::Inform(txn(8)),
            Message::Ping { zxid: 5, touched: Bytes::new() },
            Message::Revalidate(Bytes::from_static(b"r")),
            Message::Sync(Bytes::from_static(b"s")),
            Message::Request {
                session: SessionId(5),
                cxid: 1,
                opcode: 5,
                body: Bytes::from_static(b"b"),
                auth: quorum::encode_auth(&[]).into(),
            },
        ];
        for message in messages {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let (mut back, used) = Message::decode(&bytes, 1 << 20).unwrap();
            assert_eq!(used, bytes.len());
            if let (Message::Request { auth, .. }, Message::Request { auth: sent, .. }) =
                (&mut back, &message)
            {
                *auth = sent.clone();
            }
            assert_eq!(back, message);
        }
    }

    #[test]
    fn a_proposal_whose_two_zxids_differ_is_refused() {
        let mut bytes = Vec::new();
        Message::Propose(Proposal { zxid: Zxid(8), ..txn(7) }).encode(&mut bytes);
        assert!(matches!(Message::decode(&bytes, 1 << 20), Err(Error::Value { .. })));
    }

    #[test]
    fn a_proposal_that_is_no_txn_is_refused() {
        let mut cut = txn(7);
        cut.bytes = cut.bytes.slice(..cut.bytes.len() - 1);
        let mut bytes = Vec::new();
        Message::Propose(cut).encode(&mut bytes);
        assert!(matches!(Message::decode(&bytes, 1 << 20), Err(Error::Value { .. })));
    }

    #[test]
    fn a_whole_packet_with_half_a_body_is_refused_and_not_waited_for() {
        for kind in [kind::FOLLOWER_INFO, kind::ACK_EPOCH, kind::PROPOSAL, kind::REQUEST] {
            let mut bytes = Vec::new();
            let packet = QuorumPacket { kind, zxid: 7, data: Some(b"abc"), auth: &[] };
            quorum::encode(&mut bytes, &packet);
            let refused = Message::decode(&bytes, 1 << 20);
            assert!(matches!(refused, Err(Error::Value { field: "packet body", .. })), "{refused:?}");
        }
    }
}
