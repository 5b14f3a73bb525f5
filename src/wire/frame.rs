//! The client port's framing: an int length, then that many bytes.
//!
//! Cutting copies nothing. Deliberately absent: what a frame holds (`connect`, `request`, `reply`),
//! and four-letter words, which come unframed (`words`).

use crate::jute::{self, Error, Reader};

/// Cuts one frame off the front of a connection's bytes: its payload, and how many bytes it took with
/// its prefix. `max` is `jute.maxbuffer`; a negative or larger length is refused as soon as it is seen.
/// A payload of length 0 is legal here, as in the original; no record fits in it.
pub fn next(bytes: &[u8], max: usize) -> Result<(&[u8], usize), Error> {
    let mut reader = Reader::new(bytes);
    let len = reader.i32()?;
    match usize::try_from(len) {
        Ok(n) if n <= max => {
            let payload = reader.take(n)?;
            Ok((payload, reader.position()))
        }
        _ => Err(Error::Length(len)),
    }
}

/// A frame under construction in a buffer that may already hold others.
#[derive(Debug)]
#[must_use = "a frame that is not ended has no length"]
pub struct Open {
    at: usize,
}

/// Reserves a frame's length behind `out`.
pub fn begin(out: &mut Vec<u8>) -> Open {
    let at = out.len();
    jute::put_i32(out, 0);
    Open { at }
}

impl Open {
    /// Where the payload begins in the buffer.
    pub fn payload_at(&self) -> usize {
        self.at + 4
    }

    /// Writes the length of everything that was appended since `begin`.
    ///
    /// # Panics
    /// When that is more than an int can say, or the buffer was cut below the frame's start.
    pub fn end(self, out: &mut [u8]) {
        let len = out.len() - self.payload_at();
        assert!(len <= i32::MAX as usize, "a frame's length must fit an int");
        out[self.at..self.at + 4].copy_from_slice(&(len as i32).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_and_made() {
        let mut out = b"before".to_vec();
        let open = begin(&mut out);
        out.extend_from_slice(b"abc");
        open.end(&mut out);
        assert_eq!(next(&out[6..], 10), Ok((&b"abc"[..], 7)));
        assert_eq!(next(&out[6..9], 10), Err(Error::Short(1)));
        assert_eq!(next(&out[6..12], 10), Err(Error::Short(1)));
    }

    #[test]
    fn bad_lengths_are_refused_before_the_payload() {
        assert_eq!(next(&(-1i32).to_be_bytes(), 10), Err(Error::Length(-1)));
        assert_eq!(next(&11i32.to_be_bytes(), 10), Err(Error::Length(11)));
        assert_eq!(next(&0i32.to_be_bytes(), 10), Ok((&b""[..], 4)));
    }
}
