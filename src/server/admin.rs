//! Four-letter words: recognising and answering them.
//!
//! Facts of the process (file descriptors, directory sizes) are the runtime's: a word that needs
//! them asks for them first and is answered when they come.

use super::client::Stage;
use super::event::{Action, ProcessFacts};
use super::{Server, Service};
use crate::ids::ConnId;
use crate::time::Now;
use crate::wire::words::{
    self, ClientLine, ConfReport, Latency, Metric, Mode, QuorumConf, ServerReport, Word,
};
use std::net::SocketAddr;

/// What `srvr` and `envi` say we are: Apache's level of behaviour, then ours.
pub const VERSION: &str = concat!("3.9.5-zkctl.", env!("CARGO_PKG_VERSION"));

impl Server {
    /// Whether `bytes`, the first of a connection, are a word; then it is answered and closed.
    pub(super) fn on_word(&mut self, now: Now, conn: ConnId, bytes: &[u8], out: &mut Vec<Action>) -> bool {
        let Some((word, _)) = words::recognise(bytes) else { return false };
        if let Some(client) = self.clients.get_mut(&conn) {
            client.stage = Stage::Closing;
        }
        let allowed = self.settings.whitelist.allows(word.text());
        if allowed && matches!(word, Word::Conf | Word::Mntr) {
            self.waiting_words.push((conn, word));
            out.push(Action::GatherFacts);
            return true;
        }
        let text = if allowed { self.answer_word(now, word, &self.facts) } else { words::refusal(word) };
        self.say(conn, text, out);
        true
    }

    fn say(&mut self, conn: ConnId, text: String, out: &mut Vec<Action>) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.out.extend_from_slice(text.as_bytes());
            self.close_client(conn, out);
        }
    }

    pub(super) fn on_facts(&mut self, now: Now, facts: ProcessFacts, out: &mut Vec<Action>) {
        self.facts = facts;
        for (conn, word) in std::mem::take(&mut self.waiting_words) {
            let text = self.answer_word(now, word, &self.facts);
            self.say(conn, text, out);
        }
    }

    fn mode(&self) -> Option<Mode> {
        match self.service {
            Service::Down => None,
            Service::Leading(_) => Some(Mode::Leader),
            Service::Following { .. } => Some(Mode::Follower),
            Service::Observing { .. } => Some(Mode::Observer),
            Service::Standalone => Some(Mode::Standalone),
        }
    }

    fn answer_word(&self, now: Now, word: Word, facts: &ProcessFacts) -> String {
        let mode = self.mode();
        match (word, mode) {
            (Word::Ruok, _) => words::IMOK.to_owned(),
            (Word::Isro, mode) => words::isro(mode.map(|_| false)).to_owned(),
            (Word::Envi, _) => {
                words::envi(self.settings.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            }
            (_, None) => words::NOT_SERVING.to_owned(),
            (Word::Srvr, Some(mode)) => self.report(mode).text(None),
            (Word::Stat, Some(mode)) => self.report(mode).text(Some(&self.client_lines())),
            (Word::Conf, Some(_)) => self.conf(facts),
            (Word::Mntr, Some(mode)) => self.mntr(now, mode, facts),
            // Recognised so that it is not taken for a frame; a later release answers it.
            (other, Some(_)) => format!("{} is not answered by this server yet.\n", other.text()),
        }
    }

    fn report(&self, mode: Mode) -> ServerReport {
        let (last, min, max) = self.stats.proposal.unwrap_or_default();
        let sizes = [last as i64, min as i64, max as i64];
        let sizes = if self.stats.proposal.is_some() { sizes } else { [-1; 3] };
        ServerReport {
            version: self.settings.version_line.clone(),
            latency: Latency {
                min: self.stats.latency_min as i64,
                avg: self.stats.latency_avg(),
                max: self.stats.latency_max as i64,
            },
            received: self.stats.received as i64,
            sent: self.stats.sent as i64,
            connections: self.clients.len() as i64,
            outstanding: self.outstanding as i64,
            zxid: self.tree.last_zxid().0,
            mode,
            node_count: self.tree.node_count() as i64,
            proposal_sizes: (mode == Mode::Leader).then_some(sizes),
        }
    }

    fn client_lines(&self) -> Vec<ClientLine> {
        let line = |c: &super::client::Client| ClientLine {
            peer: SocketAddr::new(c.ip, c.port),
            interest: 1,
            queued: c.pending.len() as i64,
            received: c.received as i64,
            sent: c.sent as i64,
        };
        self.clients.values().map(line).collect()
    }

    fn conf(&self, facts: &ProcessFacts) -> String {
        let s = &self.settings;
        let member = s.members.get(&s.me);
        let (election, quorum) = member
            .map_or_else(Default::default, |m| (m.election_port.to_string(), m.quorum_port.to_string()));
        let report = ConfReport {
            client_port: s.conf.client_port,
            secure_client_port: s.conf.secure_client_port,
            data_dir: &s.conf.data_dir,
            data_dir_size: facts.data_bytes,
            data_log_dir: &s.conf.data_log_dir,
            data_log_size: facts.log_bytes,
            tick_time: s.tick_ms,
            max_client_cnxns: s.connections_per_ip as i32,
            min_session_timeout: s.session_ms.0 as u64,
            max_session_timeout: s.session_ms.1 as u64,
            listen_backlog: s.conf.listen_backlog,
            server_id: s.me.0,
            quorum: (!s.zab.standalone).then_some(QuorumConf {
                init_limit: s.zab.init_limit as u32,
                sync_limit: s.zab.sync_limit as u32,
                election_alg: 3,
                election_port: &election,
                quorum_port: &quorum,
                observer: !s.zab.quorum.is_voter(s.me),
                members: &s.config_text.0,
            }),
        };
        report.text()
    }

    fn mntr(&self, now: Now, mode: Mode, facts: &ProcessFacts) -> String {
        let stats = &self.stats;
        let int = |n: u64| Metric::Int(n as i64);
        let peer_state = match mode {
            Mode::Leader => "leading - broadcast",
            Mode::Follower => "following - broadcast",
            Mode::Observer => "observing - broadcast",
            Mode::Standalone | Mode::ReadOnly => "looking",
        };
        let mut all = vec![
            ("version", Metric::Text(self.settings.version_line.as_str())),
            ("server_state", Metric::Text(mode.text())),
            ("avg_latency", Metric::Float(stats.latency_avg())),
            ("max_latency", int(stats.latency_max)),
            ("min_latency", int(stats.latency_min)),
            ("packets_received", int(stats.received)),
            ("packets_sent", int(stats.sent)),
            ("num_alive_connections", int(self.clients.len() as u64)),
            ("outstanding_requests", int(self.outstanding as u64)),
            ("znode_count", int(self.tree.node_count() as u64)),
            ("watch_count", int(self.watches.watch_count() as u64)),
            ("ephemerals_count", int(self.tree.ephemeral_count() as u64)),
            ("approximate_data_size", int(self.tree.data_size())),
            ("open_file_descriptor_count", int(facts.open_files)),
            ("max_file_descriptor_count", int(facts.max_files)),
            ("uptime", int(now.mono - self.began)),
            ("global_sessions", int(self.sessions.len() as u64)),
            ("local_sessions", int(0)),
            ("looking_count", int(stats.looking)),
            ("digest_mismatches_count", int(stats.digest_mismatches)),
            ("snapshots_written", int(stats.snapshots)),
            ("stale_sessions_expired", int(stats.expired)),
            ("resident_bytes", int(facts.resident_bytes)),
        ];
        if let Some(spaces) = &self.spaces {
            all.extend([
                ("data_dir_free_bytes", int(spaces.data.free)),
                ("data_log_dir_free_bytes", int(spaces.log.free)),
                ("disk_room", Metric::Text(self.zab.room().text())),
                ("writes_refused", int(u64::from(self.refuses_writes()))),
                ("refused_writes_count", int(stats.refused)),
            ]);
        }
        if mode != Mode::Standalone {
            all.push(("peer_state", Metric::Text(peer_state)));
            all.push(("quorum_size", int(self.settings.zab.quorum.voters().len() as u64)));
        }
        let counts = self.zab.learner_counts().filter(|_| mode == Mode::Leader);
        if let Some((followers, voting, observers)) = counts {
            let (last, min, max) = stats.proposal.unwrap_or_default();
            all.extend([
                // The original's name of it since 3.6, and the one that monitoring knows from before.
                ("learners", int((followers + observers) as u64)),
                ("followers", int(followers as u64)),
                ("synced_followers", int(voting as u64)),
                ("synced_non_voting_followers", int((followers - voting) as u64)),
                ("synced_observers", int(observers as u64)),
                ("pending_syncs", int(self.pending_syncs())),
                ("last_proposal_size", int(last as u64)),
                ("min_proposal_size", int(min as u64)),
                ("max_proposal_size", int(max as u64)),
            ]);
        }
        words::mntr(all)
    }
}
