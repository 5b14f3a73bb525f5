//! Trees on the move: our own snapshots, and SNAP streams in both directions, slice by slice.

use super::event::{Action, Level};
use super::links::{LinkKind, Receiving, Sending};
use super::{Input, Message, Server, exit};
use crate::ids::LinkId;
use crate::jute::{self, Error, Reader};
use crate::limits;
use crate::session::SessionTable;
use crate::time::Now;
use crate::tree::{Loader, TreeOptions};
use crate::wire::quorum::SNAP_SIGNATURE;

/// Slices of our own snapshot that one turn takes at most when it is hurried along.
const HURRY_SLICES: usize = 4;
/// Before-images held for cursors beyond which they are hurried along.
const SAVED_BYTES_MAX: usize = 64 << 20;

impl Server {
    /// Takes in bytes of a quorum link: messages, or the stream behind a SNAP.
    pub(super) fn on_quorum_bytes(&mut self, now: Now, link: LinkId, out: &mut Vec<Action>) {
        let Some(entry) = self.links.get_mut(link) else { return };
        let mut inbound = std::mem::take(&mut entry.inbound);
        let mut used = 0;
        let result = loop {
            let Some(entry) = self.links.get_mut(link) else { return };
            let rest = &inbound[used..];
            let step = if entry.receiving.is_some() {
                self.on_stream(now, link, rest)
            } else {
                Message::decode(rest, self.settings.txn_max)
                    .map_err(|e| (matches!(e, Error::Short(_)), e.to_string()))
                    .map(|(message, n)| {
                        self.on_message(now, link, message, out);
                        n
                    })
            };
            match step {
                Ok(n) => used += n,
                Err((true, _)) => break None,
                Err((false, reason)) => break Some(reason),
            }
        };
        let Some(entry) = self.links.get_mut(link) else { return };
        if let Some(reason) = result {
            out.push(Action::Log(Level::Warn, format!("quorum link closed: {reason}")));
            if let Some(cursor) = self.links.close(link, out) {
                self.tree.close_cursor(cursor);
            }
            self.zab_input(now, Input::LinkDown(link));
        } else {
            // What is held is moved once per message, not copied once per arrival.
            if used > 0 {
                inbound.drain(..used);
            }
            entry.inbound = inbound;
        }
    }

    fn on_message(&mut self, now: Now, link: LinkId, message: Message, out: &mut Vec<Action>) {
        if let Message::Snap(zxid) = &message
            && let Some(entry) = self.links.get_mut(link)
            && entry.kind == LinkKind::Quorum
        {
            let options = TreeOptions { seed: self.settings.seed, ..self.tree.options() };
            entry.receiving = Some(Receiving {
                zxid: *zxid,
                loader: Some(Box::new(Loader::new(options, 0))),
                loaded: None,
            });
            self.abandon_snapshot();
            self.storage.begin_incoming(*zxid);
        }
        self.zab_input(now, Input::Received { link, message });
        self.drain(now, out);
    }

    /// A piece of a SNAP's stream. The error says whether more bytes would help.
    fn on_stream(&mut self, now: Now, link: LinkId, bytes: &[u8]) -> Result<usize, (bool, String)> {
        let Some(entry) = self.links.get_mut(link) else { return Err((false, "no such link".into())) };
        let Some(receiving) = &mut entry.receiving else { return Err((false, "no stream".into())) };
        if let Some(loader) = &mut receiving.loader {
            let progress = loader.push(bytes).map_err(|e| (false, format!("SNAP: {e}")))?;
            if !progress.done {
                if progress.consumed == 0 {
                    return Err((true, String::new()));
                }
                self.storage.incoming_bytes(bytes[..progress.consumed].to_vec(), None);
                self.zab_input(now, Input::SnapshotProgress(link));
                return Ok(progress.consumed);
            }
            let zxid = receiving.zxid;
            let Some(loader) = receiving.loader.take() else { return Ok(0) };
            let (tree, sessions) = loader.finish(zxid).map_err(|e| (false, format!("SNAP: {e}")))?;
            self.storage.incoming_bytes(bytes[..progress.consumed].to_vec(), Some(tree.digest()));
            receiving.loaded = Some(Box::new((tree, SessionTable::from_loaded(sessions))));
            return Ok(progress.consumed);
        }
        let mut reader = Reader::new(bytes);
        let signature = reader.string().map_err(|e| (matches!(e, Error::Short(_)), format!("SNAP: {e}")))?;
        if signature != SNAP_SIGNATURE {
            return Err((false, format!("SNAP: the stream ends with {signature:?}")));
        }
        let loaded = entry.receiving.take().and_then(|r| r.loaded);
        self.abandon_snapshot();
        if let Some(loaded) = loaded {
            (self.tree, self.sessions) = *loaded;
        }
        self.zab_input(now, Input::SnapshotLoaded(link));
        Ok(reader.position())
    }

    /// Begins to stream the tree as it is now.
    pub(super) fn begin_sending(&mut self, link: LinkId) {
        let cursor = self.tree.open_cursor(self.sessions.iter());
        match self.links.get_mut(link) {
            Some(entry) => entry.sending = Some(Sending { cursor, behind: Vec::new(), on_the_way: 0 }),
            None => self.tree.close_cursor(cursor),
        }
    }

    pub(super) fn on_drained(&mut self, now: Now, link: LinkId) {
        if let Some(sending) = self.links.get_mut(link).and_then(|l| l.sending.as_mut()) {
            sending.on_the_way = 0;
            self.zab_input(now, Input::SnapshotProgress(link));
        }
    }

    /// The next slice of everything that is on the move.
    pub(super) fn pump_transfers(&mut self, now: Now, out: &mut Vec<Action>) {
        let mut too_slow = Vec::new();
        for id in self.links.sending() {
            let Some(link) = self.links.get_mut(id) else { continue };
            let Some(sending) = &mut link.sending else { continue };
            let saved = self.tree.saved_bytes(sending.cursor);
            if saved + sending.behind.len() > limits::PEER_OUT_BYTES_MAX {
                too_slow.push(id);
                continue;
            }
            let ahead = if saved > SAVED_BYTES_MAX { limits::PEER_OUT_BYTES_PAUSE } else { 1 };
            if sending.on_the_way >= ahead {
                continue;
            }
            let from = link.outbound.len();
            let done = self.tree.read_cursor(sending.cursor, self.settings.slice, &mut link.outbound);
            sending.on_the_way += link.outbound.len() - from;
            if done {
                jute::put_string(&mut link.outbound, SNAP_SIGNATURE);
                if let Some(sending) = link.sending.take() {
                    self.tree.close_cursor(sending.cursor);
                    link.outbound.extend_from_slice(&sending.behind);
                }
            }
        }
        for id in too_slow {
            let text = "a learner takes its snapshot too slowly; it will synchronise again".into();
            out.push(Action::Log(Level::Warn, text));
            if let Some(cursor) = self.links.close(id, out) {
                self.tree.close_cursor(cursor);
            }
            self.zab_input(now, Input::LinkDown(id));
            self.drain(now, out);
        }
        self.pump_snapshot();
    }

    fn pump_snapshot(&mut self) {
        if self.snapshot_cursor.is_none() && self.storage.wants_snapshot() && self.tree.last_zxid().0 > 0 {
            // What replay would find must agree with the name: the border is what is applied.
            self.storage.begin_snapshot(self.tree.last_zxid());
            self.snapshot_cursor = Some(self.tree.open_cursor(self.sessions.iter()));
        }
        let Some(cursor) = self.snapshot_cursor else { return };
        for slice in 0.. {
            let hurry = slice < HURRY_SLICES && self.tree.saved_bytes(cursor) > SAVED_BYTES_MAX;
            if !hurry && !self.storage.snapshot_has_room() {
                return;
            }
            let mut body = Vec::with_capacity(self.settings.slice + 4096);
            let border = self.tree.cursor_border(cursor);
            let done = self.tree.read_cursor(cursor, self.settings.slice, &mut body);
            let end = if done { border.map(|b| b.digest) } else { None };
            self.storage.snapshot_bytes(body, end);
            if done {
                self.tree.close_cursor(cursor);
                self.snapshot_cursor = None;
                return;
            }
        }
    }

    /// The tree is about to be replaced.
    pub(super) fn abandon_snapshot(&mut self) {
        if let Some(cursor) = self.snapshot_cursor.take() {
            self.tree.close_cursor(cursor);
            self.storage.abandon_snapshot();
        }
    }

    /// A txn that cannot be applied here though a quorum decided it: going on would be divergence.
    pub(super) fn cannot_apply(&mut self, why: &str, out: &mut Vec<Action>) {
        self.exit(exit::UNMATCHED, format!("a decided txn cannot be applied: {why}"), out);
    }
}
