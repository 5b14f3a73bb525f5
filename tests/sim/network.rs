//! Links between servers: bytes in order, in whatever pieces, late, cut one way or both, half-open, reset.

use crate::invariants::Check;
use crate::world::{Happening, World};
use std::collections::VecDeque;
use zkctl::ids::LinkId;
use zkctl::prng::Prng;
use zkctl::server::{Event, PeerPort};

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    bytes: VecDeque<Vec<u8>>,
    closed: bool,
}

impl Pipe {
    /// Only a part of what is under way arrives, up to any byte.
    fn cut_short(&mut self, prng: &mut Prng) {
        self.bytes.truncate(prng.below(self.bytes.len() as u64 + 1) as usize);
        if let Some(last) = self.bytes.back_mut() {
            last.truncate(piece(last.len(), prng));
        }
    }
}

/// Where a piece of so many bytes ends: anywhere, near its ends more often than not.
fn piece(len: usize, prng: &mut Prng) -> usize {
    let within = |most: usize, prng: &mut Prng| prng.below(most as u64 + 1) as usize;
    match prng.below(3) {
        0 => within(len, prng),
        1 => within(len.min(40), prng),
        _ => len - within(len.min(40), prng),
    }
}

/// A connection between two servers; an end is a server, its incarnation, and its name for the link.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) ends: [(u64, u64, LinkId); 2],
    pipes: [Pipe; 2],
}

impl World {
    pub(crate) fn dialled(&mut self, sid: u64, life: u64, link: LinkId, to: u64, port: PeerPort) -> Check {
        if self.nodes[&sid].life != life || self.nodes[&sid].server.is_none() {
            return Ok(());
        }
        if self.is_cut(sid, to) || self.is_cut(to, sid) {
            return self.give(sid, Event::PeerDialFailed { link, refused: false });
        }
        let Some(other) = self.nodes.get(&to) else { return Ok(()) };
        let open = other.server.is_some() && (port == PeerPort::Election || other.listening);
        if !open {
            return self.give(sid, Event::PeerDialFailed { link, refused: true });
        }
        let theirs = LinkId(self.new_id() << 1);
        let wire = self.new_id();
        let ends = [(sid, life, link), (to, self.nodes[&to].life, theirs)];
        self.wires.insert(wire, Wire { ends, pipes: [Pipe::default(), Pipe::default()] });
        self.by_link.insert(ends[0], wire);
        self.by_link.insert(ends[1], wire);
        self.give(to, Event::PeerAccepted { link: theirs, port })?;
        self.give(sid, Event::PeerDialled(link))
    }

    pub(crate) fn peer_send(&mut self, sid: u64, life: u64, link: LinkId, bytes: Vec<u8>) {
        self.hash(&bytes);
        let Some(id) = self.by_link.get(&(sid, life, link)).copied() else { return };
        let wire = self.wires.get_mut(&id).unwrap();
        let side = usize::from(wire.ends[0] != (sid, life, link));
        wire.pipes[side].bytes.push_back(bytes);
        let delay = self.delay();
        self.after(delay, Happening::Bytes(id));
    }

    pub(crate) fn close_wire(&mut self, sid: u64, life: u64, link: LinkId) {
        let Some(id) = self.by_link.remove(&(sid, life, link)) else { return };
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let side = usize::from(wire.ends[0] != (sid, life, link));
        wire.pipes[side].closed = true;
        let delay = self.delay();
        self.after(delay, Happening::Bytes(id));
    }

    /// Some link ends, one on which something is under way more likely than another: what was sent ends anywhere.
    pub(crate) fn reset_one(&mut self, prng: &mut Prng) -> Check {
        let busy = |w: &Wire| w.pipes.iter().any(|p| !p.bytes.is_empty());
        let wanted = prng.chance(2, 3);
        let some: Vec<u64> =
            self.wires.iter().filter(|(_, w)| busy(w) == wanted).map(|(id, _)| *id).collect();
        if some.is_empty() {
            return Ok(());
        }
        let id = some[prng.below(some.len() as u64) as usize];
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.pipes.iter_mut().for_each(|pipe| pipe.cut_short(prng));
        }
        self.count("reset");
        self.reset_wire(id)
    }

    /// A link ends for both, now.
    fn reset_wire(&mut self, id: u64) -> Check {
        let Some(wire) = self.wires.get(&id) else { return Ok(()) };
        let end = wire.ends[0];
        self.close_wire(end.0, end.1, end.2);
        if self.nodes[&end.0].life == end.1 {
            self.give(end.0, Event::PeerClosed(end.2))?;
        }
        Ok(())
    }

    pub(crate) fn deliver(&mut self, id: u64) -> Check {
        for side in 0..2 {
            while let Some(wire) = self.wires.get_mut(&id) {
                let (from, to) = (wire.ends[side], wire.ends[1 - side]);
                if self.cuts.contains(&(from.0, to.0)) {
                    break;
                }
                let asleep = self.nodes[&to.0].paused_until;
                if asleep > self.now {
                    // As what else waited for it: in any order.
                    let late = self.prng.below(5);
                    self.at(asleep + late, Happening::Bytes(id));
                    break;
                }
                let pipe = &mut wire.pipes[side];
                let Some(bytes) = pipe.bytes.pop_front() else {
                    if pipe.closed {
                        self.end_wire(id, from, to)?;
                    }
                    break;
                };
                if self.nodes[&to.0].life != to.1 {
                    self.sent_to_the_dead(id, from, to)?;
                    break;
                }
                if self.hand_over(id, side, to, bytes)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Bytes arrive in whatever pieces the network makes of them, the second at once or later. True if later.
    fn hand_over(
        &mut self,
        id: u64,
        side: usize,
        to: (u64, u64, LinkId),
        mut bytes: Vec<u8>,
    ) -> Result<bool, String> {
        let every = match self.options.reset_bytes / (bytes.len() as u64).max(1) {
            0 => 2,
            every => every + 1,
        };
        let lossy = self.options.reset_bytes > 0 && !self.healed;
        if let Some(mut prng) = self.chances.draw(if lossy { every } else { 0 }) {
            // Often near the end, where what is long has all come but for its last word.
            let len = bytes.len() as u64;
            let near = prng.between(1, 100).min(len);
            bytes.truncate(if prng.chance(1, 2) { len - near } else { prng.below(len) } as usize);
            if !bytes.is_empty() {
                self.give(to.0, Event::PeerBytes { link: to.2, bytes: &bytes })?;
            }
            if let Some(wire) = self.wires.get_mut(&id) {
                wire.pipes.iter_mut().for_each(|pipe| pipe.bytes.clear());
            }
            self.count("reset within a message");
            self.reset_wire(id)?;
            return Ok(true);
        }
        let rest = bytes.split_off(piece(bytes.len(), &mut self.prng));
        let later = !rest.is_empty() && self.prng.chance(1, 16);
        if later && let Some(wire) = self.wires.get_mut(&id) {
            wire.pipes[side].bytes.push_front(rest.clone());
            let delay = self.delay();
            self.after(delay, Happening::Bytes(id));
        }
        for part in [bytes, if later { Vec::new() } else { rest }] {
            if !part.is_empty() && self.nodes[&to.0].life == to.1 {
                self.give(to.0, Event::PeerBytes { link: to.2, bytes: &part })?;
            }
        }
        Ok(later)
    }

    fn end_wire(&mut self, id: u64, from: (u64, u64, LinkId), to: (u64, u64, LinkId)) -> Check {
        self.wires.remove(&id);
        self.by_link.remove(&from);
        if self.by_link.remove(&to).is_some() && self.nodes[&to.0].life == to.1 {
            self.give(to.0, Event::PeerClosed(to.2))?;
        }
        Ok(())
    }

    /// A machine that is up again answers what it does not know with a reset; one that is down says nothing.
    fn sent_to_the_dead(&mut self, id: u64, from: (u64, u64, LinkId), to: (u64, u64, LinkId)) -> Check {
        if self.nodes[&to.0].server.is_none() {
            return Ok(());
        }
        self.end_wire(id, to, from)
    }

    /// A server's links end with it, or, half-open, are not heard of again.
    pub(crate) fn end_links_of(&mut self, sid: u64, silently: bool, prng: &mut Prng) {
        let dead: Vec<u64> =
            self.wires.iter().filter(|(_, w)| w.ends.iter().any(|e| e.0 == sid)).map(|(id, _)| *id).collect();
        for id in dead {
            let wire = &mut self.wires.get_mut(&id).unwrap();
            let side = usize::from(wire.ends[0].0 != sid);
            match silently {
                true => wire.pipes[side].bytes.clear(),
                false => wire.pipes[side].cut_short(prng),
            }
            if silently {
                continue;
            }
            wire.pipes[side].closed = true;
            let end = wire.ends[side];
            self.by_link.remove(&end);
            self.after(1, Happening::Bytes(id));
        }
    }
}
