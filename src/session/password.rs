//! Session ids and the passwords that let a client take its session along to another server.

use crate::ids::{SessionId, Sid};

/// Bytes of a password.
pub const PASSWORD_LEN: usize = 16;

/// The constant of `ZooKeeperServer.superSecret`.
const SECRET: i64 = 0xB341_5C00;

/// The password of a session: java.util.Random seeded with id XOR a constant, as every server of a
/// mixed ensemble must compute it (`ZooKeeperServer.generatePasswd`).
pub fn password(id: SessionId) -> [u8; PASSWORD_LEN] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((id.0 ^ SECRET) as u64 ^ MULTIPLIER) & MASK;
    let mut out = [0; PASSWORD_LEN];
    for chunk in out.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        // Random.nextBytes takes the low byte of each int first.
        chunk.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    out
}

/// Whether `given` is the session's password, in constant time.
pub fn password_matches(id: SessionId, given: &[u8]) -> bool {
    let want = password(id);
    if given.len() != want.len() {
        return false;
    }
    want.iter().zip(given).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Makes session ids: the server's id on top, then a time, then a count.
#[derive(Clone, Debug)]
pub struct IdSource {
    next: i64,
}

impl IdSource {
    /// Ids of server `sid` that began at `wall_ms` (`SessionTrackerImpl.initializeNextSessionId`).
    pub fn new(sid: Sid, wall_ms: i64) -> IdSource {
        let time = (((wall_ms as u64) << 24) >> 8) as i64;
        let next = (time & 0x00ff_ffff_ffff_ffff) | (sid.0 << 56);
        // Long.MIN_VALUE is a container's ephemeralOwner.
        IdSource { next: if next == i64::MIN { next + 1 } else { next } }
    }

    /// The next id; never 0.
    pub fn next_id(&mut self) -> SessionId {
        let id = SessionId(self.next);
        self.next = self.next.wrapping_add(1);
        if self.next == 0 || self.next == i64::MIN {
            self.next += 1;
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_computes_the_same_password() {
        // new Random(0x100012345L ^ 0xB3415C00L).nextBytes(new byte[16])
        let hex: String = password(SessionId(0x1_0001_2345)).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "f7a421c2f4dcc30729885237f0b3ca4e");
        assert!(password_matches(SessionId(5), &password(SessionId(5))));
        assert!(!password_matches(SessionId(5), &password(SessionId(6))));
        assert!(!password_matches(SessionId(5), &[]));
    }

    #[test]
    fn ids_carry_their_server() {
        let mut source = IdSource::new(Sid(3), 1_700_000_000_000);
        let first = source.next_id();
        assert_eq!(first.0 >> 56, 3);
        assert_eq!(source.next_id().0, first.0 + 1);
    }
}
