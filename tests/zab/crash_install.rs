//! Power cuts around the installation of a snapshot, and before its database is trusted again.

use crate::members::Members;
use crate::script::{INIT_MS, RESEND_MS, Script, ZK1, ZK2, ZK3};

/// zk3 leads zk2; zk1, wiped, has taken in SNAP and NEWLEADER.
fn at_install() -> Script {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.is_new(ZK1);
    z.holds(ZK2, 1, "1:1 1:2");
    z.holds(ZK3, 1, "1:1 1:2");
    z.start(ZK2);
    z.start(ZK3);
    z.settle();
    z.start(ZK1);
    z.votes();
    z.messages();
    z.writes(ZK1, "acceptedEpoch 2");
    z.messages();
    z
}

const WAY: [&str; 3] = ["install 1:2", "currentEpoch 2", "trust"];

fn cut_at(step: usize, done: bool) -> Script {
    let mut z = at_install();
    for before in &WAY[..step] {
        z.writes(ZK1, before);
        z.is_silent(ZK1, ZK3);
    }
    if done {
        z.crash_after(ZK1, WAY[step])
    } else {
        z.crash_before(ZK1, WAY[step])
    }
    z
}

#[test]
fn wherever_it_comes_the_learner_joins_again() {
    for step in 0..WAY.len() {
        for done in [false, true] {
            let mut z = cut_at(step, done);
            z.start(ZK1);
            z.run();
            z.follows(ZK1, ZK3);
            z.shows(ZK1, "1:1 1:2");
            z.keeps(ZK1, "1:1 1:2");
        }
    }
}

/// Until the very last step it has no voice: with zk2 alone there is no leader.
#[test]
fn before_it_is_trusted_it_has_no_voice() {
    for (step, done) in [(0, false), (0, true), (1, false), (1, true), (2, false)] {
        let mut z = cut_at(step, done);
        z.crash(ZK3);
        z.start(ZK1);
        z.vote(ZK1, ZK2, &format!("LOOKING zk1 untrusted, round {}", 1));
        z.live(2 * INIT_MS);
        z.looks(ZK1);
        z.looks(ZK2);
        z.start(ZK3);
        z.live(RESEND_MS);
        z.leads(ZK3, 3);
        z.follows(ZK1, ZK3);
    }
}

#[test]
fn behind_the_last_step_it_votes_again() {
    let mut z = cut_at(2, true);
    z.crash(ZK3);
    z.start(ZK1);
    z.live(RESEND_MS);
    z.leads(ZK2, 3);
    z.follows(ZK1, ZK2);
}
