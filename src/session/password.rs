//! Session passwords and session ids, by the formulas that every member of a mixed ensemble must share.
//!
//! A password is the first 16 bytes of `java.util.Random` seeded with the session's id and a constant. It
//! keeps mistakes apart, not attackers: ids are visible and the constant is public. Deliberately absent:
//! the keyed password of ensembles that are all zkctl.

use crate::ids::{SessionId, Sid};
use crate::mutants::{self, Mutant};
use crate::wire::connect::PASSWORD_LEN;

/// `ZooKeeperServer.superSecret`.
const SECRET: i64 = 0xb341_5c00;
const MULTIPLIER: u64 = 0x5_deec_e66d;
const MASK_48: u64 = (1 << 48) - 1;

/// The password of a session.
pub fn of(session: SessionId) -> [u8; PASSWORD_LEN] {
    let mut state = ((session.0 ^ SECRET) as u64 ^ MULTIPLIER) & MASK_48;
    let mut password = [0; PASSWORD_LEN];
    for chunk in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xb) & MASK_48;
        // next(32); the lowest byte comes first.
        chunk.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

/// Whether `given` is the session's password; session 0 has none. Takes the same time wherever they differ.
pub fn is_right(session: SessionId, given: &[u8]) -> bool {
    let expected = of(session);
    if session.0 == 0 || given.len() != expected.len() {
        return false;
    }
    let difference = expected.iter().zip(given).fold(0, |d, (a, b)| d | (a ^ b));
    std::hint::black_box(difference) == 0 || mutants::on(Mutant::PasswordUnchecked)
}

/// Gives ids to new sessions of one server.
#[derive(Clone, Debug)]
pub struct SessionIds {
    next: i64,
}

impl SessionIds {
    /// Ids of server `sid`: its lowest byte on top, then 40 bits of time, then a counter. `clock_ms` must
    /// be later at every start of the server than it was at the last (the wall clock will do; nothing is
    /// decided by it).
    pub fn new(sid: Sid, clock_ms: u64) -> SessionIds {
        let time = (clock_ms << 24) >> 8;
        let next = (sid.0 << 56) | time as i64;
        // The one number that means "container".
        SessionIds { next: if next == i64::MIN { next + 1 } else { next } }
    }

    /// A new id.
    pub fn allocate(&mut self) -> SessionId {
        let id = SessionId(self.next);
        self.next = self.next.wrapping_add(1);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_the_originals() {
        // new Random(0x100000000000001L ^ 0xB3415C00L).nextBytes, run on a JVM; see tests/golden/README.md.
        let password = of(SessionId(0x0100_0000_0000_0001));
        assert_eq!(password.map(|b| format!("{b:02x}")).concat(), GOLDEN);
        assert!(is_right(SessionId(0x0100_0000_0000_0001), &password));
        assert!(!is_right(SessionId(0x0100_0000_0000_0002), &password));
        assert!(!is_right(SessionId(0), &of(SessionId(0))));
        assert!(!is_right(SessionId(1), &password[..15]));
    }

    const GOLDEN: &str = "054cc74a37327db215e702e20c73f005";

    #[test]
    fn ids_carry_the_server_and_count_up() {
        let mut ids = SessionIds::new(Sid(3), 0x12_3456_789a);
        let first = ids.allocate();
        assert_eq!(first.0 as u64, 0x0312_3456_789a_0000);
        assert_eq!(ids.allocate().0, first.0 + 1);
        assert_ne!(SessionIds::new(Sid(128), 0).allocate().0, i64::MIN);
        assert!(SessionIds::new(Sid(200), 1).allocate().0 < 0);
    }
}
