//! Links to peers: the election mesh and the quorum links, as bytes.
//!
//! Owns framing, hellos, which of two crossing dials is kept (the larger sid's), how long a link may be
//! silent, and SNAP streams in both directions. Deliberately absent: what a message means (`zab`). A peer's
//! bytes can only close that peer's link.

use super::event::{Action, Level, PeerPort};
use crate::ids::{LinkId, Sid};
use crate::jute::Error;
use crate::limits;
use crate::session::SessionTable;
use crate::time::Millis;
use crate::tree::{CursorId, Loader, Tree};
use crate::wire::vote::{self, Hello, Notification};
use crate::zab::Message;
use crate::zxid::Zxid;
use std::collections::{BTreeMap, VecDeque};

/// Where a member listens for peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its host, as the member list has it.
    pub host: String,
    /// Its quorum port.
    pub quorum_port: u16,
    /// Its election port.
    pub election_port: u16,
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkKind {
    /// Dialled by us, not yet there.
    ElectionDialling(Sid),
    /// We said who we are to a server with a larger sid: its call, and the end of this, are awaited.
    ElectionCalled(Sid),
    /// Accepted; the hello is awaited.
    ElectionSilent,
    /// Both sides know each other.
    Election(Sid),
    /// Our link to a leader, not yet there.
    QuorumDialling(Sid),
    /// Between leader and learner.
    Quorum,
}

/// A SNAP's stream arriving.
pub(super) struct Receiving {
    pub(super) zxid: Zxid,
    pub(super) loader: Option<Box<Loader>>,
    /// Loaded, but the signature behind the stream has not come: not ours yet.
    pub(super) loaded: Option<Box<(Tree, SessionTable)>>,
}

/// A SNAP's stream leaving, and what must follow it.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) cursor: CursorId,
    pub(super) behind: Vec<u8>,
    /// Bytes handed to the runtime and not known to be with the system.
    pub(super) on_the_way: usize,
}

/// One link.
pub(super) struct Link {
    pub(super) kind: LinkKind,
    pub(super) inbound: Vec<u8>,
    pub(super) outbound: Vec<u8>,
    pub(super) receiving: Option<Receiving>,
    pub(super) sending: Option<Sending>,
}

impl Link {
    fn new(kind: LinkKind) -> Link {
        Link { kind, inbound: Vec::new(), outbound: Vec::new(), receiving: None, sending: None }
    }
}

/// What arrived from the peers.
pub(super) enum FromPeer {
    /// An election link works.
    ElectionUp(Sid),
    /// A peer answered that nobody listens, or its link broke.
    ElectionGone(Sid),
    /// A larger peer has taken our hello and ended the link, and may have died before it read it.
    ElectionUnanswered(Sid),
    /// A vote.
    Notified(Sid, Notification),
    /// Our link to a leader stands.
    Dialled(Sid, LinkId),
    /// It could not be made.
    DialFailed(Sid),
    /// A learner connected.
    Accepted(LinkId),
    /// A quorum link ended.
    QuorumDown(LinkId),
}

/// All links.
pub(super) struct Links {
    me: Sid,
    members: BTreeMap<Sid, PeerAddress>,
    own_address: String,
    links: BTreeMap<LinkId, Link>,
    /// The election link to each peer, standing or being dialled.
    election: BTreeMap<Sid, LinkId>,
    /// Accepted election links that may not have said hello, oldest first, and until when they may.
    silent: VecDeque<(Millis, LinkId)>,
    next_dial: u64,
}

impl Links {
    pub(super) fn new(me: Sid, members: BTreeMap<Sid, PeerAddress>) -> Links {
        let own_address = members.get(&me).map_or_else(String::new, |a| {
            let bracketed = a.host.contains(':');
            let host = if bracketed { format!("[{}]", a.host) } else { a.host.clone() };
            format!("{host}:{}", a.election_port)
        });
        Links {
            me,
            members,
            own_address,
            links: BTreeMap::new(),
            election: BTreeMap::new(),
            silent: VecDeque::new(),
            next_dial: 0,
        }
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    /// The links on which a SNAP is leaving.
    pub(super) fn sending(&self) -> Vec<LinkId> {
        self.links.iter().filter(|(_, l)| l.sending.is_some()).map(|(id, _)| *id).collect()
    }

    fn dial(&mut self, kind: LinkKind, host: String, port: u16, out: &mut Vec<Action>) -> LinkId {
        // Odd numbers are ours, even ones the runtime's.
        self.next_dial += 1;
        let link = LinkId(self.next_dial << 1 | 1);
        self.links.insert(link, Link::new(kind));
        out.push(Action::PeerDial { link, host, port });
        link
    }

    /// Makes sure that an election link to `peer` stands or is being tried.
    pub(super) fn connect(&mut self, peer: Sid, out: &mut Vec<Action>) {
        if peer == self.me {
            return;
        }
        if let Some(old) = self.election.get(&peer).copied() {
            if self.links.get(&old).is_none_or(|l| l.kind != LinkKind::ElectionCalled(peer)) {
                return;
            }
            // It had its time: a dead one would say nothing for ever.
            self.close(old, out);
        }
        let Some(address) = self.members.get(&peer).cloned() else { return };
        let kind = LinkKind::ElectionDialling(peer);
        let link = self.dial(kind, address.host, address.election_port, out);
        self.election.insert(peer, link);
    }

    /// Dials the leader's quorum port.
    pub(super) fn dial_leader(&mut self, leader: Sid, out: &mut Vec<Action>) -> bool {
        let Some(address) = self.members.get(&leader).cloned() else { return false };
        self.dial(LinkKind::QuorumDialling(leader), address.host, address.quorum_port, out);
        true
    }

    /// Puts a notification on the election link to `to`, if it stands.
    pub(super) fn notify(&mut self, to: Sid, notification: &Notification) {
        let Some(link) = self.election.get(&to).and_then(|l| self.links.get_mut(l)) else { return };
        if link.kind == LinkKind::Election(to) {
            notification.encode(&mut link.outbound);
        }
    }

    /// Puts a message on a quorum link, behind a SNAP that is leaving.
    pub(super) fn send(&mut self, link: LinkId, message: &Message) {
        let Some(link) = self.links.get_mut(&link) else { return };
        match &mut link.sending {
            Some(sending) => message.encode(&mut sending.behind),
            None => message.encode(&mut link.outbound),
        }
    }

    /// Forgets a link, and closes it when it still stands.
    pub(super) fn close(&mut self, link: LinkId, out: &mut Vec<Action>) -> Option<CursorId> {
        let removed = self.links.remove(&link)?;
        if !removed.outbound.is_empty() {
            out.push(Action::PeerSend { link, bytes: removed.outbound, tell: false });
        }
        out.push(Action::PeerClose(link));
        self.election.retain(|_, l| *l != link);
        removed.sending.map(|s| s.cursor)
    }

    pub(super) fn on_accepted(
        &mut self,
        now: Millis,
        link: LinkId,
        port: PeerPort,
        out: &mut Vec<Action>,
    ) -> Option<FromPeer> {
        match port {
            PeerPort::Election => {
                let links = &self.links;
                self.silent.retain(|(_, l)| links.get(l).is_some_and(|l| l.kind == LinkKind::ElectionSilent));
                if self.silent.len() >= limits::ELECTION_SILENT_MAX
                    && let Some((_, oldest)) = self.silent.pop_front()
                {
                    self.refuse(oldest, "too many election links without a hello", out);
                }
                self.links.insert(link, Link::new(LinkKind::ElectionSilent));
                self.silent.push_back((now + limits::ELECTION_HELLO_MS, link));
                None
            }
            PeerPort::Quorum => {
                self.links.insert(link, Link::new(LinkKind::Quorum));
                Some(FromPeer::Accepted(link))
            }
        }
    }

    /// Closes what has been silent for too long.
    pub(super) fn on_tick(&mut self, now: Millis, out: &mut Vec<Action>) {
        while let Some((_, link)) = self.silent.front().copied().filter(|(until, _)| *until <= now) {
            self.silent.pop_front();
            if self.links.get(&link).is_some_and(|l| l.kind == LinkKind::ElectionSilent) {
                let reason = format!("an election link said nothing for {} ms", limits::ELECTION_HELLO_MS);
                self.refuse(link, &reason, out);
            }
        }
    }

    /// When `on_tick` is wanted next.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        self.silent.front().map(|(until, _)| *until)
    }

    fn refuse(&mut self, link: LinkId, reason: &str, out: &mut Vec<Action>) {
        out.push(Action::Log(Level::Warn, format!("election link closed: {reason}")));
        self.close(link, out);
    }

    pub(super) fn on_dialled(&mut self, link: LinkId, out: &mut Vec<Action>) -> Option<FromPeer> {
        let me = self.me;
        let address = self.own_address.clone();
        let Some(entry) = self.links.get_mut(&link) else {
            // Given up while its host's name was being looked up.
            out.push(Action::PeerClose(link));
            return None;
        };
        match entry.kind {
            LinkKind::ElectionDialling(peer) => {
                entry.outbound = Hello { sid: me, addresses: vec![address] }.encode();
                if peer > me {
                    // Of two servers the larger dials: having said who we are, we wait for its call.
                    // It stays open until then: a dying server's port still takes calls that nobody reads.
                    entry.kind = LinkKind::ElectionCalled(peer);
                    return None;
                }
                entry.kind = LinkKind::Election(peer);
                Some(FromPeer::ElectionUp(peer))
            }
            LinkKind::QuorumDialling(leader) => {
                entry.kind = LinkKind::Quorum;
                Some(FromPeer::Dialled(leader, link))
            }
            LinkKind::ElectionCalled(_)
            | LinkKind::ElectionSilent
            | LinkKind::Election(_)
            | LinkKind::Quorum => None,
        }
    }

    pub(super) fn on_dial_failed(&mut self, link: LinkId, refused: bool) -> Option<FromPeer> {
        let removed = self.links.remove(&link)?;
        self.election.retain(|_, l| *l != link);
        match removed.kind {
            LinkKind::ElectionDialling(peer) if refused => Some(FromPeer::ElectionGone(peer)),
            LinkKind::QuorumDialling(leader) => Some(FromPeer::DialFailed(leader)),
            _ => None,
        }
    }

    /// A link ended by itself. Its SNAP's cursor, if it was sending one, comes back to be closed.
    pub(super) fn on_closed(&mut self, link: LinkId) -> (Option<FromPeer>, Option<CursorId>) {
        let Some(removed) = self.links.remove(&link) else { return (None, None) };
        let cursor = removed.sending.map(|s| s.cursor);
        let from = match removed.kind {
            LinkKind::Election(peer) if self.election.get(&peer) == Some(&link) => {
                self.election.remove(&peer);
                Some(FromPeer::ElectionGone(peer))
            }
            LinkKind::ElectionCalled(peer) if self.election.get(&peer) == Some(&link) => {
                Some(FromPeer::ElectionUnanswered(peer))
            }
            LinkKind::Quorum => Some(FromPeer::QuorumDown(link)),
            _ => None,
        };
        self.election.retain(|_, l| *l != link);
        (from, cursor)
    }

    /// Takes in bytes of an election link.
    pub(super) fn on_election_bytes(
        &mut self,
        link: LinkId,
        out: &mut Vec<Action>,
        from: &mut Vec<FromPeer>,
    ) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        let mut inbound = std::mem::take(&mut entry.inbound);
        let mut used = 0;
        let result = loop {
            let Some(entry) = self.links.get(&link) else { return };
            let rest = &inbound[used..];
            let step = match entry.kind {
                LinkKind::ElectionSilent => match Hello::decode(rest) {
                    Ok((hello, n)) => self.on_hello(link, &hello, out, from).map(|()| n),
                    Err(e) => Err(e),
                },
                LinkKind::Election(peer) => vote::next_message(rest).and_then(|(payload, n)| {
                    from.push(FromPeer::Notified(peer, Notification::decode(payload)?));
                    Ok(n)
                }),
                LinkKind::ElectionDialling(_)
                | LinkKind::ElectionCalled(_)
                | LinkKind::QuorumDialling(_)
                | LinkKind::Quorum => return,
            };
            match step {
                Ok(n) => used += n,
                Err(Error::Short(_)) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        inbound.drain(..used);
        if let Err(e) = result {
            out.push(Action::Log(Level::Warn, format!("election link closed: {e}")));
            self.close(link, out);
        } else if let Some(entry) = self.links.get_mut(&link) {
            entry.inbound = inbound;
        }
    }

    fn on_hello(
        &mut self,
        link: LinkId,
        hello: &Hello,
        out: &mut Vec<Action>,
        from: &mut Vec<FromPeer>,
    ) -> Result<(), Error> {
        let peer = hello.sid;
        if peer == self.me || peer.0 < 0 {
            self.refuse(link, &format!("it says that it is server {peer}; we are {}", self.me), out);
            return Ok(());
        }
        if !self.members.contains_key(&peer) {
            self.make_room_for_unlisted(peer, out);
        }
        if peer < self.me {
            self.close(link, out);
            // It may have restarted: what we had is not to be trusted.
            if let Some(old) = self.election.get(&peer).copied()
                && self.links.get(&old).is_some_and(|l| l.kind == LinkKind::Election(peer))
            {
                self.close(old, out);
            }
            self.connect_back(peer, hello, out);
            return Ok(());
        }
        if let Some(old) = self.election.insert(peer, link) {
            // A hello that is still to leave would end the new one.
            if let Some(old) = self.links.get_mut(&old) {
                old.outbound.clear();
            }
            self.close(old, out);
        }
        if let Some(entry) = self.links.get_mut(&link) {
            entry.kind = LinkKind::Election(peer);
        }
        from.push(FromPeer::ElectionUp(peer));
        Ok(())
    }

    /// A server that is about to join is in its own list before it is in ours. As with the original it may
    /// ask who leads; `zab` answers it and never counts it.
    fn make_room_for_unlisted(&mut self, peer: Sid, out: &mut Vec<Action>) {
        let known = self.election.contains_key(&peer);
        let unlisted: Vec<LinkId> =
            self.election.iter().filter(|(s, _)| !self.members.contains_key(s)).map(|(_, l)| *l).collect();
        if !known
            && unlisted.len() >= limits::ELECTION_UNLISTED_MAX
            && let Some(oldest) = unlisted.iter().min()
        {
            self.refuse(*oldest, "too many servers that our member list does not name", out);
        }
        let text = format!("server {peer} is not in our member list; it may learn, and has no vote");
        out.push(Action::Log(Level::Info, text));
    }

    /// Dials a smaller server that has shown up: where our list says, else where it says itself.
    fn connect_back(&mut self, peer: Sid, hello: &Hello, out: &mut Vec<Action>) {
        if self.members.contains_key(&peer) {
            return self.connect(peer, out);
        }
        let address = hello.addresses.first().and_then(|a| a.rsplit_once(':'));
        let Some((host, Ok(port))) = address.map(|(host, port)| (host, port.parse())) else { return };
        if !self.election.contains_key(&peer) {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let link = self.dial(LinkKind::ElectionDialling(peer), host, port, out);
            self.election.insert(peer, link);
        }
    }

    /// One piece per link that has something to send.
    pub(super) fn flush(&mut self, out: &mut Vec<Action>) {
        for (id, link) in &mut self.links {
            let dialling = matches!(link.kind, LinkKind::ElectionDialling(_) | LinkKind::QuorumDialling(_));
            if !link.outbound.is_empty() && !dialling {
                let tell = link.sending.is_some();
                let bytes = std::mem::take(&mut link.outbound);
                out.push(Action::PeerSend { link: *id, bytes, tell });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Server 2 of 1, 2 and 3.
    fn links() -> Links {
        let address = |n: i64| PeerAddress { host: format!("zk{n}"), quorum_port: 2182, election_port: 2183 };
        Links::new(Sid(2), (1..=3).map(|n| (Sid(n), address(n))).collect())
    }

    fn accept(links: &mut Links, at: u64, link: u64) -> Vec<Action> {
        let mut out = Vec::new();
        assert!(links.on_accepted(Millis(at), LinkId(link), PeerPort::Election, &mut out).is_none());
        out
    }

    fn hear(links: &mut Links, link: u64, bytes: &[u8]) -> (Vec<Action>, Vec<FromPeer>) {
        let (mut out, mut from) = (Vec::new(), Vec::new());
        links.get_mut(LinkId(link)).unwrap().inbound.extend_from_slice(bytes);
        links.on_election_bytes(LinkId(link), &mut out, &mut from);
        (out, from)
    }

    fn hello(sid: i64, address: &str) -> Vec<u8> {
        Hello { sid: Sid(sid), addresses: vec![address.to_owned()] }.encode()
    }

    fn closed(out: &[Action]) -> Vec<u64> {
        out.iter().filter_map(|a| if let Action::PeerClose(link) = a { Some(link.0) } else { None }).collect()
    }

    fn dialled(out: &[Action]) -> Vec<(String, u16)> {
        let dial = |a: &Action| match a {
            Action::PeerDial { host, port, .. } => Some((host.clone(), *port)),
            _ => None,
        };
        out.iter().filter_map(dial).collect()
    }

    #[test]
    fn a_link_that_never_says_hello_is_closed_in_time() {
        let mut links = links();
        accept(&mut links, 100, 10);
        // Half a hello is none.
        let (out, _) = hear(&mut links, 10, &hello(3, "zk3:2183")[..9]);
        assert!(closed(&out).is_empty());
        let until = Millis(100 + limits::ELECTION_HELLO_MS);
        assert_eq!(links.next_deadline(), Some(until));
        let mut out = Vec::new();
        links.on_tick(Millis(until.0 - 1), &mut out);
        assert!(closed(&out).is_empty());
        links.on_tick(until, &mut out);
        assert_eq!(closed(&out), [10]);
        assert_eq!(links.next_deadline(), None);
    }

    /// It would end the new one at the other side.
    #[test]
    fn a_hello_that_has_not_left_when_the_call_comes_stays_here() {
        let mut links = links();
        let mut out = Vec::new();
        links.connect(Sid(3), &mut out);
        let call = links.election[&Sid(3)];
        links.on_dialled(call, &mut out);
        accept(&mut links, 7, 10);
        let (out, from) = hear(&mut links, 10, &hello(3, "zk3:2183"));
        assert_eq!(out, [Action::PeerClose(call)]);
        assert!(matches!(from[..], [FromPeer::ElectionUp(Sid(3))]));
        assert_eq!(links.election[&Sid(3)], LinkId(10));
    }

    #[test]
    fn a_link_that_said_hello_stays() {
        let mut links = links();
        accept(&mut links, 0, 10);
        let (_, from) = hear(&mut links, 10, &hello(3, "zk3:2183"));
        assert!(matches!(from[..], [FromPeer::ElectionUp(Sid(3))]));
        let mut out = Vec::new();
        links.on_tick(Millis(limits::ELECTION_HELLO_MS), &mut out);
        assert!(closed(&out).is_empty());
    }

    #[test]
    fn of_too_many_silent_links_the_oldest_goes() {
        let mut links = links();
        for n in 0..limits::ELECTION_SILENT_MAX as u64 {
            assert!(closed(&accept(&mut links, n, 10 + 2 * n)).is_empty());
        }
        assert_eq!(closed(&accept(&mut links, 99, 1000)), [10]);
    }

    #[test]
    fn an_unlisted_larger_server_keeps_its_link() {
        let mut links = links();
        accept(&mut links, 0, 10);
        let (out, from) = hear(&mut links, 10, &hello(4, "zk4:2183"));
        assert!(closed(&out).is_empty());
        assert!(matches!(from[..], [FromPeer::ElectionUp(Sid(4))]));
    }

    #[test]
    fn an_unlisted_smaller_server_is_called_back_where_it_says() {
        for (address, host) in [("zk0:2183", "zk0"), ("[::1]:2183", "::1")] {
            let mut links = links();
            accept(&mut links, 0, 10);
            let (out, from) = hear(&mut links, 10, &hello(0, address));
            assert_eq!(closed(&out), [10]);
            assert_eq!(dialled(&out), [(host.to_owned(), 2183)]);
            assert!(from.is_empty());
        }
    }

    #[test]
    fn a_listed_smaller_server_is_called_back_where_the_list_says() {
        let mut links = links();
        accept(&mut links, 0, 10);
        let (out, _) = hear(&mut links, 10, &hello(1, "elsewhere:1"));
        assert_eq!(dialled(&out), [("zk1".to_owned(), 2183)]);
    }

    #[test]
    fn unlisted_servers_cannot_take_all_links() {
        let mut links = links();
        for n in 0..limits::ELECTION_UNLISTED_MAX as u64 {
            accept(&mut links, 0, 10 + 2 * n);
            assert!(closed(&hear(&mut links, 10 + 2 * n, &hello(100 + n as i64, "a:1")).0).is_empty());
        }
        accept(&mut links, 0, 1000);
        assert_eq!(closed(&hear(&mut links, 1000, &hello(99, "a:1")).0), [10]);
    }

    #[test]
    fn nobody_else_is_us() {
        for sid in [2, -1] {
            let mut links = links();
            accept(&mut links, 0, 10);
            assert_eq!(closed(&hear(&mut links, 10, &hello(sid, "zk2:2183")).0), [10]);
        }
    }
}
