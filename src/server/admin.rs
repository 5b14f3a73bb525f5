//! Four-letter words: recognising and answering them.

use super::Server;
use super::event::Action;
use crate::ids::ConnId;
use crate::time::Now;

impl Server {
    /// Whether `bytes`, the first of a connection, are a word; then it has been answered.
    pub(super) fn on_word(&mut self, _now: Now, _conn: ConnId, _bytes: &[u8], _out: &mut Vec<Action>) -> bool {
        false
    }
}
