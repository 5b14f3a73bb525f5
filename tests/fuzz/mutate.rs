//! Changing a valid input a little: what gets past the framing and is wrong further in.

use zkctl::prng::Prng;

/// Lengths and counts at which decoders break.
const INTERESTING: [i32; 12] =
    [0, 1, -1, -2, 2, 16, 0xf_ffff, 0x10_0000, i32::MAX, i32::MIN, 1 << 24, -0x1_0000];

/// Up to six changes of `bytes`; one in eight inputs stays as it is.
pub(crate) fn mutate(bytes: &mut Vec<u8>, prng: &mut Prng) {
    if prng.chance(1, 8) {
        return;
    }
    for _ in 0..prng.between(1, 6) {
        once(bytes, prng);
    }
}

fn once(bytes: &mut Vec<u8>, prng: &mut Prng) {
    let len = bytes.len();
    if len == 0 {
        bytes.push(prng.next_u64() as u8);
        return;
    }
    let at = prng.below(len as u64) as usize;
    let block = at..(at + prng.between(1, 40) as usize).min(len);
    match prng.below(9) {
        0 | 1 => bytes[at] ^= 1 << prng.below(8),
        2 => bytes[at] = prng.next_u64() as u8,
        3 => bytes.truncate(at),
        4 => {
            let copy = bytes[block].to_vec();
            let to = prng.below(len as u64 + 1) as usize;
            bytes.splice(to..to, copy);
        }
        5 => drop(bytes.drain(block)),
        6 => {
            let other = prng.below(len as u64) as usize;
            for step in 0..block.len().min(len - other.max(at)) {
                bytes.swap(at + step, other + step);
            }
        }
        _ => {
            let value = INTERESTING[prng.below(INTERESTING.len() as u64) as usize].to_be_bytes();
            let end = (at + 4).min(len);
            bytes[at..end].copy_from_slice(&value[..end - at]);
        }
    }
}

/// Bytes without any form.
pub(crate) fn noise(prng: &mut Prng) -> Vec<u8> {
    let len = prng.below(200);
    (0..len).map(|_| prng.next_u64() as u8).collect()
}
