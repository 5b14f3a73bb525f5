//! Faults: what goes wrong with servers, links and disks, drawn from a stream of chance of their own.
//!
//! Faults are numbered as they are drawn. One whose number is in `skip` does not happen and changes nothing
//! else that is drawn here, which is what the minimiser stands on.

use crate::budget;
use crate::disk::{DiskFault, Fuse, Kind, SimDisk};
use crate::invariants::Check;
use crate::settings::TICK_MS;
use crate::world::{Happening, Node, World};
use std::collections::BTreeSet;
use zkctl::prng::Prng;
use zkctl::server::Event;
use zkctl::zab::Service;

/// When faults happen, and which do not.
pub(crate) struct Faults {
    prng: Prng,
    pub(crate) drawn: u64,
    pub(crate) skip: BTreeSet<u64>,
}

impl Faults {
    pub(crate) fn new(prng: Prng) -> Faults {
        Faults { prng, drawn: 0, skip: BTreeSet::new() }
    }

    /// Whether a fault of a kind happens now, and the chance of its own that decides its details.
    pub(crate) fn draw(&mut self, every: u64) -> Option<Prng> {
        if every == 0 || !self.prng.chance(1, every) {
            return None;
        }
        self.drawn += 1;
        let prng = self.prng.split();
        (!self.skip.contains(&self.drawn)).then_some(prng)
    }
}

impl World {
    /// What goes wrong after this event, as the options allow.
    pub(crate) fn fault(&mut self) -> Check {
        let options = self.options.clone();
        if let Some(mut prng) = self.chances.draw(options.crash_every) {
            self.crash(&mut prng);
        }
        if let Some(mut prng) = self.chances.draw(options.cut_every) {
            self.cut(&mut prng);
        }
        if self.chances.draw(if self.cuts.is_empty() { 0 } else { 300 }).is_some() {
            self.heal_cuts();
        }
        if let Some(mut prng) = self.chances.draw(options.reset_every) {
            self.reset_one(&mut prng)?;
        }
        if let Some(mut prng) = self.chances.draw(options.pause_every) {
            self.pause(&mut prng);
        }
        if let Some(mut prng) = self.chances.draw(options.disk_fault_every) {
            self.break_disk(&mut prng);
        }
        if let Some(mut prng) = self.chances.draw(options.fill_every) {
            self.fill(&mut prng);
        }
        if let Some(mut prng) = self.chances.draw(options.restart_every) {
            self.restart(&mut prng)?;
        }
        if let Some(mut prng) = self.chances.draw(if options.rolling { 1500 } else { 0 })
            && self.rolling.is_empty()
        {
            let mut order: Vec<u64> = self.nodes.keys().copied().collect();
            for last in (1..order.len()).rev() {
                order.swap(last, prng.below(last as u64 + 1) as usize);
            }
            self.count("rolling restart");
            self.rolling = order.into();
        }
        self.roll()?;
        if let Some(mut prng) = self.chances.draw(if options.rot { 200 } else { 0 }) {
            self.damage(&mut prng, "bit rot", SimDisk::rot);
        }
        if let Some(mut prng) = self.chances.draw(if options.rot_small { 200 } else { 0 }) {
            self.damage(&mut prng, "small file rots", SimDisk::rot_small);
        }
        if let Some(mut prng) = self.chances.draw(if options.deletes { 200 } else { 0 }) {
            self.damage(&mut prng, "file deleted", SimDisk::delete);
        }
        if let Some(mut prng) = self.chances.draw(if options.skew { 1000 } else { 0 }) {
            let sid = self.any_server(&mut prng);
            let year = 365 * 86_400_000;
            self.nodes.get_mut(&sid).unwrap().wall_offset = prng.below(2 * year) as i64 - year as i64;
            self.count("wall clock jump");
        }
        Ok(())
    }

    pub(crate) fn count(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(crate) fn any_server(&self, prng: &mut Prng) -> u64 {
        let nth = prng.below(self.nodes.len() as u64) as usize;
        *self.nodes.keys().nth(nth).unwrap()
    }

    fn leads(&self, sid: u64) -> bool {
        self.nodes[&sid].server.as_ref().is_some_and(|s| s.zab().reign().is_some())
    }

    fn leader(&self) -> Option<u64> {
        self.nodes.keys().copied().find(|sid| self.leads(*sid))
    }

    /// Whoever leads, one time in three, if anybody does.
    fn any_or_leader(&self, prng: &mut Prng) -> u64 {
        let any = self.any_server(prng);
        self.leader().filter(|_| prng.chance(1, 3)).unwrap_or(any)
    }

    /// Who crashes: all, some, whoever leads, or just one.
    fn victims(&self, prng: &mut Prng) -> Vec<u64> {
        let all = || self.nodes.keys().copied();
        let leads = |sid: &u64| self.leads(*sid);
        let victims: Vec<u64> = match prng.below(12) {
            0 => all().collect(),
            1 => all().filter(|_| prng.chance(1, 2)).collect(),
            2..=4 => all().filter(leads).collect(),
            _ => Vec::new(),
        };
        if victims.is_empty() { vec![self.any_server(prng)] } else { victims }
    }

    fn crash(&mut self, prng: &mut Prng) {
        let power = self.options.power_cuts && prng.chance(1, 2);
        for sid in self.victims(prng) {
            if power && prng.chance(1, 2) {
                let fuse = Fuse { behind: Kind::draw(prng), left: prng.below(12) };
                self.nodes.get_mut(&sid).unwrap().disk.fuse = Some(fuse);
                continue;
            }
            if self.nodes[&sid].server.is_some() {
                self.count(if power { "power cut" } else { "kill" });
            }
            self.stop(sid, power);
        }
        if self.options.wipes && self.options.voters > 1 && prng.chance(1, 10) {
            self.wipe();
        }
    }

    fn cut(&mut self, prng: &mut Prng) {
        let (a, b) = (self.any_or_leader(prng), self.any_server(prng));
        let hears_nobody = || self.nodes.keys().map(|c| (*c, a));
        let is_unheard = || self.nodes.keys().map(|c| (a, *c));
        if let Some(leader) = self.leader().filter(|_| prng.chance(1, 7)) {
            return self.depose(leader);
        }
        let (now, later) = match prng.below(6) {
            0 => (vec![(a, b)], vec![]),
            1 => (vec![(a, b), (b, a)], vec![]),
            2 => (hears_nobody().chain(is_unheard()).collect(), vec![]),
            3 => (hears_nobody().collect(), vec![]),
            4 => (is_unheard().collect(), vec![]),
            // One way first: the one side waits for longer than the other.
            _ => (is_unheard().collect(), hears_nobody().collect::<Vec<_>>()),
        };
        self.cut_links(now);
        if !later.is_empty() {
            self.after(prng.between(50, 4000), Happening::Cut(later));
        } else if prng.chance(1, 2) {
            self.after(prng.between(5, 300), Happening::HealCuts);
        }
    }

    /// A leader is cut off for as long as the others need to follow another one. With a slow clock it does not know
    /// yet that it is none any more.
    fn depose(&mut self, leader: u64) {
        let others = || self.nodes.keys().filter(move |sid| **sid != leader);
        let cut = others().flat_map(|sid| [(*sid, leader), (leader, *sid)]).collect();
        self.cut_until = self.now + 2 * self.options.limits.1 * TICK_MS + 2000;
        self.cut_links(cut);
    }

    /// Nothing arrives any more from the first of each pair at the second.
    pub(crate) fn cut_links(&mut self, mut new: Vec<(u64, u64)>) {
        new.retain(|(from, to)| from != to);
        if self.healed || new.is_empty() {
            return;
        }
        self.count("cut");
        self.note(format!("cut {new:?}"));
        self.cuts.extend(new);
    }

    pub(crate) fn heal_cuts(&mut self) {
        if self.now < self.cut_until {
            return;
        }
        self.cuts.clear();
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            self.after(1, Happening::Bytes(id));
        }
    }

    /// A server stops for a while and does not know it.
    fn pause(&mut self, prng: &mut Prng) {
        let sid = self.any_or_leader(prng);
        let length = if prng.chance(1, 2) { prng.between(10, 300) } else { prng.between(300, 6000) };
        let until = self.now + length;
        let node = self.nodes.get_mut(&sid).unwrap();
        if node.server.is_some() {
            node.paused_until = until;
            self.count("pause");
            self.note(format!("{sid} is paused for {length} ms"));
        }
    }

    fn break_disk(&mut self, prng: &mut Prng) {
        let sid = self.any_server(prng);
        let (kind, name) = match prng.below(3) {
            0 => (DiskFault::Error(Kind::draw(prng)), "disk error"),
            1 => (DiskFault::Full, "disk full"),
            _ => (DiskFault::Sync, "failed fsync"),
        };
        // What is rare is hit soon, or never.
        let soon = matches!(kind, DiskFault::Error(Some(_)));
        self.nodes.get_mut(&sid).unwrap().disk.fault = Some((prng.below(if soon { 2 } else { 20 }), kind));
        self.count(name);
    }

    /// Others fill the disks of all, of some, of whoever leads or of anybody, for a while.
    fn fill(&mut self, prng: &mut Prng) {
        let mut victims: Vec<u64> = match prng.below(4) {
            0 => self.nodes.keys().copied().collect(),
            1 => self.nodes.keys().copied().filter(|_| prng.chance(1, 2)).collect(),
            _ => Vec::new(),
        };
        if victims.is_empty() {
            victims.push(self.any_or_leader(prng));
        }
        for sid in victims {
            let free = self.little_room(prng);
            let leave = match prng.below(4) {
                0 => [Some(free), None],
                1 => [None, Some(free)],
                _ => [Some(free), Some(free)],
            };
            self.nodes.get_mut(&sid).unwrap().disk.fill(leave, prng.chance(1, 20));
            self.count("disk filled up");
            self.note(format!("{sid}'s disks are filled: left are {leave:?}"));
            self.after(prng.between(200, 12_000), Happening::Emptied(sid));
        }
    }

    /// Bytes that are left on a disk: none, part of the reserve, little more, or less than is enough.
    fn little_room(&self, prng: &mut Prng) -> u64 {
        let (soft, hard) = self.options.marks;
        match prng.below(8) {
            0 => prng.below(500),
            1 | 2 => prng.below(hard),
            3 => hard + prng.below(1000),
            4 => hard + hard / 4 + prng.below(hard),
            5 => soft + prng.below(1000),
            _ => prng.between(hard, soft),
        }
    }

    /// A server's disks are its own again.
    pub(crate) fn empty(&mut self, sid: u64) {
        self.nodes.get_mut(&sid).unwrap().disk.fill([None; 2], false);
        self.note(format!("{sid}'s disks have room"));
    }

    /// An orderly restart, with the other member list if there are two.
    fn restart(&mut self, prng: &mut Prng) -> Check {
        let sid = self.any_server(prng);
        let node = self.nodes.get_mut(&sid).unwrap();
        if node.server.is_none() || node.stopping || node.paused_until > self.now {
            return Ok(());
        }
        node.stopping = true;
        node.knows = prng.chance(1, 2);
        self.count("orderly restart");
        self.give(sid, Event::Stop)
    }

    /// The next server of a rolling restart is stopped in order when all serve.
    fn roll(&mut self) -> Check {
        let serves = |n: &Node| n.server.as_ref().is_some_and(|s| s.service() != Service::Down);
        if self.rolling.is_empty() || !self.nodes.values().all(|n| serves(n) && !n.stopping) {
            return Ok(());
        }
        let Some(sid) = self.rolling.pop_front() else { return Ok(()) };
        self.nodes.get_mut(&sid).unwrap().stopping = true;
        self.give(sid, Event::Stop)
    }

    /// Something that was durable changes on a stopped server, if the budget allows.
    fn damage(
        &mut self,
        prng: &mut Prng,
        kind: &'static str,
        how: impl Fn(&mut SimDisk, &mut Prng) -> Option<String>,
    ) {
        let stopped = self.nodes.values().find(|n| n.server.is_none() && n.life > 1).map(|n| n.sid);
        let Some(sid) = stopped else { return };
        if !budget::may_lose(self, sid) {
            return;
        }
        let node = self.nodes.get_mut(&sid).unwrap();
        let Some(what) = how(&mut node.disk, prng) else { return };
        node.damaged = true;
        self.invariants.forget(sid);
        self.count(kind);
        self.note(format!("{sid}: {kind}: {what}"));
    }

    /// A stopped server's directory is wiped, if the budget allows.
    fn wipe(&mut self) {
        let stopped = self.nodes.values().find(|n| n.server.is_none() && n.life > 1).map(|n| n.sid);
        let Some(sid) = stopped else { return };
        if !budget::may_lose(self, sid) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&sid) {
            node.disk.wipe();
            node.damaged = true;
            self.invariants.forget(sid);
            self.count("wiped directory");
            self.note(format!("{sid} is wiped"));
        }
    }

    /// The end of all faults.
    pub(crate) fn heal(&mut self) -> Check {
        self.healed = true;
        self.note("everything heals".into());
        self.cut_until = 0;
        self.heal_cuts();
        // An operator converts nobody while the voters that are left have no memory.
        let all_know =
            self.options.converted.is_some() && self.prng.chance(1, 2) && budget::remember(self, true);
        for sid in self.nodes.keys().copied().collect::<Vec<_>>() {
            let node = self.nodes.get_mut(&sid).unwrap();
            node.disk.fuse = None;
            node.disk.fault = None;
            node.disk.fill([None; 2], false);
            node.paused_until = node.paused_until.min(self.now);
            let differs = node.knows != all_know;
            node.knows = all_know;
            if differs && node.server.is_some() && !node.stopping {
                node.stopping = true;
                self.give(sid, Event::Stop)?;
            }
        }
        Ok(())
    }
}
