//! The primitives of jute: any sequence of reads, and what they read written again.

use super::Target;
use zkctl::jute::{self, Error, Reader};
use zkctl::prng::Prng;

pub(crate) const TARGET: Target = Target { name: "jute", run, sample, memory: (64, 4096), runs: 200_000 };

/// The first byte says how many of the next say what is read from the rest.
pub(crate) fn run(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let (plan, bytes) = rest.split_at((usize::from(*count) % 16).min(rest.len()));
    let mut reader = Reader::with_field_max(bytes, 1 << 16);
    for kind in plan {
        let from = reader.position();
        let mut out = Vec::new();
        let read = read_one(*kind, &mut reader, &mut out);
        assert!(reader.position() >= from && reader.position() <= bytes.len());
        if read.is_err() {
            return;
        }
        assert_eq!(out, &bytes[from..reader.position()], "read and written again");
    }
    assert_eq!(reader.is_done(), reader.finish().is_ok());
}

fn read_one(kind: u8, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    match kind % 8 {
        0 => jute::put_u8(out, reader.u8()?),
        1 => jute::put_i32(out, reader.i32()?),
        2 => jute::put_i64(out, reader.i64()?),
        3 => jute::put_buffer_or_null(out, reader.buffer()?),
        4 => jute::put_buffer_or_null(out, reader.string_or_null()?.map(str::as_bytes)),
        5 => match reader.vec_len()? {
            Some(n) => jute::put_vec_len(out, n),
            None => jute::put_null(out),
        },
        6 => {
            let strings = reader.strings()?;
            assert_eq!(strings.iter().count(), strings.len());
            let all: Vec<&str> = strings.iter().collect();
            jute::put_strings(out, all.into_iter());
            // A null vector reads as empty.
            if strings.is_empty() {
                return Err(Error::Length(-1));
            }
        }
        _ => out.extend_from_slice(reader.take(3)?),
    }
    Ok(())
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let plan: Vec<u8> = (0..prng.below(8)).map(|_| prng.below(8) as u8).collect();
    let mut out = vec![plan.len() as u8];
    out.extend_from_slice(&plan);
    for kind in plan {
        match kind {
            0 => jute::put_u8(&mut out, 1),
            1 => jute::put_i32(&mut out, -5),
            2 => jute::put_i64(&mut out, i64::MIN),
            3 => jute::put_buffer(&mut out, b"abc"),
            4 => jute::put_string(&mut out, "\u{e9}t\u{e9}"),
            5 => jute::put_null(&mut out),
            6 => jute::put_strings(&mut out, ["/a", "", "/b"].into_iter()),
            _ => out.extend_from_slice(b"xyz"),
        }
    }
    out
}
