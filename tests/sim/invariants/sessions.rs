//! Sessions: a leader ends no session of its own clients before its time is over. (Item 12, ZOOKEEPER-1366.)
//!
//! That nothing is done for a session that is over is `history::replay`'s, and who may go on with one the
//! clients' (`client.rs`).

use super::{Check, Seen};
use crate::history::Witness;

const CLOSE_SESSION: i32 = -11;

/// Looks at what a leader has just proposed.
pub(super) fn check(seen: &Seen<'_>, fresh: &[Witness]) -> Check {
    let (now, rate) = seen.now;
    for closed in fresh.iter().filter(|w| w.kind == CLOSE_SESSION && w.cxid == 0) {
        let Some(contact) = seen.contacts.get(&closed.session) else { continue };
        if (contact.sid, contact.life) != (seen.sid, seen.life) {
            continue;
        }
        let silent = (now - contact.at) * rate / 1000 + 1;
        if silent < contact.timeout {
            let (sid, session) = (seen.sid, closed.session);
            return Err(format!(
                "Sessions: {sid} ends {session:#x} after {silent} ms of {}",
                contact.timeout
            ));
        }
    }
    Ok(())
}
