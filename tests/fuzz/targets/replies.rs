//! Reply headers, stats, watch events and error codes, as a client reads them.

use super::Target;
use zkctl::jute::{self, Reader};
use zkctl::prng::Prng;
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::reply::{self, EventKind, ReplyFrame, ReplyHeader, Stat, WatcherEvent};

pub(crate) const TARGET: Target = Target { name: "replies", run, sample, memory: (64, 4096), runs: 200_000 };

pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    let Ok(header) = ReplyHeader::read(&mut reader) else { return };
    let mut out = Vec::new();
    header.write(&mut out);
    assert_eq!(out, &data[..reply::REPLY_HEADER_LEN]);
    assert!(!header.err.to_string().is_empty());
    let rest = reader.rest();
    if let Ok(event) = WatcherEvent::read(&mut reader.clone())
        && let Some(kind) = EventKind::from_wire(event.kind)
    {
        let mut out = Vec::new();
        reply::put_event(&mut out, kind, event.path, header.zxid);
        let back = WatcherEvent::read(&mut Reader::new(&out[4 + reply::REPLY_HEADER_LEN..])).unwrap();
        assert_eq!((back.kind, back.path), (event.kind, event.path));
    }
    if let Ok(stat) = Stat::read(&mut reader) {
        let mut out = Vec::new();
        stat.write(&mut out);
        assert_eq!(out, &rest[..Stat::LEN]);
    }
    let mut out = Vec::new();
    let frame = ReplyFrame::begin(&mut out, header.xid);
    out.extend_from_slice(rest);
    frame.end(&mut out, header.zxid, header.err);
    let (payload, _) = zkctl::wire::frame::next(&out, 1 << 24).unwrap();
    assert_eq!(ReplyHeader::read(&mut Reader::new(payload)), Ok(header));
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = Vec::new();
    match prng.below(3) {
        0 => {
            reply::put_event(&mut out, EventKind::Deleted, "/a", 5);
            out.drain(..4);
        }
        1 => {
            ReplyHeader { xid: 1, zxid: 9, err: ErrorCode::OK }.write(&mut out);
            Stat { czxid: 1, pzxid: 2, num_children: 3, ..Stat::default() }.write(&mut out);
        }
        _ => {
            ReplyHeader { xid: 1, zxid: 9, err: ErrorCode::NONODE }.write(&mut out);
            jute::put_string(&mut out, "/a");
        }
    }
    out
}
