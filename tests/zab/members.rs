//! A member list as a script writes it, and the configuration it makes.

use crate::script::{INIT_MS, RESEND_MS, SETTLE_MS};
use std::fmt::Write as _;
use zkctl::ids::Sid;
use zkctl::zab::{Config, Majority};
use zkctl::zxid::Zxid;

#[derive(Clone, Debug)]
pub(crate) struct Members {
    voters: Vec<Sid>,
    observers: Vec<Sid>,
}

impl Members {
    pub(crate) fn voters(voters: &[Sid]) -> Members {
        Members { voters: voters.to_vec(), observers: Vec::new() }
    }

    pub(crate) fn observers(mut self, observers: &[Sid]) -> Members {
        self.observers = observers.to_vec();
        self
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Sid> {
        let mut all = [self.voters.clone(), self.observers.clone()].concat();
        all.sort();
        all.into_iter()
    }

    pub(crate) fn quorum(&self) -> Majority {
        Majority::new(self.voters.iter().copied().collect())
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for sid in self.all() {
            let role = if self.voters.contains(&sid) { "participant" } else { "observer" };
            writeln!(out, "server.{sid}=zk{sid}:2888:3888:{role}").unwrap();
        }
        out + "version=0"
    }

    pub(crate) fn config(&self, me: Sid) -> Config {
        Config {
            me,
            quorum: self.quorum(),
            standalone: false,
            config_text: self.text(),
            config_version: 0,
            tick_ms: INIT_MS / 10,
            init_limit: 10,
            sync_limit: 5,
            settle_ms: SETTLE_MS,
            resend_ms: (SETTLE_MS, RESEND_MS),
            window: (50_000, 16 << 20),
            counter_max: Zxid::COUNTER_MAX,
        }
    }
}
