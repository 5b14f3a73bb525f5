//! Histories of real ensembles under real faults, judged by two checkers.
//!
//! Everything that clients ask and are told is written down. At the end everything heals, all trees must be
//! equal, and the history is replayed in the order of the servers' txn logs (`history::replay`, `watches`),
//! and searched key by key without trusting any zxid (`history::linear`). A run with too few operations, too
//! few a second or too few faults is void, and fails as such.
//!
//! `HISTORY_SECONDS` runs rounds over all sizes for so long, `HISTORY_OPS` is the answers of one round,
//! `HISTORY_SEED` the first seed.

mod lan;
mod nemesis;
mod network;
mod recorder;
#[cfg(test)]
mod violations;
mod witnesses;
mod workloads;

use crate::ensemble::Ensemble;
use crate::history::model::Model;
use crate::history::{History, linear, replay, watches};
use crate::ledger;
use crate::server::{Server, free_port};
use crate::state::{setting, until, within};
use crate::trees::{CONFIG, Dump, assert_same, dump};
use lan::Lan;
use nemesis::{Faults, Field, Nemesis};
use network::{Doors, Network};
use recorder::Recorder;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use workloads::{Shared, Worker};
use zkctl::jute::Reader;
use zkctl::prng::Prng;
use zkctl::wire::reply::Stat;

/// Answers in a second below which a run proves nothing.
const RATE_MIN: u64 = 20;
/// Servers that notice a silent peer soon; all logs are kept.
const LINES: &str = "tickTime=500\ninitLimit=20\nsyncLimit=4\nsnapCount=3000\npreAllocSize=1024\n\
                     maxClientCnxns=0\n4lw.commands.whitelist=*\n";

/// What one run is.
#[derive(Clone, Copy, Debug)]
struct Plan {
    voters: usize,
    observers: usize,
    seed: u64,
    /// Answers to reach, and faults.
    answers: u64,
    faults: u64,
    clients: u64,
    /// Requests that a client sends at once, at most.
    batch: u64,
    /// The servers are hosts of their own, between which packets are dropped; else TCP goes through doors.
    hosts: bool,
}

impl Plan {
    fn size(&self) -> String {
        let size = match self.observers {
            0 => self.voters.to_string(),
            n => format!("{}+{n}", self.voters),
        };
        if self.hosts { format!("{size} hosts") } else { size }
    }
}

/// What one run tried and how it was judged.
#[derive(Debug)]
struct Verdict {
    checked: replay::Checked,
    events: u64,
    compared: u64,
    searched: linear::Searched,
    moved: u64,
    expiries: u64,
    faults: Faults,
}

/// Starts the servers; what is between them, and where clients find them.
fn start(plan: &Plan) -> (Ensemble, Field, Vec<SocketAddr>) {
    if plan.hosts { start_on_hosts(plan) } else { start_behind_doors(plan) }
}

/// Servers that are hosts of their own.
fn start_on_hosts(plan: &Plan) -> (Ensemble, Field, Vec<SocketAddr>) {
    let count = plan.voters + plan.observers;
    let lan = Lan::begin(count);
    let member = |other: usize| {
        let role = if other > plan.voters { ":observer" } else { "" };
        format!("server.{other}={}:2888:3888{role}\n", lan::address(other))
    };
    let members: String = (1..=count).map(member).collect();
    let name = format!("histories-{}-hosts", plan.size().replace(' ', "-"));
    let ensemble = Ensemble::start(&name, |dir| {
        let make = |me: usize| {
            let role = if me > plan.voters { "peerType=observer\n" } else { "" };
            let mut server = Server::new(dir.join(me.to_string()), 2181, &format!("{LINES}{role}{members}"));
            server.identify(me);
            server.move_to(lan.namespace(me), lan::address(me));
            server
        };
        (1..=count).map(make).collect()
    });
    let clients = ensemble.addresses();
    (ensemble, Field::Hosts(lan), clients)
}

/// Servers whose member lists name each other by doors of a network; and the clients' doors.
fn start_behind_doors(plan: &Plan) -> (Ensemble, Field, Vec<SocketAddr>) {
    let around = RefCell::new(None);
    let ensemble = Ensemble::start(&format!("histories-{}", plan.size()), |dir| {
        let mut doors = Doors::default();
        let servers = servers(plan, dir, &mut doors);
        let door = |(n, s): (usize, &Server)| SocketAddr::from(([127, 0, 0, 1], doors.open(0, n, s.port)));
        let clients: Vec<_> = (1..).zip(&servers).map(door).collect();
        around.replace(Some((Network::begin(doors), clients)));
        servers
    });
    let (network, clients) = around.into_inner().unwrap();
    (ensemble, Field::Doors(network), clients)
}

fn servers(plan: &Plan, dir: &Path, doors: &mut Doors) -> Vec<Server> {
    let count = plan.voters + plan.observers;
    let ports: Vec<_> = (0..count).map(|_| (free_port(), free_port(), free_port())).collect();
    let mut member = |me: usize, other: usize| {
        let (_, mut quorum, mut election) = ports[other - 1];
        if me != other {
            quorum = doors.open(me, other, quorum);
            election = doors.open(me, other, election);
        }
        let role = if other > plan.voters { ":observer" } else { "" };
        format!("server.{other}=127.0.0.1:{quorum}:{election}{role}\n")
    };
    let mut make = |me: usize| {
        let mut members: String = (1..=count).map(|other| member(me, other)).collect();
        if count == 1 {
            members.clear();
        }
        let role = if me > plan.voters { "peerType=observer\n" } else { "" };
        let lines = format!("{LINES}{role}{members}");
        let server = Server::new(dir.join(me.to_string()), ports[me - 1].0, &lines);
        server.identify(me);
        server
    };
    (1..=count).map(&mut make).collect()
}

/// Runs until there are enough answers and faults; returns the clients' recorders.
fn torment(
    plan: &Plan,
    ensemble: &mut Ensemble,
    field: &Field,
    nemesis: &mut Nemesis,
    clients: &[SocketAddr],
) -> (Vec<Recorder>, Arc<Shared>) {
    let clock = Instant::now();
    let mut first = Recorder::new(0, clients, 0, clock);
    workloads::prepare(&mut first);
    let shared = Arc::new(Shared::default());
    let mut prng = Prng::new(plan.seed);
    let begin = |id| {
        let recorder = Recorder::new(id, clients, id as usize, clock);
        let worker = Worker::new(recorder, prng.split(), Arc::clone(&shared), plan.batch);
        thread::spawn(move || worker.work())
    };
    let threads: Vec<_> = (1..=plan.clients).map(begin).collect();
    let wait_for = |target: u64| {
        let answered = || shared.answered.load(Ordering::SeqCst);
        while answered() < target {
            let before = answered();
            let moved = within(crate::state::DEADLINE, || {
                let failed = threads.iter().any(thread::JoinHandle::is_finished);
                (failed || answered() > before).then_some(failed)
            });
            assert_eq!(moved, Some(false), "clients go on: {target} answers are waited for, {before} came");
        }
    };
    for nth in 0..plan.faults {
        wait_for(plan.answers * nth / plan.faults);
        nemesis.strike(ensemble, field);
        // The next fault finds them at work again.
        wait_for(shared.answered.load(Ordering::SeqCst) + 20);
    }
    wait_for(plan.answers);
    until("every server serves again, unaided", || {
        for server in &mut ensemble.servers {
            if let Some(status) = server.ended() {
                panic!("{} ended: {status}\n{}", server.data().display(), server.said());
            }
        }
        ensemble.all_serve().then_some(())
    });
    shared.over.store(true, Ordering::SeqCst);
    let mut recorders: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    recorders.push(first);
    (recorders, shared)
}

fn run(plan: Plan) -> Verdict {
    let began = Instant::now();
    let (mut ensemble, field, clients) = start(&plan);
    let mut nemesis = Nemesis::new(Prng::new(plan.seed ^ 0xfa17), plan.voters);
    let (recorders, shared) = torment(&plan, &mut ensemble, &field, &mut nemesis, &clients);
    let worked = began.elapsed();
    let tree = equal_trees(&ensemble);
    ensemble.servers.iter_mut().for_each(Server::kill);
    let expiries = recorders.iter().map(|r| r.expiries).sum();
    let history = merge(recorders.into_iter().map(|r| r.history));
    let faults = nemesis.faults;
    let mut verdict = match judge(&history, &ensemble, &tree) {
        Ok(verdict) => verdict,
        Err(what) => panic!("{what}\nHISTORY_SEED={} size {}, faults {faults:?}", plan.seed, plan.size()),
    };
    verdict.moved = shared.moved.load(Ordering::SeqCst);
    (verdict.faults, verdict.expiries) = (faults, expiries);
    not_void(&plan, &verdict, worked);
    report(&plan, &verdict, worked, began.elapsed());
    verdict
}

/// Fails when too little happened for the run to prove anything.
fn not_void(plan: &Plan, verdict: &Verdict, worked: Duration) {
    let faults: u64 = verdict.faults.values().sum();
    let judged = verdict.checked.reads + verdict.checked.writes;
    assert!(faults >= plan.faults / 2, "void: only {faults} faults: {:?}", verdict.faults);
    assert!(judged >= plan.answers * 3 / 4, "void: only {judged} answers were judged");
    let rate = judged * 1000 / (worked.as_millis() as u64).max(1);
    assert!(rate >= RATE_MIN, "void: only {rate} answers in a second");
    let searched = verdict.searched;
    let given_up = searched.given_up + searched.too_long;
    assert!(searched.keys > 10 * given_up, "void: hardly a key was searched: {searched:?}");
}

fn report(plan: &Plan, verdict: &Verdict, worked: Duration, all: Duration) {
    let (checked, searched) = (verdict.checked, verdict.searched);
    let mut counts = vec![
        ("operations", checked.writes + checked.reads + checked.placed),
        ("answers checked", checked.writes + checked.reads),
        ("unknown", checked.placed + checked.dropped),
        ("events checked", verdict.events),
        ("log records compared", verdict.compared),
        ("keys searched", searched.keys),
        ("operations searched", searched.calls),
        ("keys too long", searched.too_long),
        ("keys given up", searched.given_up),
        ("sessions moved", verdict.moved),
        ("sessions expired", verdict.expiries),
        ("violations", 0),
    ];
    let named: Vec<_> = verdict.faults.iter().map(|(kind, n)| (format!("fault: {kind}"), *n)).collect();
    counts.extend(named.iter().map(|(kind, n)| (kind.as_str(), *n)));
    eprintln!("size {} seed {}: {worked:.1?} at work, {all:.1?} in all: {counts:?}", plan.size(), plan.seed);
    ledger::record("histories", &plan.size(), counts);
}

/// One history of all clients.
fn merge(parts: impl Iterator<Item = History>) -> History {
    let mut all = History::default();
    for part in parts {
        let base = all.records.len();
        all.records.extend(part.records);
        for (client, arrivals) in part.arrivals {
            let moved = arrivals.into_iter().map(|a| match a {
                crate::history::Arrival::Reply(place) => crate::history::Arrival::Reply(place + base),
                other => other,
            });
            all.arrivals.entry(client).or_default().extend(moved);
        }
    }
    all
}

/// The tree of all servers, without what each makes for itself.
fn equal_trees(ensemble: &Ensemble) -> Dump {
    let mut dumps = ensemble.servers.iter().map(|server| {
        let mut tree = dump(&mut crate::client::Client::of(server.address()));
        tree.remove(CONFIG);
        let mismatches = server.metric("zk_digest_mismatches_count");
        assert_eq!(mismatches.as_deref(), Some("0"), "digests of the log and of the tree agree");
        tree
    });
    let first = dumps.next().unwrap();
    for (nth, other) in (2..).zip(dumps) {
        assert_same(&format!("servers 1 and {nth}"), &first, &other);
    }
    first
}

fn judge(history: &History, ensemble: &Ensemble, tree: &Dump) -> Result<Verdict, String> {
    let (sequence, compared) = witnesses::read(&ensemble.servers)?;
    let (model, checked) = replay::check(history, &sequence)?;
    let events = watches::check(history, &model.triggers)?;
    same(&model, tree)?;
    workloads::check(history)?;
    let searched = linear::check(history)?;
    let faults = Faults::new();
    Ok(Verdict { checked, events, compared, searched, moved: 0, expiries: 0, faults })
}

/// Whether the model ended as the servers did.
fn same(model: &Model, tree: &Dump) -> Result<(), String> {
    let mut count = 0;
    for (path, data, _, stat) in model.all() {
        count += 1;
        let Some(body) = tree.get(path) else { return Err(format!("NothingLost: {path} is missing")) };
        let mut reader = Reader::new(body);
        let found = (reader.buffer(), Stat::read(&mut reader));
        if found != (Ok(Some(data)), Ok(stat)) && found != (Ok(None), Ok(stat)) {
            return Err(format!("NothingLost: {path} is {found:?}, due is {stat:?}"));
        }
    }
    let others = tree.keys().filter(|p| *p == "/" || p.starts_with("/zookeeper")).count();
    match tree.len() - others - count {
        0 => Ok(()),
        more => Err(format!("NothingLost: {more} znodes that nobody made")),
    }
}

fn short(voters: usize, observers: usize) -> Plan {
    let seed = setting("HISTORY_SEED", 1);
    let answers = setting("HISTORY_OPS", 3000);
    Plan { voters, observers, seed, answers, faults: 4, clients: 4, batch: 8, hosts: false }
}

#[test]
fn histories_of_a_server_alone_hold() {
    run(short(1, 0));
}

#[test]
fn histories_of_three_servers_hold() {
    run(short(3, 0));
}

#[test]
fn histories_of_three_servers_and_two_observers_hold() {
    run(short(3, 2));
}

/// Packets dropped by the kernel, both ways and one way.
#[test]
fn histories_of_three_hosts_hold() {
    run(Plan { hosts: true, ..short(3, 0) });
}

/// Rounds over all sizes, for as long as `HISTORY_SECONDS` says.
#[test]
#[ignore = "goes on for as long as HISTORY_SECONDS says"]
fn histories_of_all_sizes_hold_for_long() {
    let time = Duration::from_secs(setting("HISTORY_SECONDS", 600));
    let began = Instant::now();
    let mut prng = Prng::new(setting("HISTORY_SEED", 1));
    let mut round = 0;
    while began.elapsed() < time {
        let (voters, observers, hosts) = [
            (3, 0, false),
            (3, 0, true),
            (5, 0, false),
            (5, 0, true),
            (3, 2, false),
            (3, 2, true),
            (1, 0, false),
        ][round % 7];
        let answers = setting("HISTORY_OPS", 100_000);
        let batch = [8, 64, 1, 64][prng.below(4) as usize];
        let answers = if batch == 1 { answers / 10 } else { answers };
        let (seed, clients, faults) = (prng.next_u64() >> 16, prng.between(4, 8), 12);
        run(Plan { voters, observers, seed, answers, faults, clients, batch, hosts });
        round += 1;
    }
}
