//! Cutting replies: the header of each is looked at, its body is skipped wherever the reads split it.

use crate::wire::errcode::ErrorCode;
use crate::wire::reply::REPLY_HEADER_LEN;

/// A reply's length and header.
const HEAD: usize = 4 + REPLY_HEADER_LEN;

/// What a reply's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) xid: i32,
    pub(super) err: ErrorCode,
}

/// A stream of replies, of which at most one header is held.
#[derive(Debug, Default)]
pub(super) struct Replies {
    held: [u8; HEAD],
    have: usize,
    skip: usize,
}

/// A length that no reply can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLength(pub(super) i32);

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Replies {
    /// Takes in bytes; `each` is called once per reply, when its header is there.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head)) -> Result<(), BadLength> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let length = if self.have == 0 && bytes.len() >= HEAD {
                let (head, rest) = bytes.split_at(HEAD);
                bytes = rest;
                each(Head { xid: int(head, 4), err: ErrorCode(int(head, 16)) });
                int(head, 0)
            } else {
                let wanted = (HEAD - self.have).min(bytes.len());
                self.held[self.have..self.have + wanted].copy_from_slice(&bytes[..wanted]);
                self.have += wanted;
                bytes = &bytes[wanted..];
                if self.have < HEAD {
                    return Ok(());
                }
                self.have = 0;
                each(Head { xid: int(&self.held, 4), err: ErrorCode(int(&self.held, 16)) });
                int(&self.held, 0)
            };
            self.skip = usize::try_from(length)
                .ok()
                .and_then(|n| n.checked_sub(REPLY_HEADER_LEN))
                .ok_or(BadLength(length))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply::ReplyFrame;

    #[test]
    fn replies_are_found_however_they_are_split() {
        let mut stream = Vec::new();
        let mut want = Vec::new();
        for (n, len) in [0usize, 1, 68, 5000].into_iter().enumerate() {
            let err = if n == 1 { ErrorCode::NONODE } else { ErrorCode::OK };
            let reply = ReplyFrame::begin(&mut stream, n as i32);
            stream.extend(vec![0xff; len]);
            reply.end(&mut stream, 5, err);
            want.push(Head { xid: n as i32, err });
        }
        for piece in [1, 2, 3, 19, 20, 21, 100, stream.len()] {
            let (mut replies, mut got) = (Replies::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                replies.push(bytes, |head| got.push(head)).unwrap();
            }
            assert_eq!(got, want, "pieces of {piece}");
        }
        assert_eq!(Replies::default().push(&[0; 40], |_| {}), Err(BadLength(0)));
    }
}
