//! Frames, the handshake and every request record: what decodes encodes to the bytes that were read.

use super::{Target, draw};
use zkctl::jute::Error;
use zkctl::prng::Prng;
use zkctl::wire::connect::{ConnectRequest, ConnectResponse};
use zkctl::wire::frame;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::request::{
    self, AuthPacket, CreateRequest, MultiOps, PathIntRequest, ReconfigRequest, RequestHeader, SetAclRequest,
    SetDataRequest, SetWatches, WatchedRequest,
};

pub(crate) const TARGET: Target =
    Target { name: "requests", run, sample, memory: (200, 4096), runs: 200_000 };

/// A payload behind an operation's number, as frames hold them; and the same bytes as a stream of frames.
pub(crate) fn run(data: &[u8]) {
    frames(data);
    handshake(data);
    let Ok((header, body)) = RequestHeader::split(data) else { return };
    let mut out = Vec::new();
    header.encode(&mut out);
    assert_eq!(out, &data[..8]);
    let Some(op) = OpCode::from_wire(header.op) else { return };
    let mut out = Vec::new();
    if decode(op, body, &mut out).is_ok() {
        // Bytes behind a record are ignored; what was read is what is written.
        assert!(body.starts_with(&out), "{op:?}: {out:?} from {body:?}");
    }
}

fn frames(mut bytes: &[u8]) {
    while let Ok((payload, used)) = frame::next(bytes, 1 << 16) {
        assert_eq!(payload.len() + 4, used);
        bytes = &bytes[used..];
    }
    let _ = zkctl::wire::words::recognise(bytes);
}

fn handshake(data: &[u8]) {
    if let Ok(request) = ConnectRequest::decode(data) {
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(ConnectRequest::decode(&out), Ok(request));
    }
    if let Ok(response) = ConnectResponse::decode(data) {
        let mut out = Vec::new();
        response.encode(&mut out);
        assert_eq!(ConnectResponse::decode(&out), Ok(response));
    }
}

fn decode(op: OpCode, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            CreateRequest::decode(op, body)?.encode(out);
        }
        OpCode::Delete | OpCode::Check | OpCode::AddWatch | OpCode::CheckWatches | OpCode::RemoveWatches => {
            PathIntRequest::decode(body)?.encode(out);
        }
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            let request = WatchedRequest::decode(body)?;
            let mut again = Vec::new();
            request.encode(&mut again);
            // Any byte but 0 is true.
            assert_eq!(WatchedRequest::decode(&again), Ok(request));
        }
        OpCode::SetData => SetDataRequest::decode(body)?.encode(out),
        OpCode::SetAcl => SetAclRequest::decode(body)?.encode(out),
        OpCode::Reconfig => ReconfigRequest::decode(body)?.encode(out),
        OpCode::Auth => {
            let packet = AuthPacket::decode(body)?;
            let mut again = Vec::new();
            packet.encode(&mut again);
            assert_eq!(AuthPacket::decode(&again), Ok(packet));
        }
        OpCode::SetWatches | OpCode::SetWatches2 => {
            let watches = SetWatches::decode(op, body)?;
            for list in [watches.data, watches.exist, watches.child, watches.persistent, watches.recursive] {
                assert_eq!(list.iter().count(), list.len());
            }
        }
        OpCode::Multi | OpCode::MultiRead => {
            let read: Vec<_> = MultiOps::new(body).collect::<Result<_, _>>()?;
            let mut again = Vec::new();
            read.iter().for_each(|op| op.encode(&mut again));
            zkctl::wire::reply::put_multi_end(&mut again);
            assert_eq!(MultiOps::new(&again).collect::<Result<Vec<_>, _>>(), Ok(read));
        }
        OpCode::CreateSession => drop(request::decode_create_session(body)?),
        _ => {
            let path = request::decode_path_or_null(body)?;
            assert_eq!(path, request::decode_path(body).ok());
        }
    }
    Ok(())
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = Vec::new();
    match prng.below(12) {
        0 => {
            let password = &[1; 16];
            let read_only = draw::of(prng, &[None, Some(false)]);
            ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: 0,
                timeout_ms: 4000,
                session: 7,
                password,
                read_only,
            }
            .encode(&mut out);
        }
        1 => ConnectResponse::expired(Some(true)).encode(&mut out),
        2 => (0..3).for_each(|n| draw::request(prng, n, &mut out)),
        _ => {
            draw::request(prng, 5, &mut out);
            out.drain(..4);
        }
    }
    out
}
