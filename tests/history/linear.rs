//! The black-box checker: is there any order of the requests that explains all answers? It trusts no zxid.
//!
//! The history is split by key (a znode's path, or the prefix of sequential znodes), each of which must be
//! linearizable alone: Wing and Gong's search, with Lowe's memo of what was tried. A request whose answer was
//! lost may take effect at any time after it was asked for, or never. One client's answered requests keep
//! their order. Checked are creates, deletes, sets with and without a version, and reads right behind a
//! sync; a plain read may be stale and is not looked at.

use super::{History, Op, Outcome, Record};
use std::collections::{BTreeMap, BTreeSet, HashSet};

const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;
const NODE_EXISTS: i32 = -110;
/// Operations of one key beyond which it is not searched.
const CALLS_MAX: usize = 400;
/// States of one key's search beyond which it counts as given up.
const STATES_MAX: usize = 200_000;
const NEVER: u64 = u64::MAX;

/// What is asked of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    Create(Vec<u8>),
    Delete(i32),
    Set(Vec<u8>, i32),
    Read,
    /// The next sequence number.
    Next,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Done,
    Version(i32),
    Value(Vec<u8>, i32),
    Number(i32),
    Failed(i32),
}

#[derive(Clone, Debug)]
struct Call {
    client: u64,
    invoked: u64,
    /// `NEVER` if the answer was lost.
    returned: u64,
    ask: Ask,
    told: Option<Told>,
}

/// A key's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Absent,
    Holds(Vec<u8>, i32),
    Counted(i32),
}

impl State {
    /// What a request does here, and what it answers.
    fn after(&self, ask: &Ask) -> (State, Told) {
        let fails = |code| (self.clone(), Told::Failed(code));
        match (self, ask) {
            (State::Counted(n), _) => (State::Counted(n + 1), Told::Number(*n)),
            (State::Absent, Ask::Create(value)) => (State::Holds(value.clone(), 0), Told::Done),
            (State::Absent, Ask::Next) => (State::Counted(1), Told::Number(0)),
            (State::Absent, _) => fails(NO_NODE),
            (State::Holds(..), Ask::Create(_)) => fails(NODE_EXISTS),
            (State::Holds(_, version), Ask::Delete(expected) | Ask::Set(_, expected))
                if *expected != -1 && expected != version =>
            {
                fails(BAD_VERSION)
            }
            (State::Holds(..), Ask::Delete(_)) => (State::Absent, Told::Done),
            (State::Holds(_, version), Ask::Set(value, _)) => {
                (State::Holds(value.clone(), version + 1), Told::Version(version + 1))
            }
            (State::Holds(value, version), _) => (self.clone(), Told::Value(value.clone(), *version)),
        }
    }
}

/// What a search looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Searched {
    pub(crate) keys: u64,
    pub(crate) calls: u64,
    /// Keys with more calls than are searched.
    pub(crate) too_long: u64,
    /// Keys with more orders than were tried.
    pub(crate) given_up: u64,
}

/// Searches every key.
///
/// # Errors
/// The first key that no order explains.
pub(crate) fn check(history: &History) -> Result<Searched, String> {
    let mut searched = Searched::default();
    for (key, calls) in keys(history) {
        if calls.len() > CALLS_MAX {
            searched.too_long += 1;
            continue;
        }
        let count = calls.len() as u64;
        let begin = if key.ends_with('*') { State::Counted(0) } else { State::Absent };
        match Search::new(calls, begin).run() {
            Some(true) => {
                searched.keys += 1;
                searched.calls += count;
            }
            Some(false) => return Err(format!("BlackBox: no order explains what was answered about {key}")),
            None => searched.given_up += 1,
        }
    }
    Ok(searched)
}

/// The search of one key: calls by the time they were asked.
struct Search {
    calls: Vec<Call>,
    begin: State,
    tried: HashSet<(Vec<u64>, State)>,
}

/// An order under way: what is done, what stands behind it, and what may come next, the best guess last.
struct Step {
    done: Vec<u64>,
    state: State,
    next: Vec<usize>,
}

fn has(done: &[u64], nth: usize) -> bool {
    done[nth / 64] >> (nth % 64) & 1 == 1
}

fn with(mut done: Vec<u64>, nth: usize) -> Vec<u64> {
    done[nth / 64] |= 1 << (nth % 64);
    done
}

impl Search {
    fn new(mut calls: Vec<Call>, begin: State) -> Search {
        calls.sort_by_key(|c| c.invoked);
        Search { calls, begin, tried: HashSet::new() }
    }

    /// Whether an order explains the answers; none when there are too many to try.
    fn run(mut self) -> Option<bool> {
        let words = self.calls.len().div_ceil(64).max(1);
        let mut steps = vec![self.step(vec![0; words], self.begin.clone())];
        while let Some(step) = steps.last_mut() {
            if self.is_whole(&step.done) {
                return Some(true);
            }
            let Some(nth) = step.next.pop() else {
                steps.pop();
                continue;
            };
            let Some(state) = self.explained(&step.state, nth) else { continue };
            let done = with(step.done.clone(), nth);
            if self.tried.len() > STATES_MAX {
                return None;
            }
            if self.tried.insert((done.clone(), state.clone())) {
                let step = self.step(done, state);
                steps.push(step);
            }
        }
        Some(false)
    }

    /// The state behind a request, if it could be answered so here.
    fn explained(&self, state: &State, nth: usize) -> Option<State> {
        let call = &self.calls[nth];
        let (after, told) = state.after(&call.ask);
        call.told.as_ref().is_none_or(|t| *t == told).then_some(after)
    }

    fn is_whole(&self, done: &[u64]) -> bool {
        self.calls.iter().enumerate().all(|(nth, c)| c.returned == NEVER || has(done, nth))
    }

    /// What may come next. A request that changes nothing and can be answered so here is done at once:
    /// whatever order there is, it may as well stand here.
    fn step(&self, mut done: Vec<u64>, state: State) -> Step {
        loop {
            let next = self.candidates(&done);
            let idle = |nth: &&usize| {
                let known = self.calls[**nth].returned != NEVER;
                known && self.explained(&state, **nth).is_some_and(|after| after == state)
            };
            match next.iter().find(idle) {
                Some(nth) => done = with(done, *nth),
                None => return Step { done, state, next },
            }
        }
    }

    /// Requests that may come first among those not done: asked for before any of them was answered, and
    /// their client has no earlier one that was answered and is not done. Of unknown ones that ask for the
    /// same only the first. What was answered first is the best guess; what never was, the worst.
    fn candidates(&self, done: &[u64]) -> Vec<usize> {
        let left = || self.calls.iter().enumerate().filter(|(nth, _)| !has(done, *nth));
        let first = left().map(|(_, c)| c.returned).min().unwrap_or(0);
        let mut waiting = BTreeSet::new();
        let mut unknown: Vec<&Ask> = Vec::new();
        let mut next = Vec::new();
        for (nth, call) in left().take_while(|(_, c)| c.invoked <= first) {
            let may = if call.returned == NEVER {
                let new = !unknown.contains(&&call.ask);
                unknown.push(&call.ask);
                new
            } else {
                waiting.insert(call.client)
            };
            if may {
                next.push(nth);
            }
        }
        next.sort_by_key(|nth| std::cmp::Reverse(self.calls[*nth].returned));
        next
    }
}

/// The calls of every key. What a multi touches, or belongs to a session, is no key.
fn keys(history: &History) -> BTreeMap<String, Vec<Call>> {
    let mut keys: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    let mut spoilt = BTreeSet::new();
    let mut synced: BTreeMap<u64, u64> = BTreeMap::new();
    for record in &history.records {
        let since = synced.remove(&record.client);
        match &record.op {
            Op::Sync { .. } => {
                if record.returned.as_ref().is_some_and(|back| back.outcome == Outcome::Done) {
                    synced.insert(record.client, record.invoked);
                }
            }
            Op::Multi(ops) => spoilt.extend(ops.iter().filter_map(path_of)),
            Op::Create { flags, path, .. } if flags & 1 == 1 && flags & 2 == 0 => {
                spoilt.insert(path.clone());
            }
            _ => {
                let Some((key, call)) = call(record, since) else { continue };
                keys.entry(key).or_default().push(call);
            }
        }
    }
    keys.retain(|key, calls| !spoilt.contains(key) && calls.len() > 1 && is_born(key, calls));
    keys
}

/// Whether the key's first create is in the history, or it is a sequence.
fn is_born(key: &str, calls: &[Call]) -> bool {
    key.ends_with('*') || calls.iter().any(|c| matches!(c.ask, Ask::Create(_)))
}

fn path_of(op: &Op) -> Option<String> {
    match op {
        Op::Create { path, .. } | Op::Delete { path, .. } | Op::SetData { path, .. } => Some(path.clone()),
        _ => None,
    }
}

/// A request as one of a key. A read counts from the sync before it.
fn call(record: &Record, synced: Option<u64>) -> Option<(String, Call)> {
    let (key, ask, invoked) = match &record.op {
        Op::Create { path, flags, .. } if flags & 2 == 2 => (format!("{path}*"), Ask::Next, record.invoked),
        Op::Create { path, data, .. } => (path.clone(), Ask::Create(data.clone()), record.invoked),
        Op::Delete { path, version } => (path.clone(), Ask::Delete(*version), record.invoked),
        Op::SetData { path, data, version } => {
            (path.clone(), Ask::Set(data.clone(), *version), record.invoked)
        }
        Op::GetData { path, .. } => (path.clone(), Ask::Read, synced?),
        _ => return None,
    };
    let told = match record.returned.as_ref().map(|back| &back.outcome) {
        Some(Outcome::Created { path, .. }) if ask == Ask::Next => Some(Told::Number(number(path)?)),
        Some(Outcome::Created { .. } | Outcome::Done) => Some(Told::Done),
        Some(Outcome::Stat(stat)) => Some(Told::Version(stat.version)),
        Some(Outcome::Data { data, stat }) => Some(Told::Value(data.clone(), stat.version)),
        // The parent is not there yet: no number was used.
        Some(Outcome::Failed(_)) if ask == Ask::Next => return None,
        Some(Outcome::Failed(code @ (NO_NODE | BAD_VERSION | NODE_EXISTS))) => Some(Told::Failed(*code)),
        _ => None,
    };
    if told.is_none() && ask == Ask::Read {
        return None;
    }
    let returned = match &record.returned {
        Some(back) if told.is_some() => back.at,
        _ => NEVER,
    };
    Some((key, Call { client: record.client, invoked, returned, ask, told }))
}

fn number(path: &str) -> Option<i32> {
    path.get(path.len().checked_sub(10)?..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Ask, Call, History, NEVER, Op, Outcome, Search, State, check};
    use crate::history::acl::Acl;
    use zkctl::prng::Prng;
    use zkctl::wire::reply::Stat;

    const KEY: &str = "/r";

    /// A history told as lines: client, asked at, answered at (0 is never), request, answer.
    fn told(lines: &[(u64, u64, u64, Op, Outcome)]) -> History {
        let mut history = History::default();
        for (nth, (client, asked, answered, op, outcome)) in lines.iter().cloned().enumerate() {
            let place = history.invoke(client, client as i64, nth as i32, op, asked);
            if answered > 0 {
                history.returned(place, answered, 0, outcome);
            }
        }
        history
    }

    fn stat(version: i32) -> Stat {
        Stat { version, ..Stat::default() }
    }

    fn create(flags: i32) -> Op {
        let path = if flags == 0 { KEY } else { "/s/n-" };
        Op::Create { path: path.into(), data: vec![0], flags, acl: Acl::anyone(31), with_stat: false }
    }

    fn set(value: u8, version: i32) -> Op {
        Op::SetData { path: KEY.into(), data: vec![value], version }
    }

    fn sync() -> Op {
        Op::Sync { path: "/".into() }
    }

    fn get() -> Op {
        Op::GetData { path: KEY.into(), watch: false }
    }

    fn made() -> Outcome {
        Outcome::Created { path: KEY.into(), stat: None }
    }

    fn numbered(n: i32) -> Outcome {
        Outcome::Created { path: format!("/s/n-{n:010}"), stat: None }
    }

    fn now(version: i32) -> Outcome {
        Outcome::Stat(stat(version))
    }

    fn reads(value: u8, version: i32) -> Outcome {
        Outcome::Data { data: vec![value], stat: stat(version) }
    }

    const UNKNOWN: Outcome = Outcome::Done;

    #[track_caller]
    fn holds(lines: &[(u64, u64, u64, Op, Outcome)]) {
        let searched = check(&told(lines)).unwrap();
        assert_eq!((searched.keys, searched.given_up), (1, 0));
    }

    #[track_caller]
    fn breaks(lines: &[(u64, u64, u64, Op, Outcome)]) {
        let error = check(&told(lines)).unwrap_err();
        assert!(error.starts_with("BlackBox: "), "{error}");
    }

    #[test]
    fn overlapping_sets_may_come_in_either_order() {
        holds(&[
            (1, 1, 2, create(0), made()),
            (1, 3, 10, set(1, 0), Outcome::Failed(-103)),
            (2, 4, 9, set(2, 0), now(1)),
            (2, 11, 12, sync(), Outcome::Done),
            (2, 13, 14, get(), reads(2, 1)),
        ]);
    }

    #[test]
    fn a_read_behind_a_sync_must_not_be_stale() {
        let first = [(1, 1, 2, create(0), made()), (1, 3, 4, set(1, -1), now(1))];
        let fresh = [(2, 5, 6, sync(), Outcome::Done), (2, 5, 7, get(), reads(1, 1))];
        holds(&[first.clone(), fresh].concat());
        let stale = [(2, 5, 6, sync(), Outcome::Done), (2, 5, 7, get(), reads(0, 0))];
        breaks(&[first.clone(), stale].concat());
        // The sync was asked for before the set was answered: both are right.
        let early = [(2, 3, 6, sync(), Outcome::Done), (2, 5, 7, get(), reads(0, 0))];
        holds(&[first.clone(), early].concat());
        // A plain read may be stale.
        holds(&[&first[..], &[(2, 5, 7, get(), reads(0, 0))]].concat());
    }

    #[test]
    fn an_update_must_not_be_lost() {
        breaks(&[(1, 1, 2, create(0), made()), (1, 3, 8, set(1, 0), now(1)), (2, 4, 9, set(2, 0), now(1))]);
    }

    #[test]
    fn two_halves_must_not_both_take_writes() {
        breaks(&[
            (1, 1, 2, create(0), made()),
            (1, 3, 4, set(1, -1), now(1)),
            (2, 5, 6, set(2, -1), now(1)),
            (1, 7, 8, sync(), Outcome::Done),
            (1, 7, 9, get(), reads(1, 1)),
        ]);
    }

    #[test]
    fn a_number_must_not_be_given_twice_nor_left_out() {
        let two = |second| [(1, 1, 3, create(2), numbered(0)), (2, 2, 4, create(2), numbered(second))];
        holds(&two(1));
        breaks(&two(0));
        breaks(&two(2));
        // Unless somebody else may have it.
        holds(&[&two(2)[..], &[(3, 1, 0, create(2), UNKNOWN)]].concat());
        // Not if they asked for it later.
        breaks(&[&two(2)[..], &[(3, 5, 0, create(2), UNKNOWN)]].concat());
    }

    #[test]
    fn what_is_unknown_may_have_happened_or_not() {
        let known = [(1, 1, 2, create(0), made()), (2, 3, 0, set(7, -1), UNKNOWN)];
        for (value, version) in [(0, 0), (7, 1)] {
            let read = [(1, 9, 10, sync(), Outcome::Done), (1, 9, 11, get(), reads(value, version))];
            holds(&[known.clone(), read].concat());
        }
        let twice = [(1, 9, 10, sync(), Outcome::Done), (1, 9, 11, get(), reads(7, 2))];
        breaks(&[known.clone(), twice].concat());
        let undone = [
            (1, 9, 10, sync(), Outcome::Done),
            (1, 9, 11, get(), reads(7, 1)),
            (1, 12, 13, sync(), Outcome::Done),
            (1, 12, 14, get(), reads(0, 0)),
        ];
        breaks(&[&known[..], &undone[..]].concat());
    }

    #[test]
    fn one_clients_requests_keep_their_order() {
        let made = (1, 1, 2, create(0), made());
        let deleted = (1, 3, 5, Op::Delete { path: KEY.into(), version: -1 }, Outcome::Done);
        let set = (1, 3, 6, set(1, -1), now(1));
        holds(&[made.clone(), set.clone(), deleted.clone()]);
        breaks(&[made, deleted, set]);
    }

    /// Whether any order explains the calls, by trying all.
    fn by_force(calls: &[Call], done: u32, state: &State) -> bool {
        let left = || calls.iter().enumerate().filter(|(nth, _)| done >> nth & 1 == 0);
        if left().all(|(_, c)| c.returned == NEVER) {
            return true;
        }
        let first = left().map(|(_, c)| c.returned).min().unwrap();
        left().any(|(nth, call)| {
            let earlier =
                |(at, c): (usize, &Call)| at < nth && c.client == call.client && c.returned != NEVER;
            let held_back = call.returned != NEVER && left().any(earlier);
            let (after, told) = state.after(&call.ask);
            let fits = call.told.as_ref().is_none_or(|t| *t == told);
            call.invoked <= first && !held_back && fits && by_force(calls, done | 1 << nth, &after)
        })
    }

    /// Calls of clients that overlap, done in a drawn order within their times. Half of the histories are
    /// then spoilt by answers of others.
    fn drawn(prng: &mut Prng) -> Vec<Call> {
        let mut state = State::Absent;
        let mut free = [0_u64; 3];
        let mut calls = Vec::new();
        for at in 1..=prng.between(2, 8) {
            let client = prng.below(3);
            let value = vec![prng.below(3) as u8];
            let expected = prng.below(3) as i32 - 1;
            let ask = match prng.below(5) {
                0 => Ask::Create(value),
                1 => Ask::Delete(expected),
                2 | 3 => Ask::Set(value, expected),
                _ => Ask::Read,
            };
            let (invoked, returned) =
                (free[client as usize].max(at * 10 - prng.below(30).min(at * 10)), at * 10 + prng.below(30));
            free[client as usize] = returned + 1;
            let lost = ask != Ask::Read && prng.chance(1, 5);
            if lost && prng.chance(1, 2) {
                calls.push(Call { client, invoked, returned: NEVER, ask, told: None });
                continue;
            }
            let (after, told) = state.after(&ask);
            state = after;
            let (returned, told) = if lost { (NEVER, None) } else { (returned, Some(told)) };
            calls.push(Call { client, invoked, returned, ask, told });
        }
        calls.sort_by_key(|c| c.invoked);
        if prng.chance(1, 2) {
            let (a, b) = (prng.below(calls.len() as u64) as usize, prng.below(calls.len() as u64) as usize);
            if calls[a].told.is_some() {
                calls[a].told = calls[b].told.clone().or(calls[a].told.clone());
            }
        }
        calls
    }

    #[test]
    fn the_search_finds_what_trying_all_orders_finds() {
        let mut prng = Prng::new(7);
        let mut found = [0; 2];
        for _ in 0..20_000 {
            let calls = drawn(&mut prng);
            let due = by_force(&calls, 0, &State::Absent);
            assert_eq!(Search::new(calls.clone(), State::Absent).run(), Some(due), "{calls:?}");
            found[usize::from(due)] += 1;
        }
        assert!(found.iter().all(|n| *n > 1000), "both kinds of histories: {found:?}");
    }
}
