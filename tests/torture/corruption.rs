//! One byte of one file of a stopped server is flipped: it comes back with the others' tree, or says what
//! is wrong and where. It never serves anything else.
//!
//! Three servers with different pasts: one that has its snapshot of nothing and a log, one that takes many
//! snapshots, one that got its database from a leader. `CORRUPTION_FLIPS` and `CORRUPTION_SEED` ask for more
//! and other flips.

use crate::client::Client;
use crate::ensemble::{Ensemble, three_servers};
use crate::flips::{Flip, Flips, Kind};
use crate::ledger;
use crate::load::Writers;
use crate::server::Server;
use crate::state::{setting, until, within};
use crate::trees::{CONFIG, Dump, assert_equal, assert_same, dump};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zkctl::prng::Prng;
use zkctl::runtime::exit_code;

/// What the files hold at least: acknowledged writes.
const WRITES: u64 = 700;
/// How long a server whose zoo.cfg names another address may try to find the others. No other server is
/// ever given up on.
const ISOLATED: Duration = Duration::from_secs(8);

/// What became of a flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It started as if nothing were.
    Unharmed,
    /// It set something aside and got it from the others.
    Repaired,
    /// It said what is wrong, and ended.
    Refused,
    /// Its configuration names an address where nobody is.
    Isolated,
}

#[derive(Debug, Default)]
struct Tally {
    flips: u64,
    unharmed: u64,
    repaired: u64,
    refused: u64,
    isolated: u64,
}

fn home(server: &Server) -> PathBuf {
    server.data().parent().unwrap().to_path_buf()
}

/// Three running servers with different pasts.
fn ensemble_with_pasts(name: &str) -> Ensemble {
    let mut ensemble = Ensemble::start(name, |dir| {
        let servers = three_servers(dir, "");
        for (server, count) in servers.iter().zip([100_000, 80, 100_000]) {
            // Relative: a damaged path stays in the server's own directory.
            let text = fs::read_to_string(home(server).join("zoo.cfg")).unwrap();
            let lines =
                text.lines().filter(|l| !l.starts_with("dataDir=") && !l.starts_with("preAllocSize="));
            let kept: String = lines.map(|l| format!("{l}\n")).collect();
            server.configure(&format!("dataDir=data\npreAllocSize=64\nsnapCount={count}\n{kept}"));
        }
        servers
    });
    write(&ensemble, WRITES);
    ensemble.servers[2].kill();
    ensemble.servers[2].wipe();
    ensemble.servers[2].start();
    ensemble.wait_serving();
    write(&ensemble, WRITES / 4);
    ensemble
}

/// So many acknowledged writes, at least.
fn write(ensemble: &Ensemble, count: u64) {
    let writers = Writers::start(&ensemble.addresses(), 3);
    writers.wait_for(count);
    writers.end();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A stopped server's files as they were before any flip.
struct Pristine {
    copy: PathBuf,
    zoo_cfg: String,
}

impl Pristine {
    fn of(server: &Server) -> Pristine {
        let home = home(server);
        let zoo_cfg = fs::read_to_string(home.join("zoo.cfg")).unwrap();
        let pristine = Pristine { copy: home.join("pristine"), zoo_cfg };
        copy(&server.data(), &pristine.copy);
        pristine
    }

    fn restore(&self, server: &Server) {
        fs::remove_dir_all(server.data()).unwrap();
        copy(&self.copy, &server.data());
        server.configure(&self.zoo_cfg);
        fs::write(home(server).join("stderr"), b"").unwrap();
    }
}

/// Starts a damaged server and waits for what becomes of it.
fn judge(server: &mut Server, flip: &Flip, expected: &Dump) -> Verdict {
    server.start();
    let limit = if flip.kind == Kind::ZooCfg { ISOLATED } else { crate::state::DEADLINE };
    let serves = within(limit, || match server.ended() {
        Some(status) => Some(Err(status)),
        None => server.mode().map(|_| Ok(())),
    });
    match serves {
        None => {
            assert_eq!(flip.kind, Kind::ZooCfg, "{flip}: it neither serves nor ends: {}", server.said());
            Verdict::Isolated
        }
        Some(Err(status)) => {
            assert_refusal(server, flip, status.code());
            Verdict::Refused
        }
        Some(Ok(())) => {
            let mut tree = dump(&mut Client::of(server.address()));
            if flip.kind == Kind::ZooCfg {
                // Each server shows its own member list.
                tree.insert(CONFIG.to_owned(), expected[CONFIG].clone());
            }
            assert_same(&format!("{flip}: it and the others"), &tree, expected);
            let mismatches = server.metric("zk_digest_mismatches_count");
            assert!(mismatches.is_none_or(|count| count == "0"), "{flip}: digests differ");
            let untrusted = server.database().join("zkctl.untrusted");
            assert!(!untrusted.exists(), "{flip}: it serves what is not trusted");
            if server.said().contains("Set aside") { Verdict::Repaired } else { Verdict::Unharmed }
        }
    }
}

/// Only what a server is told about itself may keep it from starting.
fn assert_refusal(server: &Server, flip: &Flip, code: Option<i32>) {
    let said = server.said();
    let known = [exit_code::CONFIG, exit_code::DATA_DIR, exit_code::PEER_PORT, exit_code::CLIENT_PORT];
    assert!(known.iter().any(|c| Some(i32::from(*c)) == code), "{flip}: exit code {code:?}: {said}");
    assert!(said.contains("zkctl serve: "), "{flip}: no reason: {said}");
    let own = matches!(flip.kind, Kind::MyId | Kind::ZooCfg);
    assert!(own, "{flip}: the others could have repaired it: {said}");
    let reason = said.lines().skip_while(|l| !l.starts_with("zkctl serve: ")).collect::<Vec<_>>().join("\n");
    let named = ["myid", "zoo.cfg"].iter().any(|file| reason.contains(file));
    assert!(named, "{flip}: neither file is named: {reason}");
}

fn strike(ensemble: &mut Ensemble, index: usize, flips: u64, prng: &mut Prng, tally: &mut Tally) {
    ensemble.servers[index].stop();
    let pristine = Pristine::of(&ensemble.servers[index]);
    ensemble.wait_serving();
    // It has something to catch up with: what it held before is not what it must show.
    let missed = format!("/missed-{index}");
    let mut client = Client::of(ensemble.servers[(index + 1) % 3].address());
    client.create(&missed, b"");
    client.set_many(&missed, b"missed", 20);
    let expected = dump(&mut client);
    client.close();
    let mut plan = Flips::of(&home(&ensemble.servers[index]));
    for _ in 0..flips {
        let server = &mut ensemble.servers[index];
        let flip = plan.next(prng);
        flip.make();
        let verdict = judge(server, &flip, &expected);
        eprintln!("{flip}: {verdict:?}");
        tally.flips += 1;
        match verdict {
            Verdict::Unharmed => tally.unharmed += 1,
            Verdict::Repaired => tally.repaired += 1,
            Verdict::Refused => tally.refused += 1,
            Verdict::Isolated => tally.isolated += 1,
        }
        server.kill();
        pristine.restore(server);
    }
    ensemble.servers[index].start();
    ensemble.wait_serving();
}

#[test]
fn no_flipped_byte_is_ever_served() {
    let flips = setting("CORRUPTION_FLIPS", 48);
    let mut prng = Prng::new(setting("CORRUPTION_SEED", 1));
    let mut ensemble = ensemble_with_pasts("corruption");
    let mut tally = Tally::default();
    for index in 0..3 {
        let count = (flips + 2 - index as u64) / 3;
        strike(&mut ensemble, index, count, &mut prng, &mut tally);
    }
    assert_equal(&ensemble);
    eprintln!("{tally:?}");
    assert!(tally.repaired * 5 > tally.flips, "void: hardly anything was repaired: {tally:?}");
    let counts = [
        ("flips", tally.flips),
        ("fault: flipped byte", tally.flips),
        ("unharmed", tally.unharmed),
        ("repaired", tally.repaired),
        ("refused", tally.refused),
        ("isolated", tally.isolated),
        ("wrong", 0),
    ];
    ledger::record("corruption", "", counts);
}

/// Flips a byte in the middle of what the newest log holds.
fn damage_log(server: &Server) {
    let file = server.files("log.").pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[end / 2] ^= 0x20;
    fs::write(&file, bytes).unwrap();
}

#[test]
fn without_a_trusted_majority_nobody_serves_and_the_way_out_is_named() {
    let mut ensemble = Ensemble::three("halt", "");
    write(&ensemble, 200);
    let expected = assert_equal(&ensemble);
    let leader = ensemble.leader();
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    for index in others.into_iter().chain([leader]) {
        ensemble.servers[index].stop();
    }
    for index in others {
        damage_log(&ensemble.servers[index]);
    }
    ensemble.servers.iter_mut().for_each(Server::start);
    for index in others {
        let said = until("it says what it lost", || {
            Some(ensemble.servers[index].said()).filter(|s| s.contains("this database is not trusted"))
        });
        for part in ["is corrupt at offset", "lost are the zxids behind", "remove zkctl.untrusted"] {
            assert!(said.contains(part), "{part:?} is not said: {said}");
        }
    }
    // They meet and hold elections; longer than any election takes, none of them may serve.
    let served = within(Duration::from_secs(4), || (0..3).find(|i| ensemble.servers[*i].mode().is_some()));
    assert_eq!(served, None, "served by a majority that has lost what it acknowledged");
    // The way out: one of them is believed again, by hand.
    ensemble.servers[others[0]].kill();
    fs::remove_file(ensemble.servers[others[0]].database().join("zkctl.untrusted")).unwrap();
    ensemble.servers[others[0]].start();
    ensemble.wait_serving();
    // One server still held everything, and its history is the longest.
    let tree = assert_equal(&ensemble);
    assert_same("before and after", &tree, &expected);
}
