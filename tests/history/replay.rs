//! The witness checker: a history replayed in zxid order against the model, near linear in its length.
//!
//! ZooKeeper's promises and no more: updates linearizable (their zxids follow real time, each answers as
//! the model does at its place); each session sees a growing prefix (every read is exactly the state behind
//! the zxid of its reply); what was acknowledged is in the sequence, once; sync makes the next read as fresh
//! as anything acknowledged before the sync began, over changes of leaders too (ZOOKEEPER-1675).

use super::model::{Model, NO_WATCHER, Place, UNIMPLEMENTED};
use super::{Arrival, History, Op, Outcome, Record, Witness};
use std::collections::{BTreeMap, BTreeSet};

const CREATE_SESSION: i32 = -10;
const CLOSE_SESSION: i32 = -11;
/// The leader did not take the write: no quorum of disks has room. It stands nowhere, now or later.
const OPERATION_TIMEOUT: i32 = -7;
const SESSION_EXPIRED: i32 = -112;
const SESSION_MOVED: i32 = -118;

/// What a replay looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checked {
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    /// Requests whose connection was lost: found in the sequence, and not.
    pub(crate) placed: u64,
    pub(crate) dropped: u64,
}

/// Replays. Returns the model behind the last txn.
///
/// # Errors
/// The first broken promise, by name.
pub(crate) fn check(history: &History, sequence: &[Witness]) -> Result<(Model, Checked), String> {
    let mut replay = Replay::new(history);
    for witness in sequence {
        replay.reads_before(witness.zxid)?;
        replay.txn(witness)?;
    }
    replay.reads_before(i64::MAX)?;
    replay.nothing_is_missing()?;
    replay.refused_sessions()?;
    real_time(history)?;
    Ok((replay.model, replay.checked))
}

struct Replay<'a> {
    history: &'a History,
    model: Model,
    /// Requests by session and xid.
    asked: BTreeMap<(i64, i32), usize>,
    /// Answered reads, by the zxid of their reply.
    reads: Vec<(i64, usize)>,
    next_read: usize,
    last: i64,
    done: BTreeSet<usize>,
    alive: BTreeSet<i64>,
    closed: BTreeSet<i64>,
    checked: Checked,
}

impl<'a> Replay<'a> {
    fn new(history: &'a History) -> Replay<'a> {
        let numbered = || history.records.iter().enumerate();
        let mut reads: Vec<(i64, usize)> = numbered()
            .filter(|(_, r)| !r.op.is_write())
            .filter_map(|(at, r)| r.returned.as_ref().map(|back| (back.zxid, at)))
            .collect();
        reads.sort_unstable();
        Replay {
            history,
            model: Model::default(),
            asked: numbered()
                .filter(|(_, r)| r.op.is_write())
                .map(|(at, r)| ((r.session, r.xid), at))
                .collect(),
            reads,
            next_read: 0,
            last: 0,
            done: BTreeSet::new(),
            alive: BTreeSet::new(),
            closed: BTreeSet::new(),
            checked: Checked::default(),
        }
    }

    /// Every read that was answered before `zxid` saw the state as it is now.
    fn reads_before(&mut self, zxid: i64) -> Result<(), String> {
        while let Some((at, place)) = self.reads.get(self.next_read).copied().filter(|r| r.0 < zxid) {
            self.next_read += 1;
            let record = &self.history.records[place];
            let Some(back) = &record.returned else { continue };
            if matches!(back.outcome, Outcome::Failed(SESSION_EXPIRED | SESSION_MOVED)) {
                continue;
            }
            let Some(expected) = self.model.read(&record.op, record.session, &record.who) else {
                let of_watches = matches!(record.op, Op::CheckWatches { .. } | Op::RemoveWatches { .. });
                if let Outcome::Failed(err) = back.outcome
                    && !(of_watches && err == NO_WATCHER)
                {
                    return Err(format!("Sequential: {} was refused with {err}", name(record)));
                }
                continue;
            };
            self.checked.reads += 1;
            if expected != back.outcome {
                return Err(format!(
                    "ReadsAPrefix: {} was answered at {at:#x} with {:?}, the state there is {expected:?}",
                    name(record),
                    back.outcome
                ));
            }
        }
        Ok(())
    }

    fn txn(&mut self, witness: &Witness) -> Result<(), String> {
        if witness.zxid <= self.last {
            return Err(format!("TotalOrder: {:#x} behind {:#x}", witness.zxid, self.last));
        }
        self.last = witness.zxid;
        let at = Place { zxid: witness.zxid, time: witness.time, session: witness.session, who: &[] };
        if witness.kind == CREATE_SESSION {
            if !self.alive.insert(witness.session) {
                return Err(format!("Sessions: {:#x} is created twice", witness.session));
            }
            return Ok(());
        }
        let place = self.asked.get(&(witness.session, witness.cxid)).copied();
        if witness.kind == CLOSE_SESSION {
            // A second close, by the leader behind the client's own, changes nothing.
            self.closed.insert(witness.session);
            self.model.close(at);
            if let Some(place) = place.filter(|p| self.history.records[*p].op == Op::CloseSession) {
                self.done.insert(place);
            }
            return Ok(());
        }
        let Some(place) = place else {
            return Err(format!("Integrity: nobody asked for {witness:x?}"));
        };
        if !self.done.insert(place) {
            return Err(format!("Integrity: done twice: {witness:x?}"));
        }
        self.request(witness, at, place)
    }

    fn request(&mut self, witness: &Witness, at: Place<'_>, place: usize) -> Result<(), String> {
        let record = &self.history.records[place];
        let session_is_over = matches!(witness.err, SESSION_EXPIRED | SESSION_MOVED);
        if session_is_over {
            return Ok(());
        }
        // What nobody may ask for is refused without a look at the session.
        if !self.is_alive(record.session) && witness.err != UNIMPLEMENTED {
            return Err(format!("Sessions: {} is done for a session that is over", name(record)));
        }
        let expected = self.model.write(&record.op, Place { who: &record.who, ..at });
        if expected.error() != witness.err {
            return Err(format!("Sequential: {} became {witness:x?}, due is {expected:?}", name(record)));
        }
        match &record.returned {
            None => self.checked.placed += 1,
            Some(back) if back.zxid != witness.zxid => {
                return Err(format!(
                    "Sequential: {} was answered {:#x} and stands at {:#x}",
                    name(record),
                    back.zxid,
                    witness.zxid
                ));
            }
            Some(back) if back.outcome != expected => {
                return Err(format!(
                    "Sequential: {} at {:#x} was answered {:?}, due is {expected:?}",
                    name(record),
                    witness.zxid,
                    back.outcome
                ));
            }
            Some(_) => self.checked.writes += 1,
        }
        Ok(())
    }

    fn is_alive(&self, session: i64) -> bool {
        self.alive.contains(&session) && !self.closed.contains(&session)
    }

    /// Acknowledged writes that the sequence does not hold; unknown ones may be missing.
    fn nothing_is_missing(&mut self) -> Result<(), String> {
        for (place, record) in self.history.records.iter().enumerate() {
            if !record.op.is_write() || self.done.contains(&place) {
                continue;
            }
            match &record.returned {
                None => self.checked.dropped += 1,
                Some(back) if is_refused(&back.outcome) => {}
                Some(back) => {
                    return Err(format!(
                        "NothingLost: {} was acknowledged at {:#x} and is not in the sequence",
                        name(record),
                        back.zxid
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Replay<'_> {
    /// Nobody is told that a session is over or elsewhere without its being so.
    fn refused_sessions(&self) -> Result<(), String> {
        for record in &self.history.records {
            let Some(back) = &record.returned else { continue };
            let arrivals = self.history.arrivals.get(&record.client).map_or(&[][..], Vec::as_slice);
            let connections = arrivals.iter().filter(|a| matches!(a, Arrival::Connected)).count();
            let wrong = match back.outcome.error() {
                SESSION_EXPIRED => !self.closed.contains(&record.session),
                SESSION_MOVED => connections < 2,
                _ => false,
            };
            if wrong {
                return Err(format!("Sessions: {} was answered {:?}", name(record), back.outcome));
            }
        }
        Ok(())
    }
}

/// Whether a request was not carried out, by an answer that stands at no zxid.
fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(OPERATION_TIMEOUT | SESSION_EXPIRED | SESSION_MOVED))
}

fn name(record: &Record) -> String {
    let op = short(&format!("{:?}", record.op));
    format!("client {}'s {op} (session {:#x}, xid {})", record.client, record.session, record.xid)
}

/// A text without the filling of data.
fn short(text: &str) -> String {
    text.replace(", 7", "")
}

/// What real time demands: an update stands behind everything acknowledged before it was asked for, and a
/// read behind a sync sees everything acknowledged before the sync was asked for.
fn real_time(history: &History) -> Result<(), String> {
    let mut acknowledged: Vec<(u64, i64)> = history
        .records
        .iter()
        .filter(|r| r.op.is_write())
        .filter_map(|r| r.returned.as_ref())
        .filter(|back| !is_refused(&back.outcome))
        .map(|back| (back.at, back.zxid))
        .collect();
    acknowledged.sort_unstable();
    let mut newest = 0;
    for (_, zxid) in &mut acknowledged {
        newest = newest.max(*zxid);
        *zxid = newest;
    }
    let before = |time: u64| match acknowledged.partition_point(|(at, _)| *at < time) {
        0 => 0,
        n => acknowledged[n - 1].1,
    };
    let mut floors: BTreeMap<u64, i64> = BTreeMap::new();
    for record in &history.records {
        let Some(back) = &record.returned else { continue };
        if is_refused(&back.outcome) {
            continue;
        }
        let floor = before(record.invoked);
        if record.op.is_write() && back.zxid <= floor {
            return Err(format!(
                "Linearizable: {} stands at {:#x}, before it {floor:#x} was acknowledged",
                name(record),
                back.zxid
            ));
        }
        let synced = floors.entry(record.client).or_default();
        if matches!(record.op, Op::Sync { .. }) && back.outcome == Outcome::Done {
            *synced = floor.max(*synced);
        }
        if back.zxid < *synced {
            return Err(format!(
                "SyncIsFresh: {} was answered at {:#x}; before the sync {synced:#x} was acknowledged",
                name(record),
                back.zxid
            ));
        }
    }
    Ok(())
}
