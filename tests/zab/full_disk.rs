//! Disks that are almost full: who leads then, who leaves, when writes are refused, and that all of it ends.

use crate::members::Members;
use crate::script::{Script, ZK1, ZK2, ZK3, ZK4};
use zkctl::ids::Sid;
use zkctl::prng::Prng;
use zkctl::zab::{Room, Service};

const ALL: [Sid; 3] = [ZK1, ZK2, ZK3];
/// Longer than any of these things takes: a reign, a hand-over, an election.
const A_WHILE: u64 = 8000;

/// Three voters, zk3 leads.
fn three() -> Script {
    let mut z = Script::established(&Members::voters(&ALL), ZK3);
    z.live(1000);
    z
}

#[test]
fn a_leader_with_little_room_hands_over_to_one_with_more() {
    let mut z = three();
    z.proposes(ZK3, "1:1");
    z.has_room(ZK1, Room::Low);
    z.has_room(ZK3, Room::Low);
    z.live(A_WHILE);
    // Not to itself, whose id is the largest, nor to zk1, which has no more room than zk3.
    z.leads(ZK2, 2);
    z.follows(ZK1, ZK2);
    z.follows(ZK3, ZK2);
    ALL.iter().for_each(|sid| z.shows(*sid, "1:1"));
    assert!(!z.refuses(ZK2));
}

#[test]
fn it_goes_when_what_was_begun_is_decided_and_takes_nothing_more() {
    let mut z = three();
    z.has_room(ZK3, Room::Low);
    z.live(1000);
    // The disks of the others hold it up.
    z.proposes(ZK3, "1:1");
    for _ in 0..6 {
        z.wait(100);
        z.messages();
    }
    assert!(z.refuses(ZK3));
    z.leads(ZK3, 1);
    z.live(A_WHILE);
    z.leads(ZK2, 2);
    ALL.iter().for_each(|sid| z.shows(*sid, "1:1"));
}

#[test]
fn a_leader_stays_when_nobody_has_more_room() {
    let mut z = three();
    ALL.iter().for_each(|sid| z.has_room(*sid, Room::Low));
    z.live(A_WHILE);
    z.leads(ZK3, 1);
    assert!(!z.refuses(ZK3), "there is room for writes");
}

#[test]
fn without_room_anywhere_the_leader_stays_and_refuses_writes() {
    let mut z = three();
    ALL.iter().for_each(|sid| z.has_room(*sid, Room::Full));
    z.live(A_WHILE);
    z.leads(ZK3, 1);
    z.follows(ZK1, ZK3);
    z.follows(ZK2, ZK3);
    assert!(z.refuses(ZK3));
    // One with room is not a quorum of disks; two are, and the third is let go.
    z.has_room(ZK3, Room::Low);
    z.live(1000);
    assert!(z.refuses(ZK3));
    z.has_room(ZK2, Room::Low);
    z.live(1000);
    assert!(!z.refuses(ZK3));
    z.looks(ZK1);
    z.proposes(ZK3, "1:1");
    z.has_room(ZK1, Room::Low);
    z.live(A_WHILE);
    z.follows(ZK1, ZK3);
    z.shows(ZK1, "1:1");
}

#[test]
fn a_follower_without_room_is_let_go_and_comes_back_by_itself() {
    let mut z = three();
    z.has_room(ZK1, Room::Full);
    z.live(A_WHILE);
    z.looks(ZK1);
    z.leads(ZK3, 1);
    assert!(!z.refuses(ZK3));
    z.proposes(ZK3, "1:1");
    z.live(1000);
    z.has_room(ZK1, Room::Low);
    z.live(A_WHILE);
    z.follows(ZK1, ZK3);
    z.shows(ZK1, "1:1");
}

#[test]
fn one_that_stays_away_takes_part_when_there_is_no_leader_without_it() {
    let mut z = three();
    z.has_room(ZK1, Room::Full);
    z.live(1000);
    z.looks(ZK1);
    z.crash(ZK3);
    z.live(A_WHILE);
    // It is needed, and nothing can be written.
    z.leads(ZK2, 2);
    z.follows(ZK1, ZK2);
    assert!(z.refuses(ZK2));
    z.start(ZK3);
    z.live(A_WHILE);
    z.leads(ZK2, 2);
    z.follows(ZK3, ZK2);
    z.looks(ZK1);
    assert!(!z.refuses(ZK2));
}

/// Nobody has room, and the leader's host dies for good: those that are left must not wait for each other.
#[test]
fn without_room_anywhere_another_leads_when_the_leader_dies() {
    for voters in [3, 5] {
        let all: Vec<Sid> = (1..=voters).map(Sid).collect();
        let leader = Sid(voters);
        let mut z = Script::established(&Members::voters(&all), leader);
        z.live(1000);
        all.iter().for_each(|sid| z.has_room(*sid, Room::Full));
        z.live(A_WHILE);
        z.leads(leader, 1);
        z.crash(leader);
        z.live(A_WHILE);
        let leads = |sid: &&Sid| matches!(z.hosts[sid].service, Service::Leading(_));
        let next = *all.iter().filter(|sid| **sid != leader).find(leads).expect("somebody leads");
        // Who is not needed for a quorum may stay away.
        let follows =
            |sid: &&Sid| matches!(z.hosts[sid].service, Service::Following { leader, .. } if leader == next);
        assert!(all.iter().filter(follows).count() >= voters as usize / 2);
        assert!(z.refuses(next));
    }
}

/// One was let go before the other filled up, and then the leader dies.
#[test]
fn one_that_is_away_asks_by_itself() {
    let mut z = three();
    z.has_room(ZK1, Room::Full);
    z.live(A_WHILE);
    z.looks(ZK1);
    z.leads(ZK3, 1);
    z.has_room(ZK2, Room::Full);
    z.crash(ZK3);
    z.live(2 * A_WHILE);
    let leads = |sid: &&Sid| matches!(z.hosts[sid].service, Service::Leading(_));
    assert_eq!([ZK1, ZK2].iter().filter(leads).count(), 1);
}

#[test]
fn an_observer_without_room_leaves() {
    let mut z = Script::established(&Members::voters(&ALL).observers(&[ZK4]), ZK3);
    z.live(1000);
    z.has_room(ZK4, Room::Full);
    z.looks(ZK4);
    z.live(A_WHILE);
    z.looks(ZK4);
    z.has_room(ZK4, Room::Ample);
    z.live(A_WHILE);
    z.observes(ZK4, ZK3);
}

/// One behind the others is not voted for, however much room it has: it catches up first, then it leads.
#[test]
fn who_lacks_something_leads_only_when_it_has_it() {
    let mut z = three();
    z.crash(ZK1);
    z.proposes(ZK3, "1:1");
    z.live(1000);
    z.crash(ZK2);
    z.crash(ZK3);
    z.start_all();
    for sid in [ZK2, ZK3] {
        z.has_room(sid, Room::Low);
    }
    z.live(A_WHILE);
    z.leads(ZK1, z.epoch(ZK1));
    ALL.iter().for_each(|sid| z.shows(*sid, "1:1"));
}

/// Whatever room comes and goes, and whoever dies: when nothing changes any more somebody leads, it takes
/// writes if a quorum has room, and nobody stays away without need.
#[test]
fn all_of_it_ends_for_any_rooms() {
    for seed in 0..120 {
        let mut prng = Prng::new(seed);
        let mut z = three();
        let mut rooms = [Room::Ample; 3];
        for _ in 0..8 {
            let sid = ALL[prng.below(3) as usize];
            match prng.below(6) {
                0 if z.is_up(sid) => z.crash(sid),
                0 | 1 if !z.is_up(sid) => {
                    z.start(sid);
                    z.has_room(sid, rooms[sid.0 as usize - 1]);
                }
                _ => {
                    let room = [Room::Full, Room::Low, Room::Ample][prng.below(3) as usize];
                    rooms[sid.0 as usize - 1] = room;
                    if z.is_up(sid) {
                        z.has_room(sid, room);
                    }
                }
            }
            z.live(50 * prng.below(60));
        }
        for sid in ALL {
            if !z.is_up(sid) {
                z.start(sid);
                z.has_room(sid, rooms[sid.0 as usize - 1]);
            }
        }
        // The longest absence is 64 ticks.
        z.live(30_000);
        let leaders: Vec<Sid> =
            ALL.into_iter().filter(|s| matches!(z.hosts[s].service, Service::Leading(_))).collect();
        let [leader] = leaders[..] else { panic!("seed {seed}: {rooms:?}: {leaders:?} lead") };
        let with_room = rooms.iter().filter(|r| **r > Room::Full).count();
        assert_eq!(z.refuses(leader), with_room < 2, "seed {seed}: {rooms:?}, {leader} leads");
        let best = rooms.iter().max();
        let led = rooms[leader.0 as usize - 1];
        assert!(with_room < 2 || Some(&led) == best, "seed {seed}: {rooms:?}, {leader} leads");
        for sid in ALL {
            let away = z.hosts[&sid].service == Service::Down;
            let full = rooms[sid.0 as usize - 1] == Room::Full;
            assert!(!away || full, "seed {seed}: {rooms:?}, {sid} is away");
        }
    }
}
