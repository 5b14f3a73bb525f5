//! What a seed draws: the ensemble, small constants that make rare borders common, and which faults there are.
//!
//! Every kind of fault is on or off for a whole seed (swarm testing): a fault is best seen among few others.

use zkctl::prng::Prng;

/// The most events before everything heals.
pub(crate) const STEPS_MAX: u64 = 8_000;

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) voters: u64,
    pub(crate) observers: u64,
    pub(crate) clients: u64,
    /// One client writes and all others read: a server that has no writer can only be wrong about what it shows.
    pub(crate) one_writer: bool,
    /// Events before everything heals.
    pub(crate) steps: u64,
    /// Events between two faults of a kind, on average; 0 is none.
    pub(crate) crash_every: u64,
    pub(crate) cut_every: u64,
    pub(crate) pause_every: u64,
    pub(crate) disk_fault_every: u64,
    /// Others fill the disks, up to around the marks below which a server has little room or none.
    pub(crate) fill_every: u64,
    /// These marks, the soft one and the hard one, in bytes.
    pub(crate) marks: (u64, u64),
    /// Data and log lie on one file system.
    pub(crate) one_volume: bool,
    pub(crate) restart_every: u64,
    pub(crate) reset_every: u64,
    /// Bytes between two ends of links, on average: what is long is likelier to be cut short; 0 is none.
    pub(crate) reset_bytes: u64,
    /// All servers are restarted, one after the other has come back, in any order.
    pub(crate) rolling: bool,
    /// At last all clients go away, and nothing may be left of them.
    pub(crate) clients_go: bool,
    pub(crate) power_cuts: bool,
    pub(crate) wipes: bool,
    /// Bytes that were durable change on a stopped server.
    pub(crate) rot: bool,
    /// A small file of a stopped server rots.
    pub(crate) rot_small: bool,
    /// A file of a stopped server, or all of its log, is removed.
    pub(crate) deletes: bool,
    /// A dead server's links may end without a word.
    pub(crate) half_open: bool,
    /// One disk operation in so many is slow; 0 is none.
    pub(crate) slow_disk: u64,
    /// Clocks run up to a tenth too fast or too slow, and the wall clock jumps by up to a year.
    pub(crate) skew: bool,
    /// Clients are silent for longer than their sessions last.
    pub(crate) naps: bool,
    /// Clients try sessions that are not theirs, or are over.
    pub(crate) intruders: bool,
    /// Data so large that a snapshot takes several turns.
    pub(crate) big: bool,
    /// Bytes of a snapshot that one turn takes.
    pub(crate) slice: usize,
    /// Zxids of an epoch.
    pub(crate) counter_max: u32,
    /// Ticks that joining and silence may last.
    pub(crate) limits: (u64, u64),
    pub(crate) snap_count: u64,
    pub(crate) prealloc: u64,
    pub(crate) log_bytes: Option<u64>,
    /// Proposals and bytes that DIFF is served from.
    pub(crate) window: (usize, usize),
    /// Servers' own lists differ while this one is made an observer, or a voter, by restarts in any order.
    pub(crate) converted: Option<u64>,
    /// A server that only its own member list names.
    pub(crate) newcomer: Option<Newcomer>,
    /// The directories begin with Apache's `initialize`; else the voters must find each other new.
    pub(crate) initialised: bool,
    /// Clients prove who they are, and some znodes are not for everybody.
    pub(crate) auth: bool,
}

/// A server that is about to join: new, and named by its own list only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer {
    pub(crate) sid: u64,
    pub(crate) votes: bool,
}

impl Options {
    pub(crate) fn draw(prng: &mut Prng) -> Options {
        let one_of = |prng: &mut Prng, choices: &[u64]| choices[prng.below(choices.len() as u64) as usize];
        let voters = one_of(prng, &[1, 3, 3, 3, 5]);
        let observers = one_of(prng, &[0, 0, 1, 2]);
        let big = prng.chance(1, 40);
        let hard = one_of(prng, &[8 << 10, 32 << 10, 32 << 10]) * if big { 50 } else { 1 };
        let converted = (voters > 1 && prng.chance(1, 8)).then(|| prng.between(1, voters + observers));
        let one_writer = prng.chance(1, 6);
        Options {
            voters,
            observers,
            clients: if one_writer { prng.between(2, 4) } else { prng.between(1, 4) },
            one_writer,
            steps: prng.between(2_000, if big { STEPS_MAX / 2 } else { STEPS_MAX }),
            crash_every: one_of(prng, &[0, 100, 300, 300, 1000, 1000]),
            cut_every: one_of(prng, &[0, 300, 1000]),
            pause_every: one_of(prng, &[0, 0, 500, 2000]),
            disk_fault_every: one_of(prng, &[0, 0, 500, 2000]),
            fill_every: one_of(prng, &[0, 0, 0, 300, 1000]),
            marks: (3 * hard, hard),
            one_volume: prng.chance(1, 2),
            restart_every: if converted.is_some() { 400 } else { one_of(prng, &[0, 0, 500, 2000]) },
            reset_every: one_of(prng, &[100, 2000, 2000, 2000]),
            reset_bytes: one_of(prng, &[0, 0, 0, 3000, 30_000]),
            rolling: prng.chance(1, 8),
            clients_go: prng.chance(1, 6),
            power_cuts: prng.chance(2, 3),
            wipes: prng.chance(1, 4),
            rot: prng.chance(1, 4),
            rot_small: prng.chance(1, 8),
            deletes: prng.chance(1, 8),
            half_open: prng.chance(1, 3),
            slow_disk: one_of(prng, &[0, 0, 20, 4]),
            skew: prng.chance(1, 4),
            naps: prng.chance(1, 3),
            intruders: prng.chance(1, 4),
            big,
            slice: one_of(prng, &[1, 100, 1000, 512 << 10, 512 << 10]) as usize,
            counter_max: one_of(
                prng,
                &[30, 150, u64::from(u32::MAX), u64::from(u32::MAX), u64::from(u32::MAX)],
            ) as u32,
            limits: (one_of(prng, &[10, 10, 40]), one_of(prng, &[5, 5, 20])),
            snap_count: one_of(prng, &[4, 20, 100]),
            prealloc: one_of(prng, &[0, 1 << 10, 16 << 10]),
            log_bytes: prng.chance(1, 3).then_some(3000),
            window: [(3, 1 << 20), (20, 1 << 20), (100, 2000), (50_000, 16 << 20)][prng.below(4) as usize],
            converted,
            newcomer: None,
            initialised: prng.chance(1, 2),
            auth: prng.chance(1, 3),
        }
    }

    /// Whom the ensemble lists.
    pub(crate) fn listed(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.voters + self.observers
    }

    pub(crate) fn all(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.listed().chain(self.newcomer.map(|n| n.sid)).collect();
        all.sort_unstable();
        all
    }

    /// Who votes by the list of `sid`, which knows of the conversion or not.
    pub(crate) fn voters_of(&self, sid: u64, converted: bool) -> Vec<u64> {
        let newcomer = self.newcomer.filter(|n| n.sid == sid && n.votes).map(|n| n.sid);
        let changed = self.converted.filter(|_| converted);
        let votes = |sid: &u64| (*sid <= self.voters) != (changed == Some(*sid));
        self.listed().filter(votes).chain(newcomer).collect()
    }
}
