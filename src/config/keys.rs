//! What each key of zoo.cfg, or each `-D zookeeper.` property, sets.
//!
//! Deliberately absent: checks between keys (`server`).

use std::ops::RangeInclusive;

use super::defaults::{ABSENT, DEFAULTS, FOUR_LETTER_WORDS, KNOWN, WITHOUT_EFFECT, listed};
use super::error::Problem;
use super::members;
use super::nearest::nearest;
use super::server::{ClientAddress, ServerConfig, Whitelist};
use super::server_line::Role;

/// One key with its value, and where findings about it go.
pub(super) struct Setting<'a> {
    pub(super) file: &'a str,
    pub(super) line: Option<usize>,
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    /// Its number may be written as Java's properties may be.
    pub(super) is_property: bool,
    pub(super) errors: &'a mut Vec<Problem>,
    pub(super) warnings: &'a mut Vec<Problem>,
}

/// Keys that the original reads from zoo.cfg only; anything else may also be a property.
const FILE_KEYS: &[&str] = &[
    "autopurge.purgeInterval",
    "autopurge.snapRetainCount",
    "clientPort",
    "clientPortAddress",
    "clientPortListenBacklog",
    "connectToLearnerMasterLimit",
    "dataDir",
    "dataLogDir",
    "dynamicConfigFile",
    "electionAlg",
    "initLimit",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "maxClientCnxns",
    "maxSessionTimeout",
    "minSessionTimeout",
    "observerMasterPort",
    "peerType",
    "quorumListenOnAllIPs",
    "reconfigEnabled",
    "secureClientPort",
    "secureClientPortAddress",
    "sslQuorum",
    "standaloneEnabled",
    "syncEnabled",
    "syncLimit",
    "tickTime",
];

/// Whether a key works in zoo.cfg only.
pub(super) fn is_file_key(key: &str) -> bool {
    FILE_KEYS.contains(&key) || members::is_membership_key(key)
}

/// Sets what the key sets; unknown keys warn.
pub(super) fn apply(c: &mut ServerConfig, s: &mut Setting<'_>) {
    if members::is_membership_key(s.key) {
        return;
    }
    if let Some(name) = s.key.strip_prefix("zkctl.") {
        c.zkctl.raw.insert(s.key.into(), s.value.into());
        match name {
            "session.keyFile" => return c.zkctl.session_key_file = Some(s.path()),
            "disk.softMb" => return c.zkctl.disk_soft_mb = s.number(0..=MB_MAX, FREE_MB),
            "disk.hardMb" => return c.zkctl.disk_hard_mb = s.number(0..=MB_MAX, FREE_MB),
            _ => {}
        }
    }
    if file_key(c, s) {
        return;
    }
    s.is_property = true;
    if auth_property(c, s) || property(c, s) {
        return;
    }
    c.properties.insert(s.key.into(), s.value.into());
    if s.key.starts_with("zkctl.") || listed(WITHOUT_EFFECT, s.key) {
        return;
    }
    if listed(ABSENT, s.key) {
        s.warn("zkctl has no such feature yet; the line has no effect", None);
        return;
    }
    let bare = s.key.strip_prefix("zookeeper.").unwrap_or(s.key);
    let fix = nearest(bare, KNOWN.iter().copied()).map(|known| format!("did you mean {known}?"));
    s.warn("unknown key, ignored", fix);
}

/// Keys that the original's zoo.cfg parser knows by name.
fn file_key(c: &mut ServerConfig, s: &mut Setting<'_>) -> bool {
    match s.key {
        "dataDir" => c.data_dir = s.path(),
        "dataLogDir" => c.data_log_dir = s.path(),
        "dynamicConfigFile" => c.dynamic_config_file = Some(s.path()),
        "clientPort" => s.int(&mut c.client.get_or_insert_default().port, 0..=65535, PORT),
        "clientPortAddress" => c.client.get_or_insert_default().address = s.bind_address(),
        "secureClientPort" => {
            s.int(&mut c.secure_client.get_or_insert_with(ClientAddress::default).port, 0..=65535, PORT);
            s.warn("zkctl does not serve TLS yet; this port is not opened", None);
        }
        "secureClientPortAddress" => c.secure_client.get_or_insert_default().address = s.bind_address(),
        "clientPortListenBacklog" => {
            c.listen_backlog = s.number(-1..=65535, "a queue length").filter(|n| *n > 0)
        }
        "tickTime" => s.int(&mut c.tick_ms, 1..=3_600_000, "milliseconds, commonly 2000"),
        "initLimit" => s.int(&mut c.init_limit, 1..=1_000_000, "ticks, commonly 10"),
        "syncLimit" => s.int(&mut c.sync_limit, 1..=1_000_000, "ticks, commonly 5"),
        "connectToLearnerMasterLimit" => s.int(&mut c.connect_limit, 0..=1_000_000, "ticks"),
        "minSessionTimeout" => s.session(&mut c.min_session_ms),
        "maxSessionTimeout" => s.session(&mut c.max_session_ms),
        "maxClientCnxns" => c.max_client_cnxns = s.limit().unwrap_or(c.max_client_cnxns),
        "autopurge.snapRetainCount" => {
            if let Some(n) = s.number::<i32>(i32::MIN.into()..=i32::MAX.into(), "a number, at least 3") {
                let least = DEFAULTS.snap_retain_count;
                c.autopurge.retain = u32::try_from(n).unwrap_or(0).max(least);
                if c.autopurge.retain != n as u32 {
                    s.warn(&format!("{n} is too few snapshots to keep; {least} are kept"), None);
                }
            }
        }
        "autopurge.purgeInterval" => s.purge_interval(&mut c.autopurge.interval_ms),
        "electionAlg" => {
            if s.value != "3" {
                s.error("only election algorithm 3 exists", Some("remove the line".into()));
            }
        }
        "peerType" => match Role::parse(s.value) {
            Some(role) => c.peer_type = Some(role),
            None => {
                s.error(&format!("`{}` is no role", s.value), Some("write participant or observer".into()))
            }
        },
        "quorumListenOnAllIPs" => s.bool(&mut c.quorum_listen_on_all_ips),
        "standaloneEnabled" => s.bool(&mut c.standalone_enabled),
        "reconfigEnabled" => s.bool(&mut c.reconfig_enabled),
        "syncEnabled" => s.always_on("an observer always keeps its database on disk"),
        "localSessionsEnabled" => s.bool(&mut c.local_sessions),
        "localSessionsUpgradingEnabled" => s.bool(&mut c.local_sessions_upgrading),
        "multiAddress.enabled" => s.bool(&mut c.multi_address),
        "observerMasterPort" => s.int(&mut c.observer_master_port, 0..=65535, PORT),
        "sslQuorum" => {
            let mut on = false;
            s.bool(&mut on);
            if on {
                let fix = "set sslQuorum=false on every server";
                s.error("zkctl does not speak TLS between servers yet", Some(fix.into()));
            }
        }
        "oraclePath" => s.error("two-node oracles are not supported", Some("remove the line".into())),
        "quorum.auth.enableSasl" if s.value.eq_ignore_ascii_case("true") => {
            s.error(
                "zkctl does not speak SASL between servers",
                Some("set it to false on every server".into()),
            );
        }
        _ => return false,
    }
    true
}

/// Properties about who may do what.
fn auth_property(c: &mut ServerConfig, s: &mut Setting<'_>) -> bool {
    match s.key {
        "skipACL" => {
            c.skip_acl = s.value == "yes";
            if c.skip_acl {
                s.warn("no ACL is checked: every client may do everything", None);
            }
        }
        "DigestAuthenticationProvider.superDigest" => c.super_digest = Some(s.value.into()),
        "DigestAuthenticationProvider.enabled" => s.bool(&mut c.digest_auth),
        "DigestAuthenticationProvider.digestAlg" => {
            if !matches!(s.value, "SHA1" | "SHA-1") {
                s.error(
                    "digest ids are made with SHA1 here; with another one every digest ACL would shut its owner out",
                    Some("write SHA1, or leave the line out".into()),
                );
            }
        }
        _ => return false,
    }
    true
}

/// Keys that the original turns into system properties.
fn property(c: &mut ServerConfig, s: &mut Setting<'_>) -> bool {
    match s.key {
        "4lw.commands.whitelist" => c.whitelist = s.whitelist(),
        "snapCount" => s.int(&mut c.snap_count, 2..=i64::MAX, "txns between snapshots"),
        "snapSizeLimitInKb" => s.int(&mut c.snap_size_limit_kb, i64::MIN..=i64::MAX, "KB"),
        "txnLogSizeLimitInKb" => s.int(&mut c.txn_log_size_limit_kb, i64::MIN..=i64::MAX, "KB"),
        "preAllocSize" => {
            if let Some(kb) = s.number::<u64>(1..=4 << 20, "KB, commonly 65536") {
                c.prealloc_bytes = kb << 10;
            }
        }
        "commitLogCount" => {
            s.int(&mut c.commit_log_count, 0..=i32::MAX.into(), "txns");
            c.commit_log_count = c.commit_log_count.max(DEFAULTS.commit_log_count);
        }
        "forceSync" => {
            c.force_sync = s.value != "no";
            if !c.force_sync {
                s.warn(
                    "an acknowledged write can be lost at a power cut",
                    Some("remove forceSync=no".into()),
                );
            }
        }
        "fsync.warningthresholdms" => s.int(&mut c.fsync_warning_ms, 0..=i64::MAX, "milliseconds"),
        "snapshot.trust.empty" => s.bool(&mut c.trust_empty_snapshot),
        "datadir.autocreate" => s.bool(&mut c.datadir_autocreate),
        "db.autocreate" => {
            let mut on = true;
            s.bool(&mut on);
            c.db_autocreate = Some(on);
            if on {
                let why = "a server with an empty directory joins as if it had always been there, so a wiped \
                           majority can forget acknowledged writes";
                s.warn(why, Some("remove the line; a first start needs no setting".into()));
            }
        }
        "jute.maxbuffer" => s.int(&mut c.jute_max_buffer, 1024..=i32::MAX.into(), "bytes, commonly 1048575"),
        "jute.maxbuffer.extrasize" => s.int(&mut c.jute_extra, 0..=i32::MAX.into(), "bytes"),
        "globalOutstandingLimit" => s.int(&mut c.global_outstanding, 1..=i32::MAX.into(), "requests"),
        "nio.sessionlessCnxnTimeout" => s.int(&mut c.sessionless_ms, 1..=i32::MAX.into(), "milliseconds"),
        "maxCnxns" => s.int(&mut c.max_cnxns, 0..=i32::MAX.into(), "connections, 0 for no limit"),
        "cnxTimeout" => s.int(&mut c.cnx_timeout_ms, 1..=i32::MAX.into(), "milliseconds, commonly 5000"),
        "electionPortBindRetry" => s.int(&mut c.election_bind_retry, 0..=i32::MAX.into(), "attempts"),
        "leaderServes" => c.leader_serves = s.value != "no",
        "digest.enabled" => s.always_on("digests are always computed and compared"),
        "closeSessionTxn.enabled" => {
            s.always_on("a closed session's ephemerals are always listed, as servers from 3.6 on expect");
        }
        "extendedTypesEnabled" => s.bool(&mut c.extended_types),
        "readonlymode.enabled" => s.bool(&mut c.read_only_mode),
        "znode.container.checkIntervalMs" => s.int(&mut c.container_check_ms, 0..=i64::MAX, "milliseconds"),
        "znode.container.maxPerMinute" => {
            s.int(&mut c.container_max_per_minute, 1..=i32::MAX.into(), "znodes")
        }
        _ => return false,
    }
    true
}

/// A number as Java's `Long.decode` reads it: decimal, `0x` or `#` and hexadecimal, `0` and octal.
fn decode(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = ["0x", "0X", "#"].iter().find_map(|prefix| digits.strip_prefix(prefix));
    let value = match hex {
        Some(hex) => i64::from_str_radix(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8),
        None => digits.parse(),
    };
    value.ok().filter(|v| *v >= 0).map(|v| if negative { -v } else { v })
}

const PORT: &str = "a port between 1 and 65535";
const FREE_MB: &str = "free MB, 0 for never";
const MB_MAX: i64 = 1 << 30;

impl Setting<'_> {
    fn problem(&self, reason: &str, fix: Option<String>) -> Problem {
        Problem {
            file: self.file.into(),
            line: self.line,
            key: Some(self.key.into()),
            reason: reason.into(),
            fix,
        }
    }

    fn error(&mut self, reason: &str, fix: Option<String>) {
        let problem = self.problem(reason, fix);
        self.errors.push(problem);
    }

    fn warn(&mut self, reason: &str, fix: Option<String>) {
        let problem = self.problem(reason, fix);
        self.warnings.push(problem);
    }

    /// The value in front of a trailing comment, where somebody wrote one.
    fn before_comment(&self) -> Option<&str> {
        self.value.split_once(['#', '!']).map(|(before, _)| before.trim())
    }

    fn refuse(&mut self, expected: &str) {
        let comment = self.before_comment().map(|before| (before.to_owned(), self.key.to_owned()));
        match comment {
            Some((before, key)) => self.error(
                &format!("`{}` is no value: a comment cannot follow one on its line", self.value),
                Some(format!("put the comment on a line of its own and write {key}={before}")),
            ),
            None => {
                let shown = self.value.to_owned();
                self.error(&format!("`{shown}` is not {expected}"), Some(format!("write {expected}")));
            }
        }
    }

    fn number<T: TryFrom<i64>>(&mut self, range: RangeInclusive<i64>, expected: &str) -> Option<T> {
        let parsed = if self.is_property { decode(self.value) } else { self.value.parse().ok() };
        let value = parsed.filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok());
        if value.is_none() {
            self.refuse(expected);
        }
        value
    }

    fn int<T: TryFrom<i64>>(&mut self, into: &mut T, range: RangeInclusive<i64>, expected: &str) {
        if let Some(value) = self.number(range, expected) {
            *into = value;
        }
    }

    /// -1 stands for the default in ticks.
    fn session(&mut self, into: &mut u32) {
        match self.number::<i32>(-1..=i32::MAX.into(), "milliseconds, or -1 for the default") {
            Some(ms) if ms > 0 => *into = ms as u32,
            Some(0) => self.refuse("milliseconds above 0"),
            _ => {}
        }
    }

    /// Connections; 0 and below are no limit.
    fn limit(&mut self) -> Option<u32> {
        let n =
            self.number::<i32>(i32::MIN.into()..=i32::MAX.into(), "a number of connections, 0 for no limit")?;
        Some(u32::try_from(n).unwrap_or(0))
    }

    /// A switch whose `false` is not offered.
    fn always_on(&mut self, how_it_is: &str) {
        let mut on = true;
        self.bool(&mut on);
        if !on {
            self.warn(&format!("{how_it_is}; the line has no effect"), None);
        }
    }

    fn bool(&mut self, into: &mut bool) {
        match self.value.to_ascii_lowercase().as_str() {
            "true" => *into = true,
            "false" => *into = false,
            _ => self.refuse("true or false"),
        }
    }

    fn path(&mut self) -> String {
        if self.value.is_empty() {
            self.refuse("a path");
        } else if self.value.contains(" #") {
            let fix = "put the comment on a line of its own, if it is one";
            self.warn(&format!("`{}` is taken as a path, `#` and all", self.value), Some(fix.into()));
        }
        self.value.into()
    }

    fn bind_address(&mut self) -> Option<String> {
        let bare = self.value.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(self.value);
        (bare != "0.0.0.0" && bare != "::" && !bare.is_empty()).then(|| bare.to_owned())
    }

    fn whitelist(&mut self) -> Whitelist {
        let words: Vec<&str> = self.value.split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
        if words.contains(&"*") {
            return Whitelist::All;
        }
        for word in &words {
            if !FOUR_LETTER_WORDS.contains(word) {
                let fix = nearest(word, FOUR_LETTER_WORDS.iter().copied());
                self.warn(
                    &format!("`{word}` is no four-letter word"),
                    fix.map(|known| format!("did you mean {known}?")),
                );
            }
        }
        Whitelist::Words(words.into_iter().map(str::to_owned).collect())
    }

    /// Hours, or a number with ms, s, m, h or d behind it.
    fn purge_interval(&mut self, into: &mut u64) {
        const HOUR: u64 = 3_600_000;
        let digits = self.value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &self.value[digits.len()..] {
            "" | "h" => Some(HOUR),
            "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            "d" => Some(24 * HOUR),
            _ => None,
        };
        match (digits.trim().parse::<i32>(), unit) {
            (Ok(n), Some(unit)) => *into = u64::try_from(n).unwrap_or(0) * unit,
            _ => self.refuse("a number of hours, 0 for never"),
        }
    }
}
