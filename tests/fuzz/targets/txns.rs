//! Txn records: what decodes encodes to what decodes the same.

use super::{Target, draw};
use zkctl::ids::SessionId;
use zkctl::jute;
use zkctl::prng::Prng;
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::txn::{CreateKind, CreateTxn, Txn, TxnDigest, TxnHeader, TxnRecord};
use zkctl::zxid::Zxid;

pub(crate) const TARGET: Target = Target { name: "txns", run, sample, memory: (64, 4096), runs: 200_000 };

pub(crate) fn run(data: &[u8]) {
    let Ok(record) = TxnRecord::decode(data) else { return };
    if let Txn::CloseSession { paths: Some(paths) } = record.txn {
        assert_eq!(paths.iter().count(), paths.len());
        // Two paths without a letter, which no server writes, look like a digest.
        if paths.iter().any(str::is_empty) {
            return;
        }
    }
    let mut out = Vec::new();
    record.encode(&mut out);
    // Old forms (no parent version, no list of paths) are written in today's.
    let again = TxnRecord::decode(&out).unwrap();
    assert_eq!((again.header, again.digest), (record.header, record.digest));
    assert_eq!(format!("{:?}", again.txn), format!("{:?}", record.txn));
    if let Txn::Multi(multi) = record.txn {
        assert_eq!(multi.iter().count(), multi.len());
        assert_eq!(multi.failed(), multi.iter().any(|(op, _)| op == OpCode::Error));
    }
}

/// A change and its type.
pub(crate) fn plain(prng: &mut Prng) -> (OpCode, Txn<'static>) {
    let (path, data) = (draw::path(prng), draw::data(prng));
    let version = prng.below(5) as i32;
    match prng.below(10) {
        0..=3 => {
            let (op, kind) = match prng.below(4) {
                0 => (OpCode::CreateContainer, CreateKind::Container),
                1 => (OpCode::CreateTtl, CreateKind::Ttl { ms: 500 }),
                2 => (OpCode::Create, CreateKind::Plain { ephemeral: false }),
                _ => (OpCode::Create2, CreateKind::Plain { ephemeral: true }),
            };
            (op, Txn::Create(CreateTxn { path, data, acl: draw::acl(prng), kind, parent_cversion: version }))
        }
        4 => (OpCode::Delete, Txn::Delete { path }),
        5 => (OpCode::SetData, Txn::SetData { path, data, version }),
        6 => (OpCode::SetAcl, Txn::SetAcl { path, acl: draw::acl(prng), version }),
        7 => (OpCode::CreateSession, Txn::CreateSession { timeout_ms: 4000 }),
        8 => (OpCode::CloseSession, Txn::CloseSession { paths: None }),
        _ => (OpCode::Error, Txn::Error { err: ErrorCode::NONODE }),
    }
}

/// A whole record.
pub(crate) fn record(prng: &mut Prng, zxid: Zxid, out: &mut Vec<u8>) {
    let header = |op| TxnHeader { session: SessionId(5), cxid: 1, zxid, time: 1000, op };
    if prng.chance(1, 6) {
        header(OpCode::Multi).write(out);
        let count = prng.below(4) as usize;
        jute::put_vec_len(out, count);
        for _ in 0..count {
            let (op, txn) = plain(prng);
            let mut sub = Vec::new();
            txn.write(&mut sub);
            jute::put_i32(out, op.wire());
            jute::put_buffer(out, &sub);
        }
        return;
    }
    let (op, txn) = plain(prng);
    let digest = prng.chance(1, 2).then(|| TxnDigest::new(77));
    TxnRecord { header: header(op), txn, digest }.encode(out);
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = Vec::new();
    record(prng, Zxid(0x1_0000_0002), &mut out);
    out
}
