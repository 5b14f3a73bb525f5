//! Watches: every client's stream of replies and events, held against the model's triggers.
//!
//! An event comes before any reply that shows the new state; a one-shot watch fires once; none is lost, not
//! over a new connection either (setWatches); persistent and recursive ones hear of everything they should; one
//! that was removed hears nothing more, and nobody of what he may not read (ZOOKEEPER-4799). Of a removal the client tells itself: the server sends no event.

use super::acl::{Acl, READ};
use super::model::{
    ACL_CHANGED, CHILDREN_CHANGED, CREATED, DATA_CHANGED, DELETED, NO_NODE, NO_WATCHER, Trigger,
};
use super::{Arrival, History, Op, Outcome, Registered, WatcherType};
use std::collections::{HashMap, VecDeque};

/// The places of each path's triggers.
type ByPath<'a> = HashMap<&'a str, Vec<usize>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Data,
    Child,
    Persistent,
    Recursive,
}

impl Mode {
    fn is_once(self) -> bool {
        matches!(self, Mode::Data | Mode::Child)
    }

    fn kind(self) -> WatcherType {
        match self {
            Mode::Data => WatcherType::Data,
            Mode::Child => WatcherType::Children,
            Mode::Persistent => WatcherType::Persistent,
            Mode::Recursive => WatcherType::Recursive,
        }
    }

    fn hears(self, watched: &str, trigger: &Trigger) -> bool {
        let same = trigger.path == watched;
        if trigger.kind == ACL_CHANGED {
            return false;
        }
        match self {
            Mode::Data => same && trigger.kind != CHILDREN_CHANGED,
            Mode::Child => same && matches!(trigger.kind, DELETED | CHILDREN_CHANGED),
            Mode::Persistent => same,
            Mode::Recursive => trigger.kind != CHILDREN_CHANGED && (same || is_below(&trigger.path, watched)),
        }
    }
}

fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

/// A watch on a connection.
#[derive(Debug)]
struct Armed {
    path: String,
    mode: Mode,
    /// The first trigger that has not been looked at.
    next: usize,
    /// What it heard and the client was not told yet.
    due: VecDeque<usize>,
    /// It fired, and the client may not read what it fired for.
    spent: bool,
}

/// How many events were checked.
///
/// # Errors
/// The first broken promise.
pub(crate) fn check(history: &History, triggers: &[Trigger]) -> Result<u64, String> {
    let mut events = 0;
    let mut by_path = ByPath::new();
    for (nth, trigger) in triggers.iter().enumerate() {
        by_path.entry(&trigger.path).or_default().push(nth);
    }
    for (client, arrivals) in &history.arrivals {
        let mut stream = Stream {
            history,
            triggers,
            by_path: &by_path,
            armed: Vec::new(),
            told: Vec::new(),
            who: Vec::new(),
            heard: 0,
            events: 0,
        };
        for arrival in arrivals {
            stream.take(arrival).map_err(|what| format!("Watches: client {client}: {what}"))?;
        }
        events += stream.events;
    }
    Ok(events)
}

struct Stream<'a> {
    history: &'a History,
    triggers: &'a [Trigger],
    by_path: &'a ByPath<'a>,
    armed: Vec<Armed>,
    /// Events of a setWatches whose reply has not come yet.
    told: Vec<(i32, &'a str)>,
    /// What the client has proven to be; it proves nothing while it has watches.
    who: Vec<String>,
    /// Triggers that all watches of this connection have listened to.
    heard: usize,
    events: u64,
}

impl<'a> Stream<'a> {
    fn take(&mut self, arrival: &'a Arrival) -> Result<(), String> {
        match arrival {
            Arrival::Connected => {
                self.armed.clear();
                self.told.clear();
                self.who.clear();
                // The next server may be behind the last one's events.
                self.heard = 0;
                Ok(())
            }
            Arrival::Event { kind, path, zxid: -1 } => {
                self.events += 1;
                self.told.push((*kind, path));
                Ok(())
            }
            Arrival::Event { kind, path, zxid } => {
                self.events += 1;
                self.event(*kind, path, *zxid)
            }
            Arrival::Reply(place) => self.reply(*place),
        }
    }

    /// Lets every watch hear what happened up to `zxid`.
    fn listen(&mut self, zxid: i64) {
        let until = self.triggers.partition_point(|t| t.zxid <= zxid);
        if until <= self.heard {
            return;
        }
        self.heard = until;
        for armed in &mut self.armed {
            if armed.next >= until || (armed.mode.is_once() && !armed.due.is_empty()) {
                continue;
            }
            let mut hear = |nth: usize| {
                let trigger = &self.triggers[nth];
                let heard = armed.mode.hears(&armed.path, trigger);
                let fired = heard && armed.mode.is_once();
                match heard && trigger.acl.allows(READ, &self.who) {
                    true => armed.due.push_back(nth),
                    false => armed.spent |= fired,
                }
                fired
            };
            if armed.mode == Mode::Recursive {
                (armed.next..until).for_each(|nth| {
                    hear(nth);
                });
            } else if let Some(places) = self.by_path.get(armed.path.as_str()) {
                let from = places.partition_point(|nth| *nth < armed.next);
                places[from..].iter().take_while(|nth| **nth < until).any(|nth| hear(*nth));
            }
            armed.next = until;
        }
        self.armed.retain(|a| !a.spent);
    }

    fn event(&mut self, kind: i32, path: &str, zxid: i64) -> Result<(), String> {
        self.listen(zxid);
        let triggers = self.triggers;
        let missed = self.armed.iter().find(|a| a.due.front().is_some_and(|nth| triggers[*nth].zxid < zxid));
        if let Some(missed) = missed {
            let first = missed.due.front().map(|nth| &triggers[*nth]);
            return Err(format!("{first:x?} was not told to a watch before {path} at {zxid:#x}"));
        }
        let mut found = false;
        self.armed.retain_mut(|armed| {
            let same = |nth: &usize| (triggers[*nth].kind, triggers[*nth].path.as_str()) == (kind, path);
            let Some(at) = armed.due.iter().position(same) else { return true };
            found = true;
            armed.due.remove(at);
            !armed.mode.is_once()
        });
        if found {
            Ok(())
        } else {
            Err(format!("an event {kind} of {path} at {zxid:#x} that no watch was due"))
        }
    }

    fn reply(&mut self, place: usize) -> Result<(), String> {
        let record = &self.history.records[place];
        let Some(back) = &record.returned else { return Ok(()) };
        self.listen(back.zxid);
        if let Some(late) = self.armed.iter().find(|a| !a.due.is_empty()) {
            let first = late.due.front().map(|nth| &self.triggers[*nth]);
            return Err(format!(
                "{first:x?} was not told before the reply at {:#x} to {:?}",
                back.zxid, record.op
            ));
        }
        let found = !matches!(back.outcome, Outcome::Failed(_));
        match &record.op {
            Op::SetWatches(watches) if found => self.set_again(watches, back.zxid)?,
            Op::GetData { path, watch: true } if found => self.arm(path, Mode::Data, back.zxid),
            Op::Exists { path, watch: true } if found || back.outcome == Outcome::Failed(NO_NODE) => {
                self.arm(path, Mode::Data, back.zxid);
            }
            Op::GetChildren { path, watch: true, .. } if found => self.arm(path, Mode::Child, back.zxid),
            Op::AddWatch { path, recursive } if found => {
                let mode = if *recursive { Mode::Recursive } else { Mode::Persistent };
                self.arm(path, mode, back.zxid);
            }
            Op::AddAuth { .. } if found => record.op.prove(&mut self.who),
            Op::CheckWatches { path, kind } => self.are_there(path, *kind, &back.outcome)?,
            Op::RemoveWatches { path, kind } => {
                self.are_there(path, *kind, &back.outcome)?;
                self.armed.retain(|a| a.path != *path || !kind.means(a.mode.kind()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether an answer about watches is right.
    fn are_there(&self, path: &str, kind: WatcherType, told: &Outcome) -> Result<(), String> {
        let there = self.armed.iter().any(|a| a.path == path && kind.means(a.mode.kind()));
        let due = if there { Outcome::Done } else { Outcome::Failed(NO_WATCHER) };
        if *told == due {
            Ok(())
        } else {
            Err(format!("asked for {kind:?} watches of {path} it was told {told:?}, due was {due:?}"))
        }
    }

    fn arm(&mut self, path: &str, mode: Mode, since: i64) {
        if self.armed.iter().any(|a| a.path == path && a.mode == mode) {
            return;
        }
        let next = self.triggers.partition_point(|t| t.zxid <= since);
        self.armed.push(Armed { path: path.to_owned(), mode, next, due: VecDeque::new(), spent: false });
    }

    fn state(&self, path: &str, since: i64, now: i64) -> State<'a> {
        let mut state = State { exists: false, data_changed: false, children_changed: false, acl: None };
        let places = self.by_path.get(path).map_or(&[][..], Vec::as_slice);
        let all = places.iter().map(|nth| &self.triggers[*nth]);
        for trigger in all.take_while(|t| t.zxid <= now) {
            let new = trigger.zxid > since;
            match trigger.kind {
                ACL_CHANGED => state.acl = Some(&trigger.acl),
                CREATED => {
                    let acl = Some(&*trigger.acl);
                    state = State { exists: true, data_changed: new, children_changed: new, acl };
                }
                DELETED => state.exists = false,
                DATA_CHANGED => state.data_changed |= new,
                _ => state.children_changed |= new,
            }
        }
        state
    }

    /// What happened while nobody was connected is told at once, by the state as it is now. Of what the client
    /// may not read it is not told; the watch stays.
    fn set_again(&mut self, watches: &Registered, now: i64) -> Result<(), String> {
        let mut due = Vec::new();
        let lists = [(&watches.data, 0), (&watches.exist, 1), (&watches.child, 2)];
        for (paths, which) in lists {
            for path in paths {
                let state = self.state(path, watches.since, now);
                let event = match which {
                    0 | 2 if !state.exists => Some(DELETED),
                    0 if state.data_changed => Some(DATA_CHANGED),
                    1 if state.exists => Some(CREATED),
                    2 if state.children_changed => Some(CHILDREN_CHANGED),
                    _ => None,
                };
                let hidden = state.exists && state.acl.is_some_and(|acl| !acl.allows(READ, &self.who));
                match event {
                    Some(kind) if !hidden => due.push((kind, path.as_str())),
                    _ => self.arm(path, if which == 2 { Mode::Child } else { Mode::Data }, now),
                }
            }
        }
        for path in &watches.persistent {
            self.arm(path, Mode::Persistent, now);
        }
        for path in &watches.recursive {
            self.arm(path, Mode::Recursive, now);
        }
        let mut told = std::mem::take(&mut self.told);
        told.sort_unstable();
        due.sort_unstable();
        if told == due {
            Ok(())
        } else {
            Err(format!("setWatches {watches:x?} told {told:?}, due was {due:?}"))
        }
    }
}

/// What the triggers say of a path.
struct State<'a> {
    exists: bool,
    data_changed: bool,
    children_changed: bool,
    acl: Option<&'a Acl>,
}
