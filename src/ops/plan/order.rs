//! In which order servers may be restarted, and what each restart costs: a model of who counts whom.
//!
//! Every server counts votes by its *own* member list, the one it started with. A server that comes back
//! joins a leader only if it sees enough established voters of its own list; with unequal lists that can
//! fail for ever, which is what makes conversions delicate. A server listens where its own list says, and is
//! looked for where the lists of the others say: where these differ, whoever starts anew does not find it.
//! Deliberately absent: time, and the network.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Member, MemberList};
use crate::ids::Sid;

/// What one server believes and is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The list it counts by.
    pub list: MemberList,
    /// Whether it follows or leads now.
    pub established: bool,
    /// Whether it leads.
    pub leads: bool,
}

/// Which of the remaining voters goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Followers first: the leader is spared until nobody else is left.
    LeaderLast,
    /// The leader first: for changes of who votes.
    LeaderFirst,
}

/// What one restart does to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Writes go on.
    None,
    /// A new leader is elected by those who stay.
    Election,
    /// No majority while the server is down.
    Gap,
    /// The server cannot rejoin.
    Stuck,
}

/// The servers of an ensemble by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    servers: BTreeMap<Sid, Standing>,
}

impl Standings {
    /// From what each running server says.
    pub fn new(servers: impl IntoIterator<Item = (Sid, Standing)>) -> Standings {
        Standings { servers: servers.into_iter().collect() }
    }

    /// Who leads.
    pub fn leader(&self) -> Option<Sid> {
        self.servers.iter().find(|(_, s)| s.leads).map(|(sid, _)| *sid)
    }

    /// Whether a server follows or leads.
    pub fn is_established(&self, sid: Sid) -> bool {
        self.servers.get(&sid).is_some_and(|s| s.established)
    }

    /// Whether a running server listens elsewhere than this says.
    fn moves(&self, member: &Member) -> bool {
        let now = self.servers.get(&member.sid).and_then(|s| s.list.get(member.sid));
        now.is_some_and(|now| now.addresses != member.addresses)
    }

    /// The voters that follow or lead.
    pub fn voters_up(&self) -> BTreeSet<Sid> {
        self.established()
    }

    fn votes(&self, sid: Sid) -> bool {
        self.servers.get(&sid).is_some_and(|s| s.list.get(sid).is_some_and(|m| m.votes()))
    }

    /// Whether `from`, looking where its own list says, finds `to`.
    fn finds(&self, from: Sid, to: Sid) -> bool {
        let at = |holder: Sid| Some(&self.servers.get(&holder)?.list.get(to)?.addresses);
        match (at(from), at(to)) {
            (Some(sought), Some(actual)) => sought == actual,
            _ => true,
        }
    }

    /// Whether two servers hear each other in elections: of two, the one with the greater id dials.
    fn hear(&self, a: Sid, b: Sid) -> bool {
        self.finds(a.max(b), a.min(b))
    }

    /// Whether a server that looks for a leader can follow this one.
    fn can_follow(&self, sid: Sid, leader: Sid) -> bool {
        self.hear(sid, leader) && self.finds(sid, leader)
    }

    /// As `count`, of those only that `sid` hears.
    fn count_heard(&self, sid: Sid, set: &BTreeSet<Sid>) -> (usize, usize) {
        let found = set.iter().copied().filter(|other| self.hear(sid, *other)).collect();
        self.count(sid, &found)
    }

    /// How many of `set` vote by `sid`'s list, and how many it needs.
    fn count(&self, sid: Sid, set: &BTreeSet<Sid>) -> (usize, usize) {
        let Some(server) = self.servers.get(&sid) else { return (0, 1) };
        (server.list.voters().filter(|m| set.contains(&m.sid)).count(), server.list.majority())
    }

    fn established(&self) -> BTreeSet<Sid> {
        let voting = |sid: &Sid| self.votes(*sid);
        self.servers.iter().filter(|(_, s)| s.established).map(|(sid, _)| *sid).filter(voting).collect()
    }

    fn connected(&self) -> BTreeSet<Sid> {
        self.servers.iter().filter(|(_, s)| s.established).map(|(sid, _)| *sid).collect()
    }

    /// Those among `set` who can form a leadership: each sees a majority of its own list in the group.
    fn electable(&self, set: &BTreeSet<Sid>) -> BTreeSet<Sid> {
        let mut group: BTreeSet<Sid> = set.iter().copied().filter(|sid| self.votes(*sid)).collect();
        loop {
            let stays = |sid: &Sid| {
                let (seen, needed) = self.count_heard(*sid, &group);
                seen >= needed
            };
            let kept: BTreeSet<Sid> = group.iter().copied().filter(stays).collect();
            if kept == group {
                return group;
            }
            group = kept;
        }
    }

    /// What would be missing if a server stopped now: `None` when the others go on serving writes, else how many
    /// voters would be up and how many are needed, by the list of whoever counts.
    pub fn missing_without(&self, sid: Sid) -> Option<(usize, usize)> {
        self.missing_without_all(&[sid])
    }

    /// As `missing_without`, for several servers that stop for good.
    pub fn missing_without_all(&self, sids: &[Sid]) -> Option<(usize, usize)> {
        let mut rest = self.established();
        sids.iter().for_each(|sid| {
            rest.remove(sid);
        });
        if let Some(leader) = self.leader().filter(|l| !sids.contains(l)) {
            let (seen, needed) = self.count(leader, &rest);
            return (seen < needed).then_some((seen, needed));
        }
        if !self.electable(&rest).is_empty() {
            return None;
        }
        let counts = rest.iter().map(|s| self.count(*s, &rest));
        let needed = self.servers.values().map(|s| s.list.majority()).max().unwrap_or(1);
        Some(counts.min_by_key(|(seen, needed)| needed - seen.min(needed)).unwrap_or((0, needed)))
    }

    /// Restarts one server with a new list, or starts it if it was down.
    pub fn restart(&mut self, sid: Sid, list: &MemberList) -> Cost {
        let was_up = self.servers.contains_key(&sid);
        let mut cost = Cost::None;
        if let Some(server) = self.servers.get_mut(&sid) {
            server.established = false;
            server.leads = false;
            let enough = |set: &BTreeSet<Sid>| {
                self.leader().is_some_and(|leader| {
                    let (seen, needed) = self.count(leader, set);
                    seen >= needed
                })
            };
            // A leader stays one while enough members of its list are connected, even if some of them only
            // observe by their own list; writes need those who vote.
            if !enough(&self.connected()) {
                self.dissolve();
                cost = if self.elect(Some(sid)) { Cost::Election } else { Cost::Gap };
            } else if !enough(&self.established()) {
                cost = Cost::Gap;
            }
        }
        self.servers.insert(sid, Standing { list: list.clone(), established: false, leads: false });
        if self.leader().is_none() {
            if !self.elect(None) {
                return Cost::Stuck;
            }
            cost = if was_up { Cost::Gap } else { cost };
        }
        self.join_all();
        let back = self.servers.get(&sid).is_some_and(|s| s.established);
        if back { cost } else { Cost::Stuck }
    }

    fn dissolve(&mut self) {
        for server in self.servers.values_mut() {
            server.leads = false;
            server.established = false;
        }
    }

    /// An election among all but one; whether somebody leads now. The greatest id is taken as winner.
    fn elect(&mut self, without: Option<Sid>) -> bool {
        let all: BTreeSet<Sid> = self.servers.keys().copied().filter(|s| Some(*s) != without).collect();
        let group = self.electable(&all);
        // Who leads must be found by a majority; it is the greatest such id here.
        let followers = |leader: Sid| -> BTreeSet<Sid> {
            group.iter().copied().filter(|sid| self.can_follow(*sid, leader)).collect()
        };
        let wins = |leader: &Sid| {
            let (seen, needed) = self.count(*leader, &followers(*leader));
            seen >= needed
        };
        let Some(winner) = group.iter().copied().rfind(wins) else { return false };
        let group = followers(winner);
        for sid in &group {
            if let Some(server) = self.servers.get_mut(sid) {
                server.established = true;
                server.leads = *sid == winner;
            }
        }
        if let Some(sid) = without {
            self.join_all_but(sid);
        } else {
            self.join_all();
        }
        true
    }

    fn join_all(&mut self) {
        self.join_all_but(Sid(i64::MIN));
    }

    /// Whoever looks for a leader joins if it sees enough established voters of its own list.
    fn join_all_but(&mut self, except: Sid) {
        let sids: Vec<Sid> = self.servers.keys().copied().collect();
        for sid in sids {
            let established = self.established();
            let (seen, needed) = self.count_heard(sid, &established);
            let found = self.leader().is_none_or(|leader| self.can_follow(sid, leader));
            if let Some(server) = self.servers.get_mut(&sid)
                && sid != except
                && !server.established
            {
                server.established = found && seen >= needed;
            }
        }
    }
}

/// The order of restarts: who goes before and after all others, and how the leader among the rest is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// How the leader is treated.
    pub strategy: Strategy,
    first: BTreeSet<Sid>,
    last: BTreeSet<Sid>,
}

impl Order {
    /// First goes whoever is down, does not vote by the new list, changes its vote, or moves to another address or
    /// port, so that the others look for it there when their turn comes. A server that no running one lists yet
    /// goes last where `new_last`, so that it meets only servers that know it.
    pub fn new(standings: &Standings, list: &MemberList, strategy: Strategy, new_last: bool) -> Order {
        let known = |sid: Sid| standings.servers.values().any(|s| s.list.get(sid).is_some());
        let (mut first, mut last) = (BTreeSet::new(), BTreeSet::new());
        for member in &list.members {
            if new_last && !known(member.sid) {
                last.insert(member.sid);
            } else if !member.votes() || !standings.votes(member.sid) || standings.moves(member) {
                first.insert(member.sid);
            }
        }
        Order { strategy, first, last }
    }

    /// Who is restarted next; ids decide among equals.
    pub fn next(&self, remaining: &[Sid], leader: Option<Sid>) -> Option<Sid> {
        let rank = |sid: &Sid| {
            let leads = Some(*sid) == leader;
            let turn = match self.strategy {
                _ if self.first.contains(sid) => 0,
                _ if self.last.contains(sid) => 3,
                Strategy::LeaderLast => 1 + u8::from(leads),
                Strategy::LeaderFirst => 2 - u8::from(leads),
            };
            (turn, *sid)
        };
        remaining.iter().copied().min_by_key(rank)
    }
}

/// What each restart costs when done in this order.
pub fn walk(standings: &Standings, restarts: &[Sid], list: &MemberList, order: &Order) -> Vec<(Sid, Cost)> {
    let mut now = standings.clone();
    let mut remaining = restarts.to_vec();
    let mut out = Vec::new();
    while let Some(sid) = order.next(&remaining, now.leader()) {
        remaining.retain(|s| *s != sid);
        let cost = now.restart(sid, list);
        out.push((sid, cost));
    }
    out
}

/// The best order for these restarts: none stuck, then the fewest gaps, then the leader and new servers last.
pub fn choose(standings: &Standings, restarts: &[Sid], list: &MemberList) -> (Order, Vec<(Sid, Cost)>) {
    let of = |strategy, new_last| {
        let order = Order::new(standings, list, strategy, new_last);
        let steps = walk(standings, restarts, list, &order);
        let count = |cost: Cost| steps.iter().filter(|(_, c)| *c == cost).count();
        ((count(Cost::Stuck), count(Cost::Gap)), order, steps)
    };
    let mut best = of(Strategy::LeaderLast, true);
    for (strategy, new_last) in
        [(Strategy::LeaderFirst, true), (Strategy::LeaderLast, false), (Strategy::LeaderFirst, false)]
    {
        let other = of(strategy, new_last);
        if other.0 < best.0 {
            best = other;
        }
    }
    (best.1, best.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(members: &str) -> MemberList {
        let text: String = members
            .split(' ')
            .map(|word| match word.strip_suffix('o') {
                Some(id) => format!("server.{id}=h{id}:1:2:observer\n"),
                None => format!("server.{word}=h{word}:1:2\n"),
            })
            .collect();
        MemberList::from_dynamic_text("f", &text).unwrap()
    }

    fn standing(members: &str, up: &[i64], leader: i64) -> Standings {
        Standings::new(up.iter().map(|sid| {
            (Sid(*sid), Standing { list: list(members), established: true, leads: *sid == leader })
        }))
    }

    fn sids(steps: &[(Sid, Cost)]) -> Vec<i64> {
        steps.iter().map(|(sid, _)| sid.0).collect()
    }

    const ALL: [Sid; 3] = [Sid(1), Sid(2), Sid(3)];

    #[test]
    fn a_rolling_restart_spares_the_leader_and_costs_one_election() {
        let (order, steps) = choose(&standing("1 2 3", &[1, 2, 3], 2), &ALL, &list("1 2 3"));
        assert_eq!((order.strategy, sids(&steps)), (Strategy::LeaderLast, vec![1, 3, 2]));
        assert_eq!(steps.iter().map(|s| s.1).collect::<Vec<_>>(), [Cost::None, Cost::None, Cost::Election]);
    }

    #[test]
    fn a_conversion_takes_the_observer_then_the_leader_then_the_last_voter() {
        let new = list("1 2 3o");
        let now = standing("1 2 3", &[1, 2, 3], 2);
        let (order, steps) = choose(&now, &ALL, &new);
        assert_eq!((order.strategy, sids(&steps)), (Strategy::LeaderFirst, vec![3, 2, 1]));
        assert!(steps.iter().all(|(_, cost)| *cost != Cost::Stuck), "{steps:?}");
        // The order that was seen to fail on the original fails in the model too.
        let wrong = walk(&now, &ALL, &new, &Order::new(&now, &new, Strategy::LeaderLast, true));
        assert_eq!(wrong[1], (Sid(1), Cost::Stuck));
    }

    #[test]
    fn a_leader_is_converted_first_of_all() {
        let (_, steps) = choose(&standing("1 2 3", &[1, 2, 3], 3), &ALL, &list("1 2 3o"));
        assert_eq!(steps[0].0, Sid(3));
        assert!(steps.iter().all(|(_, cost)| *cost != Cost::Stuck), "{steps:?}");
    }

    #[test]
    fn a_promotion_is_never_stuck() {
        for leader in [1, 2] {
            let (_, steps) = choose(&standing("1 2 3o", &[1, 2, 3], leader), &ALL, &list("1 2 3"));
            assert!(steps.iter().all(|(_, cost)| *cost != Cost::Stuck), "{leader}: {steps:?}");
        }
    }

    #[test]
    fn a_new_observer_comes_when_all_know_it_and_a_new_voter_when_it_is_needed() {
        let restarts = [Sid(1), Sid(2), Sid(3), Sid(4)];
        let (_, steps) = choose(&standing("1 2 3", &[1, 2, 3], 2), &restarts, &list("1 2 3 4o"));
        assert_eq!(sids(&steps), [1, 3, 2, 4]);
        assert_eq!(steps.iter().filter(|s| s.1 == Cost::Gap).count(), 0, "{steps:?}");
        // A fourth voter must be up before the others count it.
        let (_, steps) = choose(&standing("1 2 3", &[1, 2, 3], 2), &restarts, &list("1 2 3 4"));
        assert_eq!(steps[0].0, Sid(4));
        assert!(steps.iter().all(|(_, cost)| !matches!(cost, Cost::Gap | Cost::Stuck)), "{steps:?}");
    }

    #[test]
    fn five_voters_lose_one_without_a_gap() {
        let restarts = [1, 2, 3, 4, 5].map(Sid);
        let (_, steps) = choose(&standing("1 2 3 4 5", &[1, 2, 3, 4, 5], 2), &restarts, &list("1 2 3 4 5o"));
        assert!(steps.iter().all(|(_, cost)| matches!(cost, Cost::None | Cost::Election)), "{steps:?}");
    }

    /// `list("1 2 3")` with other ports for those named.
    fn moved(sids: &[i64]) -> MemberList {
        let mut list = list("1 2 3");
        for member in list.members.iter_mut().filter(|m| sids.contains(&m.sid.0)) {
            (member.addresses[0].quorum_port, member.addresses[0].election_port) = (3, 4);
        }
        list
    }

    #[test]
    fn ports_that_change_for_all_leave_no_order_of_single_restarts() {
        for leader in [1, 2, 3] {
            let (_, steps) = choose(&standing("1 2 3", &[1, 2, 3], leader), &ALL, &moved(&[1, 2, 3]));
            assert_eq!(steps[0].1, Cost::Stuck, "{leader}: {steps:?}");
        }
    }

    #[test]
    fn a_server_that_moves_goes_first_where_it_dials_the_others_itself() {
        for leader in [1, 2, 3] {
            let (_, steps) = choose(&standing("1 2 3", &[1, 2, 3], leader), &ALL, &moved(&[3]));
            assert_eq!(steps[0].0, Sid(3), "{leader}: {steps:?}");
            assert!(
                steps.iter().all(|(_, c)| matches!(c, Cost::None | Cost::Election)),
                "{leader}: {steps:?}"
            );
        }
        // Those with greater ids would dial it where it was.
        for leader in [1, 2, 3] {
            let (_, steps) = choose(&standing("1 2 3", &[1, 2, 3], leader), &ALL, &moved(&[1]));
            assert!(steps.iter().any(|(_, c)| *c == Cost::Stuck), "{leader}: {steps:?}");
        }
        // Nobody can follow a leader that is not yet where it is looked for.
        assert_eq!(standing("1 2 3", &[1, 2, 3], 3).restart(Sid(1), &moved(&[3])), Cost::Stuck);
    }

    #[test]
    fn the_guard_counts_by_the_servers_own_lists() {
        let three = standing("1 2 3", &[1, 2, 3], 2);
        assert_eq!(three.missing_without(Sid(1)), None);
        assert_eq!(three.missing_without(Sid(2)), None);
        let two_up = standing("1 2 3", &[1, 2], 2);
        assert_eq!(two_up.missing_without(Sid(1)), Some((1, 2)));
        assert_eq!(two_up.missing_without(Sid(2)), Some((1, 2)));
        let converted = standing("1 2 3o", &[1, 2, 3], 2);
        assert_eq!(converted.missing_without(Sid(3)), None);
        assert_eq!(converted.missing_without(Sid(1)), Some((1, 2)));
        let alone = standing("1", &[1], 1);
        assert_eq!(alone.missing_without(Sid(1)), Some((0, 1)));
    }

    proptest::proptest! {
        #[test]
        fn restarts_with_an_unchanged_list_are_never_stuck(voters in 1i64..8, observers in 0i64..3, leader in 1i64..8) {
            let total = voters + observers;
            let leader = (leader - 1) % voters + 1;
            let words: Vec<String> =
                (1..=total).map(|i| format!("{i}{}", if i > voters { "o" } else { "" })).collect();
            let up: Vec<i64> = (1..=total).collect();
            let now = standing(&words.join(" "), &up, leader);
            let restarts: Vec<Sid> = up.iter().map(|s| Sid(*s)).collect();
            let (_, steps) = choose(&now, &restarts, &list(&words.join(" ")));
            proptest::prop_assert!(steps.iter().all(|(_, cost)| *cost != Cost::Stuck));
            if voters >= 3 {
                proptest::prop_assert!(steps.iter().all(|(_, cost)| *cost != Cost::Gap));
                proptest::prop_assert_eq!(steps.last().map(|s| s.0), Some(Sid(leader)));
            }
        }

        #[test]
        fn conversions_of_one_voter_are_never_stuck(voters in 3i64..8, leader in 1i64..8, which in 1i64..8) {
            let leader = (leader - 1) % voters + 1;
            let which = (which - 1) % voters + 1;
            let words = |observer: Option<i64>| -> String {
                (1..=voters).map(|i| format!("{i}{}", if Some(i) == observer { "o" } else { "" })).collect::<Vec<_>>().join(" ")
            };
            let up: Vec<i64> = (1..=voters).collect();
            let restarts: Vec<Sid> = up.iter().map(|s| Sid(*s)).collect();
            for (from, to) in [(None, Some(which)), (Some(which), None)] {
                let leader = if from == Some(leader) { leader % voters + 1 } else { leader };
                let (_, steps) = choose(&standing(&words(from), &up, leader), &restarts, &list(&words(to)));
                proptest::prop_assert!(steps.iter().all(|(_, cost)| *cost != Cost::Stuck), "{:?}", steps);
            }
        }
    }
}
