//! A log's bytes: both readers agree, whatever they take for a record is one, and they end at the damage.

use super::disk::SimDisk;
use super::{Target, txns};
use zkctl::format::txn_log;
use zkctl::prng::Prng;
use zkctl::storage::{self, Disk, FileRef, LogReader};
use zkctl::wire::txn::TxnRecord;
use zkctl::zxid::Zxid;

/// The reader on a disk has a buffer of a megabyte.
pub(crate) const TARGET: Target =
    Target { name: "log_file", run, sample, memory: (64, 4 << 20), runs: 20_000 };

pub(crate) fn run(data: &[u8]) {
    let mut found = Vec::new();
    if txn_log::read_header(data).is_ok() {
        let rest = &data[txn_log::HEADER_LEN..];
        let mut records = txn_log::Records::new(rest, txn_log::HEADER_LEN as u64);
        for (offset, body) in records.by_ref() {
            let mut written = Vec::new();
            txn_log::write_record(&mut written, body);
            let from = offset as usize;
            assert_eq!(written, &data[from..from + written.len()], "a record is as it would be written");
            let _ = TxnRecord::decode(body);
            found.push(body.to_vec());
        }
        let end = records.end().unwrap();
        assert!(end.offset as usize <= data.len());
        assert!(!end.is_clean() || data[end.offset as usize..].iter().all(|b| *b == 0));
    }
    // Every megabyte buffer costs: the slow reader sees one input in four.
    if data.len().is_multiple_of(4) {
        on_disk(data, &found);
    }
}

fn on_disk(data: &[u8], found: &[Vec<u8>]) {
    let mut disk = SimDisk::new();
    // It bears the zxid of its first record; else it would be another segment's.
    let zxid = found.first().and_then(|body| body.get(12..20)).and_then(|bytes| bytes.try_into().ok());
    let first = zxid.and_then(|bytes| Zxid::from_wire(i64::from_be_bytes(bytes))).unwrap_or_default();
    let file = FileRef::log(storage::log_name(first));
    disk.write(&file, 0, data).unwrap();
    let mut reader = LogReader::open(&mut disk, file).unwrap();
    let mut count = 0;
    while let Some(record) = reader.next(&mut disk).unwrap() {
        assert_eq!(&record.bytes[..], &found[count][..]);
        count += 1;
    }
    let end = reader.end().unwrap();
    // A record too short for a header is damage to it.
    assert!(count == found.len() || end.damage.is_some());
    assert!(end.damage.is_some() || data[end.offset as usize..].iter().all(|b| *b == 0));
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = Vec::new();
    txn_log::write_header(&mut out);
    for n in 0..prng.below(6) {
        let mut body = Vec::new();
        txns::record(prng, Zxid(0x1_0000_0001 + n), &mut body);
        txn_log::write_record(&mut out, &body);
    }
    out.resize(out.len() + prng.below(64) as usize, 0);
    out
}
