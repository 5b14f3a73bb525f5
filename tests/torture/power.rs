//! True power cuts under load: whatever was acknowledged is on every server afterwards.
//!
//! `POWER_CUTS` and `POWER_SEED` ask for more and other cuts. They come in turns at different moments of a
//! server's life; who is hit and how long the moment is waited for is drawn.

use crate::client::Client;
use crate::images::Image;
use crate::ledger;
use crate::leftovers::fresh_dir;
use crate::load::Writers;
use crate::power_switch::PowerSwitch;
use crate::rig::Rig;
use crate::state::setting;
use crate::trees::{assert_equal, dump};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use zkctl::prng::Prng;

const WRITERS: u64 = 4;
/// Acknowledged writes between two cuts, at least, and a drawn number more.
const BETWEEN: u64 = 40;
const BETWEEN_MORE: u64 = 200;
/// Writes that go on while a moment is waited for.
const SLACK: u64 = 400;
/// A moment that does not come within this time is not waited for: the cut comes then.
const MOMENT: Duration = Duration::from_secs(3);
/// Cuts of one ensemble; then another begins, with other settings.
const ROUND: u64 = 12;

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// During the very first start, before there is anything to lose but the start itself.
    FirstStart,
    /// While clients write.
    Load,
    /// While a snapshot is being written.
    Snapshot,
    /// When a log segment has just begun.
    RollOver,
    /// While a server that lags behind takes the difference.
    Diff,
    /// While a server that has lost everything takes a snapshot.
    Snap,
    /// While a server that was just cut off recovers.
    Recovery,
}

/// The turns. What comes first is in the short form.
const TURNS: [Moment; ROUND as usize] = [
    Moment::FirstStart,
    Moment::Load,
    Moment::Snapshot,
    Moment::Snap,
    Moment::RollOver,
    Moment::Diff,
    Moment::Load,
    Moment::Recovery,
    Moment::Load,
    Moment::Snap,
    Moment::Snapshot,
    Moment::Diff,
];

/// Small segments and, mostly, many snapshots.
fn settings(prng: &mut Prng, round: u64) -> String {
    let count = if round == 0 { 60 } else { [20, 60, 300, 100_000][prng.below(4) as usize] };
    format!("snapCount={count}\npreAllocSize={}\n", [16, 64][prng.below(2) as usize])
}

/// What a run did.
#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    servers_cut: u64,
    writes: u64,
    /// Cuts whose moment was seen, not only waited for.
    in_time: u64,
}

/// One ensemble and who writes to it.
struct Run<'a> {
    rig: Rig,
    prng: &'a mut Prng,
    switch: &'a mut PowerSwitch,
    tally: &'a mut Tally,
}

impl Run<'_> {
    fn any(&mut self) -> usize {
        self.prng.below(3) as usize
    }

    /// One server, the leader, a majority or all.
    fn victims(&mut self) -> Vec<usize> {
        let any = self.any();
        match self.prng.below(10) {
            0..=2 => vec![any],
            3 | 4 => vec![self.rig.ensemble.leader()],
            5..=7 => vec![any, (any + 1) % 3],
            _ => vec![0, 1, 2],
        }
    }

    fn cut(&mut self, victims: &[usize]) {
        self.rig.cut(self.switch, victims);
        self.tally.cuts += 1;
        self.tally.servers_cut += victims.len() as u64;
    }

    /// A drawn part of a moment that has begun. Not a wait for anything: when within it the power goes is
    /// what is drawn.
    fn a_while(&mut self, up_to_ms: u64) {
        thread::sleep(Duration::from_micros(self.prng.below(up_to_ms * 1000)));
    }

    /// Looks without a rest until something is there.
    fn catch(&mut self, mut look: impl FnMut(&Rig) -> bool) {
        let deadline = Instant::now() + MOMENT;
        while Instant::now() < deadline {
            if look(&self.rig) {
                self.tally.in_time += 1;
                return;
            }
            thread::yield_now();
        }
    }

    fn database(&self, index: usize) -> PathBuf {
        self.rig.ensemble.servers[index].database()
    }

    /// Waits for the moment; who is hit may belong to it.
    fn await_moment(&mut self, moment: Moment, writers: &Writers) -> Vec<usize> {
        let mut victims = self.victims();
        writers.wait_for(BETWEEN + self.prng.below(BETWEEN_MORE));
        match moment {
            Moment::FirstStart | Moment::Load => self.tally.in_time += 1,
            Moment::Snapshot => {
                let unfinished = self.database(victims[0]).join("zkctl.snapshot.zkctl-tmp");
                self.catch(|_| unfinished.exists());
            }
            Moment::RollOver => {
                let first = victims[0];
                let newest = self.rig.ensemble.servers[first].files("log.").pop();
                self.catch(|rig| rig.ensemble.servers[first].files("log.").pop() != newest);
            }
            Moment::Diff | Moment::Snap => {
                victims = vec![self.any()];
                self.fall_behind(victims[0], moment == Moment::Snap, writers);
            }
            Moment::Recovery => {
                self.cut(&victims);
                self.rig.restart(&victims);
                self.a_while(60);
                self.tally.in_time += 1;
            }
        }
        victims
    }

    /// Stops a server, lets the others go on, starts it and waits until it is being brought up to date.
    fn fall_behind(&mut self, index: usize, wiped: bool, writers: &Writers) {
        self.rig.ensemble.servers[index].kill();
        if wiped {
            self.rig.ensemble.servers[index].wipe();
        }
        writers.wait_for(BETWEEN + self.prng.below(BETWEEN_MORE));
        let said = about(&self.rig, index);
        self.rig.ensemble.servers[index].start();
        let incoming = self.database(index).join("zkctl.incoming.zkctl-tmp");
        self.catch(|rig| if wiped { incoming.exists() } else { about(rig, index) > said });
        self.a_while(10);
    }

    /// All serve again, and hold all that was acknowledged.
    fn check(&mut self, writers: &Writers) {
        self.rig.wait_serving();
        let written = writers.pause();
        let tree = assert_equal(&self.rig.ensemble);
        written.iter().for_each(|w| w.check(&tree));
        writers.go_on();
    }

    /// Cuts the power of a drawn set of servers while they start for the first time ever.
    fn first_start(&mut self) {
        self.rig.begin_anew();
        for server in &mut self.rig.ensemble.servers {
            server.start();
        }
        let files = ["", "zkctl.lock", "acceptedEpoch", "currentEpoch", "snapshot.0"];
        let file = files[self.prng.below(files.len() as u64) as usize];
        let watching = self.any();
        let watched = self.database(watching).join(file);
        self.catch(|_| watched.exists());
        self.a_while(40);
        let chosen = 1 + self.prng.below(7);
        let victims: Vec<_> = (0..3).filter(|v| chosen & (1 << v) != 0).collect();
        self.cut(&victims);
        self.rig.restart(&victims);
        self.rig.wait_serving();
    }

    fn round(&mut self, cuts: u64) {
        let until_cuts = self.tally.cuts + cuts;
        self.first_start();
        let writers = Writers::start(&self.rig.ensemble.addresses(), WRITERS).hold_back(SLACK);
        for moment in TURNS.into_iter().skip(1) {
            if self.tally.cuts >= until_cuts {
                break;
            }
            let victims = self.await_moment(moment, &writers);
            self.cut(&victims);
            // Half of the time the others go on alone first.
            if victims.len() == 1 && self.prng.chance(1, 2) {
                writers.wait_for(BETWEEN);
            }
            self.rig.restart(&victims);
            self.check(&writers);
        }
        let written = writers.end();
        let tree = assert_equal(&self.rig.ensemble);
        written.iter().for_each(|w| w.check(&tree));
        self.tally.writes += written.iter().map(|w| w.count()).sum::<u64>();
    }
}

/// How often any server has said that it brings this one up to date.
fn about(rig: &Rig, index: usize) -> usize {
    let text = format!("learner {} at ", index + 1);
    rig.ensemble.servers.iter().map(|s| s.said().matches(&text).count()).sum()
}

#[test]
fn no_acknowledged_write_is_lost_to_a_power_cut() {
    let cuts = setting("POWER_CUTS", 6);
    let mut prng = Prng::new(setting("POWER_SEED", 1));
    let mut switch = PowerSwitch::new();
    let mut tally = Tally::default();
    let mut round = 0;
    while tally.cuts < cuts {
        let rig = Rig::three("power", &settings(&mut prng, round));
        let left = cuts - tally.cuts;
        let mut run = Run { rig, prng: &mut prng, switch: &mut switch, tally: &mut tally };
        run.round(left.min(ROUND));
        round += 1;
        eprintln!("{tally:?}: none lost");
    }
    assert!(tally.in_time * 2 > tally.cuts, "void: most cuts came at no particular moment: {tally:?}");
    assert!(tally.writes >= tally.cuts * BETWEEN / 2, "void: too few writes: {tally:?}");
    let counts = [
        ("cuts", tally.cuts),
        ("servers cut", tally.servers_cut),
        ("fault: power cut", tally.servers_cut),
        ("writes", tally.writes),
        ("lost", 0),
    ];
    ledger::record("power cuts", "", counts);
}

/// The instrument itself: what was not synced is gone, and what was is there.
#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let dir = fresh_dir("switch");
    let mut image = Image::fresh(dir.join("ext4"), dir.join("at"), 64 << 20);
    let synced = File::create(image.at().join("synced")).unwrap();
    synced.write_all_at(b"kept", 0).unwrap();
    synced.sync_all().unwrap();
    File::open(image.at()).unwrap().sync_all().unwrap();
    synced.write_all_at(b"lost", 4).unwrap();
    fs::write(image.at().join("unsynced"), b"lost").unwrap();
    PowerSwitch::new().off(&[image.at()]);
    assert!(synced.sync_data().is_err(), "a file system without power takes nothing more");
    drop(synced);
    image.unmount();
    image.mount();
    let kept = fs::read(image.at().join("synced")).unwrap();
    assert!(kept.starts_with(b"kept") && !kept.ends_with(b"lost"), "{kept:?}");
    assert!(!image.at().join("unsynced").exists());
    image.unmount();
    let _ = fs::remove_dir_all(dir);
}

/// The proof proves something: servers that are told not to sync lose what they acknowledged, and the
/// check that finds nothing lost above finds it.
#[test]
fn servers_that_do_not_sync_lose_writes_to_a_power_cut() {
    let mut rig = Rig::three("no-sync", "forceSync=no\n");
    let writers = Writers::start(&rig.ensemble.addresses(), WRITERS);
    writers.wait_for(200);
    let written = writers.end();
    let victims = [0, 1, 2];
    rig.cut(&mut PowerSwitch::new(), &victims);
    rig.restart(&victims);
    rig.wait_serving();
    let tree = dump(&mut Client::of(rig.ensemble.servers[0].address()));
    assert!(written.iter().any(|w| w.is_missing_in(&tree)), "nothing was lost without a single sync");
}
