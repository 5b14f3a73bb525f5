//! The checkers see what is wrong: a good history is spoilt in one place, and the violation is named.

use super::{witnesses, workloads};
use crate::history::acl::Acl;
use crate::history::model::{Model, NO_WATCHER, Place};
use crate::history::{Arrival, History, Op, Outcome, WatcherType, Witness, linear, replay, watches};
use std::collections::BTreeMap;
use zkctl::ids::SessionId;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::txn::{Txn, TxnHeader, TxnRecord};
use zkctl::zxid::Zxid;

/// A server that does one request after the other, as it should.
#[derive(Default)]
struct Stage {
    history: History,
    sequence: Vec<Witness>,
    model: Model,
    time: u64,
    xids: BTreeMap<u64, i32>,
}

impl Stage {
    fn zxid(&self) -> i64 {
        self.sequence.last().map_or(0, |w| w.zxid)
    }

    fn commit(&mut self, session: i64, cxid: i32, kind: i32) -> Place<'static> {
        let (zxid, time) = (self.zxid() + 1, 1000 + self.time as i64);
        self.sequence.push(Witness { zxid, session, cxid, time, kind, err: 0 });
        Place { zxid, time, session, who: &[] }
    }

    /// A request from asking to answer; returns its place.
    fn does(&mut self, client: u64, op: Op) -> usize {
        let session = client as i64;
        if !self.xids.contains_key(&client) {
            self.commit(session, 0, OpCode::CreateSession.wire());
            self.history.arrived(client, Arrival::Connected);
        }
        let xid = *self.xids.entry(client).and_modify(|xid| *xid += 1).or_insert(1);
        self.time += 1;
        let place = self.history.invoke(client, session, xid, op.clone(), self.time);
        let who = self.history.records[place].who.clone();
        let outcome = if op.is_write() {
            let at = self.commit(session, xid, OpCode::SetData.wire());
            let outcome = self.model.write(&op, Place { who: &who, ..at });
            self.sequence.last_mut().unwrap().err = outcome.error();
            outcome
        } else {
            self.model.read(&op, session, &who).unwrap_or(Outcome::Done)
        };
        self.time += 1;
        self.history.returned(place, self.time, self.zxid(), outcome);
        place
    }

    /// Everything that is checked about a run.
    fn judge(&self) -> Result<(), String> {
        let (model, _) = replay::check(&self.history, &self.sequence)?;
        watches::check(&self.history, &model.triggers)?;
        workloads::check(&self.history)?;
        self.search()
    }

    fn search(&self) -> Result<(), String> {
        linear::check(&self.history).map(|_| ())
    }

    fn back(&mut self, place: usize) -> &mut crate::history::Returned {
        self.history.records[place].returned.as_mut().unwrap()
    }
}

fn create(path: &str, flags: i32) -> Op {
    Op::Create { path: path.into(), data: vec![1], flags, acl: Acl::anyone(31), with_stat: false }
}

fn set(value: u8) -> Op {
    Op::SetData { path: "/r".into(), data: vec![value], version: -1 }
}

fn get(watch: bool) -> Op {
    Op::GetData { path: "/r".into(), watch }
}

/// Places of a good history.
struct Good {
    stage: Stage,
    before: usize,
    set: usize,
    synced: usize,
    numbers: [usize; 2],
    last: usize,
}

fn good() -> Good {
    let mut stage = Stage::default();
    stage.does(1, create("/r", 0));
    stage.does(1, create("/s", 0));
    let before = stage.does(2, get(true));
    let set_one = stage.does(1, set(1));
    // The watch of client 2 fires before the next reply.
    let zxid = stage.zxid();
    stage.history.arrived(2, Arrival::Event { kind: 3, path: "/r".into(), zxid });
    stage.does(2, Op::Sync { path: "/".into() });
    let synced = stage.does(2, get(false));
    let numbers = [stage.does(1, create("/s/n-", 2)), stage.does(2, create("/s/n-", 2))];
    let last = stage.does(1, set(2));
    Good { stage, before, set: set_one, synced, numbers, last }
}

#[track_caller]
fn is_named(found: Result<(), String>, name: &str) {
    let error = found.expect_err(name);
    assert!(error.starts_with(&format!("{name}: ")), "{name} is due, found {error}");
}

#[test]
fn a_good_history_is_good() {
    good().stage.judge().unwrap();
}

#[test]
fn an_acknowledged_write_that_is_dropped_is_seen() {
    let mut good = good();
    let lost = good.stage.sequence.pop().unwrap();
    assert_eq!(lost.zxid, good.stage.back(good.last).zxid);
    is_named(good.stage.judge(), "NothingLost");
}

#[test]
fn swapped_results_are_seen() {
    let Good { mut stage, numbers: [a, b], .. } = good();
    let first = stage.back(a).outcome.clone();
    let second = std::mem::replace(&mut stage.back(b).outcome, first);
    stage.back(a).outcome = second;
    is_named(stage.judge(), "Sequential");
    is_named(stage.search(), "BlackBox");
}

#[test]
fn a_stale_read_behind_a_sync_is_seen() {
    let Good { mut stage, before, synced, .. } = good();
    let stale = stage.back(before).clone();
    *stage.back(synced) = crate::history::Returned { at: stage.back(synced).at, ..stale };
    is_named(stage.judge(), "SyncIsFresh");
    is_named(stage.search(), "BlackBox");
}

#[test]
fn a_read_of_what_was_never_there_is_seen() {
    let Good { mut stage, before, set, .. } = good();
    let Outcome::Stat(stat) = stage.back(set).outcome else { panic!("a set answers a stat") };
    stage.back(before).outcome = Outcome::Data { data: vec![1], stat };
    is_named(stage.judge(), "ReadsAPrefix");
}

#[test]
fn a_number_given_twice_is_seen() {
    let Good { mut stage, numbers: [a, b], .. } = good();
    stage.back(b).outcome = stage.back(a).outcome.clone();
    is_named(stage.judge(), "Sequential");
    is_named(workloads::check(&stage.history).map(|_| ()), "UniqueIds");
    is_named(stage.search(), "BlackBox");
}

#[test]
fn a_lost_watch_event_is_seen() {
    let mut good = good();
    let arrivals = good.stage.history.arrivals.get_mut(&2).unwrap();
    arrivals.retain(|a| !matches!(a, Arrival::Event { .. }));
    is_named(good.stage.judge(), "Watches");
}

#[test]
fn an_event_told_twice_is_seen() {
    let mut good = good();
    let arrivals = good.stage.history.arrivals.get_mut(&2).unwrap();
    let at = arrivals.iter().position(|a| matches!(a, Arrival::Event { .. })).unwrap();
    arrivals.insert(at, arrivals[at].clone());
    is_named(good.stage.judge(), "Watches");
}

#[test]
fn a_watch_that_fires_when_it_was_removed_is_seen() {
    let mut good = good();
    let kind = WatcherType::Data;
    good.stage.does(2, get(true));
    good.stage.does(2, Op::CheckWatches { path: "/r".into(), kind });
    good.stage.does(2, Op::RemoveWatches { path: "/r".into(), kind });
    good.stage.does(1, set(3));
    good.stage.judge().unwrap();
    let zxid = good.stage.zxid();
    good.stage.history.arrived(2, Arrival::Event { kind: 3, path: "/r".into(), zxid });
    is_named(good.stage.judge(), "Watches");
}

#[test]
fn a_wrong_answer_about_watches_is_seen() {
    let mut good = good();
    let about = |kind| Op::RemoveWatches { path: "/r".into(), kind };
    good.stage.does(2, get(true));
    good.stage.does(2, about(WatcherType::Any));
    let twice = good.stage.does(2, about(WatcherType::Data));
    is_named(good.stage.judge(), "Watches");
    good.stage.back(twice).outcome = Outcome::Failed(NO_WATCHER);
    good.stage.judge().unwrap();
}

fn add_auth() -> Op {
    Op::AddAuth { scheme: "digest".into(), proof: "ann:a".into() }
}

/// Client 1 alone may read, write and administer `/r`; client 2 watches it.
fn hidden() -> Stage {
    let mut stage = Stage::default();
    stage.does(2, Op::Ping);
    stage.does(1, add_auth());
    stage.does(1, create("/r", 0));
    stage.does(2, get(true));
    stage.does(1, Op::SetAcl { path: "/r".into(), acl: Acl::of(31, "auth", ""), version: -1 });
    stage
}

#[test]
fn an_answer_that_no_identity_allows_is_seen() {
    let mut stage = hidden();
    let read = stage.does(1, get(false));
    let refused = stage.does(2, get(false));
    stage.judge().unwrap();
    stage.back(refused).outcome = stage.back(read).outcome.clone();
    is_named(stage.judge(), "ReadsAPrefix");
}

#[test]
fn an_event_of_what_the_client_may_not_read_is_seen() {
    let mut stage = hidden();
    stage.does(1, set(3));
    stage.does(2, Op::Ping);
    stage.judge().unwrap();
    let mut told = stage.history.clone();
    let zxid = stage.zxid();
    told.arrivals.get_mut(&2).unwrap().pop();
    told.arrived(2, Arrival::Event { kind: 3, path: "/r".into(), zxid });
    stage.history = told;
    is_named(stage.judge(), "Watches");
}

#[test]
fn a_write_placed_before_what_was_already_answered_is_seen() {
    let Good { mut stage, set, last, .. } = good();
    // The last set was asked for, by the clock, before everything was answered; now it claims an old place.
    let asked = stage.history.records[last].invoked;
    stage.back(set).at = asked + 10;
    stage.history.records[set].invoked = asked + 9;
    is_named(stage.judge(), "Linearizable");
}

#[test]
fn a_write_that_nobody_asked_for_is_seen() {
    let mut good = good();
    good.stage.commit(1, 99, OpCode::SetData.wire());
    is_named(good.stage.judge(), "Integrity");
}

#[test]
fn a_write_done_twice_is_seen() {
    let mut good = good();
    let last = *good.stage.sequence.last().unwrap();
    good.stage.commit(last.session, last.cxid, last.kind);
    is_named(good.stage.judge(), "Integrity");
}

#[test]
fn money_that_vanishes_and_items_taken_twice_are_seen() {
    let mut stage = Stage::default();
    stage.does(1, workloads::all_accounts());
    is_named(workloads::check(&stage.history).map(|_| ()), "MoneyIsKept");
    let mut stage = Stage::default();
    for client in [1, 2] {
        let place = stage.does(client, Op::Delete { path: "/w/q/i-0000000001".into(), version: 0 });
        stage.back(place).outcome = Outcome::Done;
    }
    is_named(workloads::check(&stage.history).map(|_| ()), "TakenOnce");
}

fn body(zxid: i64, session: i64) -> (i64, Vec<u8>) {
    let zxid_typed = Zxid::from_wire(zxid).unwrap();
    let header = TxnHeader {
        session: SessionId(session),
        cxid: 1,
        zxid: zxid_typed,
        time: 1,
        op: OpCode::CloseSession,
    };
    let mut out = Vec::new();
    TxnRecord { header, txn: Txn::CloseSession { paths: None }, digest: None }.encode(&mut out);
    (zxid, out)
}

#[test]
fn logs_that_disagree_or_have_holes_are_seen() {
    let epoch = 1 << 32;
    let log = |counters: &[i64]| counters.iter().map(|n| body(epoch | n, 1)).collect::<BTreeMap<_, _>>();
    let merged = |logs: &[BTreeMap<i64, Vec<u8>>]| witnesses::merge(logs).map(|_| ());
    let whole = log(&[1, 2, 3, 4]);
    merged(&[whole.clone(), log(&[1, 4])]).unwrap();
    is_named(merged(&[log(&[1, 4]), log(&[1, 2, 4])]), "LocalPrimaryOrder");
    let mut other = whole.clone();
    other.extend([body(epoch | 2, 7)]);
    is_named(merged(&[whole.clone(), other]), "Agreement");
    let mut alone = whole.clone();
    alone.extend([body(epoch | 5, 1), body((2 * epoch) | 1, 1)]);
    let mut rest = whole;
    rest.extend([body((2 * epoch) | 1, 1)]);
    is_named(merged(&[alone, rest.clone(), rest]), "Agreement");
}
