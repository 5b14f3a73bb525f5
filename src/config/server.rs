//! `ServerConfig`: everything a server is told, typed; and the two steps that make one.
//!
//! A caller reads zoo.cfg, hands its text to `Draft::read`, asks the draft where the data directory
//! and the dynamic file are, reads `myid` and that file, and finishes the draft with their texts.
//! Deliberately absent: reading files, resolving names, opening ports.

use std::collections::BTreeMap;

use super::defaults::DEFAULTS;
use super::error::{ConfigErrors, Problem};
use super::keys::{self, Setting};
use super::members::{self, MemberList};
use super::properties::Properties;
use super::server_line::{Member, Role, is_loopback};
use crate::ids::Sid;

/// Where clients connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress {
    /// The address to bind; every address when `None`.
    pub address: Option<String>,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

/// The four-letter words that are answered; `srvr` always is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whitelist {
    /// `*`.
    All,
    /// These.
    Words(Vec<String>),
}

impl Whitelist {
    /// Whether a word is answered.
    pub fn allows(&self, word: &str) -> bool {
        match self {
            Whitelist::All => true,
            Whitelist::Words(words) => word == "srvr" || words.iter().any(|w| w == word),
        }
    }
}

/// Purging of old logs and snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autopurge {
    /// Snapshots to keep; at least three.
    pub retain: u32,
    /// How often, in ms; 0 is never.
    pub interval_ms: u64,
}

/// What only zkctl servers know: the `zkctl.*` lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZkctlSettings {
    /// `zkctl.session.keyFile`: switches session passwords to keyed ones.
    pub session_key_file: Option<String>,
    /// `zkctl.disk.softMb`: free MB below which another had better lead; 0 is never, `None` is by what is written.
    pub disk_soft_mb: Option<u64>,
    /// `zkctl.disk.hardMb`: free MB below which nothing more is written; 0 is never.
    pub disk_hard_mb: Option<u64>,
    /// Every `zkctl.*` line as it stands.
    pub raw: BTreeMap<String, String>,
}

/// Everything one server is told.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// The file it came from, as the caller named it.
    pub file: String,
    /// The plaintext client listener.
    pub client: Option<ClientAddress>,
    /// The TLS client listener.
    pub secure_client: Option<ClientAddress>,
    /// `clientPortListenBacklog`; `None` leaves it to `limits`.
    pub listen_backlog: Option<i32>,
    /// Snapshots, myid, epochs.
    pub data_dir: String,
    /// Txn logs; the data directory unless said.
    pub data_log_dir: String,
    /// Base unit of time.
    pub tick_ms: u32,
    /// Ticks a learner may take to connect and synchronise.
    pub init_limit: u32,
    /// Ticks a learner may lag behind.
    pub sync_limit: u32,
    /// Ticks to connect to a leader; `init_limit` unless said.
    pub connect_limit: u32,
    /// Least session timeout.
    pub min_session_ms: u32,
    /// Greatest session timeout.
    pub max_session_ms: u32,
    /// Connections per client address; 0 is no limit.
    pub max_client_cnxns: u32,
    /// Connections in all; 0 is no limit.
    pub max_cnxns: u32,
    /// Requests in flight before sockets are no longer read.
    pub global_outstanding: u32,
    /// How long a connection may stay without a session.
    pub sessionless_ms: u64,
    /// Largest client frame and field.
    pub jute_max_buffer: u32,
    /// Slack over it for stored txns.
    pub jute_extra: u32,
    /// Purging.
    pub autopurge: Autopurge,
    /// Four-letter words.
    pub whitelist: Whitelist,
    /// Txns between snapshots.
    pub snap_count: u64,
    /// Log bytes between snapshots, KB.
    pub snap_size_limit_kb: i64,
    /// Log bytes per segment, KB; below 1 is no limit.
    pub txn_log_size_limit_kb: i64,
    /// Preallocation of log segments.
    pub prealloc_bytes: u64,
    /// Committed txns kept in memory.
    pub commit_log_count: u32,
    /// Whether the log is synced at all.
    pub force_sync: bool,
    /// A sync that takes longer is worth a warning.
    pub fsync_warning_ms: u64,
    /// Start without a snapshot though there are logs.
    pub trust_empty_snapshot: bool,
    /// Create missing directories.
    pub datadir_autocreate: bool,
    /// `db.autocreate` as written; `None` when zoo.cfg is silent.
    pub db_autocreate: Option<bool>,
    /// TTL znodes.
    pub extended_types: bool,
    /// How often empty containers are looked for.
    pub container_check_ms: u64,
    /// Containers deleted per minute at most.
    pub container_max_per_minute: u32,
    /// No ACL is checked.
    pub skip_acl: bool,
    /// `super:` and the digest of whoever may do everything.
    pub super_digest: Option<String>,
    /// Whether a leader takes clients.
    pub leader_serves: bool,
    /// `DigestAuthenticationProvider.enabled`.
    pub digest_auth: bool,
    /// How long an election connection may take.
    pub cnx_timeout_ms: u32,
    /// How often binding the election port is tried; 0 is for ever.
    pub election_bind_retry: u32,
    /// Bind the peer ports on every address.
    pub quorum_listen_on_all_ips: bool,
    /// Port on which followers host observers; 0 is none.
    pub observer_master_port: u16,
    /// Sessions that live on one server only.
    pub local_sessions: bool,
    /// ... and become global when they need to.
    pub local_sessions_upgrading: bool,
    /// Read-only service of a server that is cut off.
    pub read_only_mode: bool,
    /// Whether one voter alone runs without elections.
    pub standalone_enabled: bool,
    /// Whether clients may reconfigure.
    pub reconfig_enabled: bool,
    /// Several addresses per member.
    pub multi_address: bool,
    /// The member list; empty when standalone without one.
    pub members: MemberList,
    /// `peerType` as written; the member list wins.
    pub peer_type: Option<Role>,
    /// The id in myid; a standalone server may have none.
    pub my_sid: Option<Sid>,
    /// What this server is.
    pub role: Role,
    /// `dynamicConfigFile` as written.
    pub dynamic_config_file: Option<String>,
    /// What only zkctl knows.
    pub zkctl: ZkctlSettings,
    /// Every other key, as written, `-D zookeeper.` ones included without that prefix.
    pub properties: BTreeMap<String, String>,
}

impl ServerConfig {
    /// Whether it runs alone, without elections.
    pub fn is_standalone(&self) -> bool {
        match self.members.voters().count() {
            0 => self.members.members.is_empty(),
            1 => self.standalone_enabled && self.members.members.len() == 1,
            _ => false,
        }
    }

    /// This server's entry in the member list.
    pub fn me(&self) -> Option<&Member> {
        self.my_sid.and_then(|sid| self.members.get(sid))
    }

    pub(super) fn empty(file: &str) -> ServerConfig {
        let d = &DEFAULTS;
        ServerConfig {
            file: file.into(),
            client: None,
            secure_client: None,
            listen_backlog: None,
            data_dir: String::new(),
            data_log_dir: String::new(),
            tick_ms: d.tick_ms,
            init_limit: 0,
            sync_limit: 0,
            connect_limit: 0,
            min_session_ms: 0,
            max_session_ms: 0,
            max_client_cnxns: d.max_client_cnxns,
            max_cnxns: 0,
            global_outstanding: d.global_outstanding,
            sessionless_ms: d.sessionless_ms,
            jute_max_buffer: d.jute_max_buffer,
            jute_extra: 0,
            autopurge: Autopurge { retain: d.snap_retain_count, interval_ms: 0 },
            whitelist: Whitelist::Words(vec!["srvr".into()]),
            snap_count: d.snap_count,
            snap_size_limit_kb: d.snap_size_limit_kb,
            txn_log_size_limit_kb: d.txn_log_size_limit_kb,
            prealloc_bytes: d.prealloc_kb << 10,
            commit_log_count: d.commit_log_count,
            force_sync: true,
            fsync_warning_ms: d.fsync_warning_ms,
            trust_empty_snapshot: false,
            datadir_autocreate: true,
            db_autocreate: None,
            extended_types: false,
            container_check_ms: d.container_check_ms,
            container_max_per_minute: d.container_max_per_minute,
            skip_acl: false,
            super_digest: None,
            leader_serves: true,
            digest_auth: true,
            cnx_timeout_ms: d.cnx_timeout_ms,
            election_bind_retry: d.election_bind_retry,
            quorum_listen_on_all_ips: false,
            observer_master_port: 0,
            local_sessions: false,
            local_sessions_upgrading: false,
            read_only_mode: false,
            standalone_enabled: true,
            reconfig_enabled: false,
            multi_address: false,
            members: MemberList::default(),
            peer_type: None,
            my_sid: None,
            role: Role::Participant,
            dynamic_config_file: None,
            zkctl: ZkctlSettings::default(),
            properties: BTreeMap::new(),
        }
    }
}

/// What the caller knows of `myid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MyId<'a> {
    /// The file is not there.
    Missing,
    /// Its text.
    Text(&'a str),
    /// Nobody looked (a zoo.cfg checked away from its host).
    Unchecked,
}

/// The dynamic file, read by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicFile<'a> {
    /// Its name; the suffix carries the version.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// A zoo.cfg that has been read but not yet checked against what lies around it.
#[derive(Clone, Debug)]
pub struct Draft {
    config: ServerConfig,
    properties: Properties,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Draft {
    /// Reads the text of a zoo.cfg; `defines` are `-D` names and values.
    pub fn read(file: &str, text: &str, defines: &[(String, String)]) -> Draft {
        let mut draft = Draft {
            config: ServerConfig::empty(file),
            properties: Properties::default(),
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        for (name, value) in defines {
            let key = name.strip_prefix("zookeeper.").unwrap_or(name);
            let property = !keys::is_file_key(key);
            if property {
                draft.set(None, key, value.trim());
            } else {
                let problem =
                    Problem::in_file("-D", "is read from zoo.cfg only, not from a property").key(name);
                draft.warnings.push(problem.fix(format!("write {key}={value} in {file}")));
            }
        }
        match Properties::parse(file, text) {
            Ok(properties) => draft.properties = properties,
            Err(error) => draft.errors.push(error),
        }
        for (lost, line) in &draft.properties.replaced {
            let reason = format!("is set in line {} and again in line {line}; the last one wins", lost.line);
            let problem = Problem::in_file(file, reason).at(*line).key(&lost.key);
            draft.warnings.push(problem.fix(format!("remove line {}", lost.line)));
        }
        for entry in draft.properties.entries.clone() {
            draft.set(Some(entry.line), &entry.key, &entry.value);
        }
        draft
    }

    fn set(&mut self, line: Option<usize>, key: &str, value: &str) {
        let file = if line.is_some() { self.config.file.clone() } else { "-D".into() };
        let mut setting = Setting {
            file: &file,
            line,
            key,
            value,
            is_property: false,
            errors: &mut self.errors,
            warnings: &mut self.warnings,
        };
        keys::apply(&mut self.config, &mut setting);
    }

    /// Where `myid` lies, as far as the text says.
    pub fn data_dir(&self) -> Option<&str> {
        Some(self.config.data_dir.as_str()).filter(|d| !d.is_empty())
    }

    /// The dynamic file to read before `finish`.
    pub fn dynamic_config_file(&self) -> Option<&str> {
        self.config.dynamic_config_file.as_deref()
    }

    /// Checks the whole; every error at once, or the configuration with its warnings.
    pub fn finish(
        mut self,
        my_id: MyId<'_>,
        dynamic: Option<DynamicFile<'_>>,
    ) -> Result<(ServerConfig, Vec<Problem>), ConfigErrors> {
        self.fill_defaults();
        let list = self.read_members(dynamic);
        self.check_members(&list);
        self.check_my_id(my_id, &list);
        self.check_ensemble(my_id);
        self.check_ports(&list);
        if self.errors.is_empty() {
            Ok((self.config, self.warnings))
        } else {
            Err(ConfigErrors { errors: self.errors, warnings: self.warnings })
        }
    }

    fn line_of(&self, key: &str) -> Option<usize> {
        self.properties.get(key).map(|e| e.line)
    }

    fn error(&mut self, key: &str, reason: impl Into<String>, fix: impl Into<String>) {
        let mut problem = Problem::in_file(&self.config.file, reason).key(key).fix(fix);
        problem.line = self.line_of(key);
        self.errors.push(problem);
    }

    fn warn(&mut self, list: &ListSource, key: &str, reason: impl Into<String>, fix: impl Into<String>) {
        let problem = list.place(key, reason.into());
        self.warnings.push(problem.fix(fix));
    }

    fn fill_defaults(&mut self) {
        if self.config.data_dir.is_empty() {
            self.error("dataDir", "is not set", "add a line dataDir=/path for snapshots and myid");
        }
        let c = &mut self.config;
        if c.data_log_dir.is_empty() {
            c.data_log_dir = c.data_dir.clone();
        }
        if c.min_session_ms == 0 {
            c.min_session_ms = c.tick_ms.saturating_mul(DEFAULTS.min_session_ticks);
        }
        if c.max_session_ms == 0 {
            c.max_session_ms = c.tick_ms.saturating_mul(DEFAULTS.max_session_ticks);
        }
        if c.jute_extra == 0 {
            c.jute_extra = c.jute_max_buffer;
        }
        let (min, max) = (c.min_session_ms, c.max_session_ms);
        if min > max {
            let reason = format!("is {min} ms, more than maxSessionTimeout ({max} ms)");
            self.error("minSessionTimeout", reason, "lower it, or raise maxSessionTimeout");
        }
        for (address, port) in
            [("clientPortAddress", "clientPort"), ("secureClientPortAddress", "secureClientPort")]
        {
            if self.line_of(address).is_some() && self.line_of(port).is_none() {
                self.error(address, format!("is set but {port} is not"), format!("add a line {port}=..."));
            }
        }
    }

    fn read_members(&mut self, dynamic: Option<DynamicFile<'_>>) -> ListSource {
        let mut source = ListSource { file: self.config.file.clone(), properties: self.properties.clone() };
        let Some(named) = self.config.dynamic_config_file.clone() else {
            self.config.members =
                MemberList::from_properties(&source.file, &source.properties, &mut self.errors);
            return source;
        };
        for entry in self.properties.entries.clone() {
            if members::is_membership_key(&entry.key) {
                self.error(
                    &entry.key,
                    "must be in the dynamic file, since dynamicConfigFile is set",
                    format!("move it to {named}, or remove dynamicConfigFile"),
                );
            }
        }
        let Some(dynamic) = dynamic else {
            self.error(
                "dynamicConfigFile",
                format!("`{named}` could not be read"),
                "create it, or correct the path",
            );
            return source;
        };
        match MemberList::from_dynamic_text(dynamic.file, dynamic.text) {
            Ok(list) => self.config.members = list,
            Err(errors) => self.errors.extend(errors),
        }
        source.file = dynamic.file.into();
        source.properties = Properties::parse(dynamic.file, dynamic.text).unwrap_or_default();
        if let Some(entry) = source.properties.get("version") {
            self.errors.push(
                Problem::in_file(dynamic.file, "a dynamic file must not say its version")
                    .at(entry.line)
                    .key("version")
                    .fix("remove the line; the version is the file name's suffix"),
            );
        }
        self.config.members.version = members::version_of_file_name(dynamic.file);
        source
    }

    fn check_members(&mut self, list: &ListSource) {
        let members = self.config.members.members.clone();
        for member in &members {
            let key = format!("server.{}", member.sid);
            if member.addresses.len() > 1 && !self.config.multi_address {
                self.errors.push(
                    list.place(&key, "has several addresses, but multiAddress.enabled is not true".into())
                        .fix("keep one address, or set multiAddress.enabled=true on every server"),
                );
            }
            if !(0..=255).contains(&member.sid.0) {
                self.warn(
                    list,
                    &key,
                    "ids outside 0 to 255 can collide in session ids",
                    "use an id between 1 and 255",
                );
            }
        }
        let (near, far): (Vec<_>, Vec<_>) =
            members.iter().partition(|m| m.addresses.iter().all(|a| is_loopback(&a.host)));
        if !near.is_empty() && !far.is_empty() {
            for member in near {
                let reason = format!(
                    "`{}` is this machine only, while other members are elsewhere: they can never reach it",
                    member.address().host
                );
                let fix = "write the address that the other hosts use";
                self.warn(list, &format!("server.{}", member.sid), reason, fix);
            }
        }
    }

    fn check_my_id(&mut self, my_id: MyId<'_>, list: &ListSource) {
        let file = format!("{}/myid", self.config.data_dir.trim_end_matches('/'));
        let ids: Vec<String> = self.config.members.members.iter().map(|m| m.sid.to_string()).collect();
        let choice = ids.join(", ");
        match my_id {
            MyId::Unchecked => {}
            MyId::Missing if self.needs_my_id() => {
                self.errors.push(Problem::in_file(&file, "is missing").fix(format!(
                    "write this server's id there, one of {choice}: echo {} > {file}",
                    first(&ids)
                )))
            }
            MyId::Missing => {}
            MyId::Text(text) => match my_id_from_text(text) {
                Err(found) => {
                    let fix = format!("write one number, this server's id: one of {choice}");
                    self.errors.push(Problem::in_file(&file, format!("`{found}` is no id")).fix(fix));
                }
                Ok(sid) => self.config.my_sid = Some(sid),
            },
        }
        if let Some(sid) = self.config.my_sid.filter(|sid| self.config.extended_types && sid.0 > 254) {
            let reason = format!("server id {sid} is above 254, where sessions could not be told from TTLs");
            self.error("extendedTypesEnabled", reason, "give the server a smaller id, or leave the line out");
        }
        let Some(sid) = self.config.my_sid else {
            self.config.role = self.config.peer_type.unwrap_or_default();
            return;
        };
        let Some(me) = self.config.members.get(sid).cloned() else {
            if !self.config.is_standalone() {
                let reason = format!("id {sid} is not among the members {choice} of {}", list.file);
                let fix = format!("correct the id, or add a line server.{sid}=...");
                self.errors.push(Problem::in_file(&file, reason).fix(fix));
            }
            return;
        };
        self.config.role = me.role;
        let written = self.config.peer_type.unwrap_or_default();
        if written != me.role {
            let reason =
                format!("the server line says {}, peerType {written}; the server line wins", me.role);
            self.warn(list, &format!("server.{sid}"), reason, format!("write peerType={}", me.role));
        }
        self.take_client_address(&me);
    }

    fn needs_my_id(&self) -> bool {
        !self.config.is_standalone() && !self.config.members.members.is_empty()
    }

    /// The client address of the server line wins; one in zoo.cfg must not contradict it.
    fn take_client_address(&mut self, me: &Member) {
        let Some(listed) = &me.client else { return };
        let any = |host: &str| host == "0.0.0.0" || host == "::";
        if let Some(own) = &self.config.client {
            let same = match &own.address {
                Some(address) => *address == listed.host && own.port == listed.port,
                None => own.port == listed.port,
            };
            if !same {
                let own = format!("{}:{}", own.address.as_deref().unwrap_or("*"), own.port);
                let reason = format!("`{own}` here, but server.{} says `{listed}`", me.sid);
                self.error("clientPort", reason, "make both the same, or keep one of them");
            }
        }
        let address = (!any(&listed.host)).then(|| listed.host.clone());
        self.config.client = Some(ClientAddress { address, port: listed.port });
    }

    fn check_ensemble(&mut self, my_id: MyId<'_>) {
        let voters = self.config.members.voters().count();
        let observers = self.config.members.observers().count();
        if self.config.is_standalone() {
            let c = &mut self.config;
            c.init_limit = if c.init_limit == 0 { DEFAULTS.init_limit } else { c.init_limit };
            c.sync_limit = if c.sync_limit == 0 { DEFAULTS.sync_limit } else { c.sync_limit };
        } else {
            for (key, value) in [("initLimit", self.config.init_limit), ("syncLimit", self.config.sync_limit)]
            {
                if value == 0 {
                    self.error(key, "is not set, and an ensemble needs it", format!("add a line {key}=..."));
                }
            }
        }
        if voters == 0 && (observers > 0 || !self.config.standalone_enabled) && self.errors.is_empty() {
            self.error("server.N", "nobody votes", "at least one server line must be a participant");
        } else if voters == 1 && observers > 0 && self.config.standalone_enabled {
            self.error(
                "server.N",
                "observers beside a single voter need a quorum server",
                "add voters, or set standaloneEnabled=false on every server",
            );
        }
        let reason = match voters {
            2 => Some("two voters tolerate no failure; at least three are needed for that".to_owned()),
            n if n > 2 && n % 2 == 0 => {
                Some(format!("{n} voters tolerate no more failures than {}; an odd number is better", n - 1))
            }
            _ => None,
        };
        if let Some(reason) = reason {
            self.warnings.push(Problem::in_file(&self.config.file, reason));
        }
        if self.config.connect_limit == 0 {
            self.config.connect_limit = self.config.init_limit;
        }
        let client_known = my_id == MyId::Unchecked || self.config.client.is_some();
        if !client_known && self.config.secure_client.is_none() && self.errors.is_empty() {
            self.error("clientPort", "is not set, so no client can connect", "add a line clientPort=2181");
        }
    }

    /// No two listeners on the same host may share a port.
    fn check_ports(&mut self, list: &ListSource) {
        let mut taken: BTreeMap<(String, u16), String> = BTreeMap::new();
        let mut clashes = Vec::new();
        for member in &self.config.members.members {
            let key = format!("server.{}", member.sid);
            let mut ports = Vec::new();
            for a in &member.addresses {
                ports.push((a.host.clone(), a.quorum_port, "quorum port"));
                ports.push((a.host.clone(), a.election_port, "election port"));
            }
            let own = self.config.my_sid == Some(member.sid);
            let host = &member.address().host;
            let elsewhere = |c: &ClientAddress| {
                !self.config.quorum_listen_on_all_ips
                    && c.address.as_ref().is_some_and(|a| a != host && a.parse::<std::net::IpAddr>().is_ok())
                    && host.parse::<std::net::IpAddr>().is_ok()
            };
            match (&member.client, &self.config.client) {
                (_, Some(c)) if own && c.port != 0 && !elsewhere(c) => {
                    ports.push((host.clone(), c.port, "client port"));
                }
                (Some(c), _) if !own => ports.push((host.clone(), c.port, "client port")),
                _ => {}
            }
            for (host, port, what) in ports {
                let this = format!("the {what} of {key}");
                if let Some(other) = taken.insert((host.clone(), port), this.clone()) {
                    clashes.push((key.clone(), format!("port {port} of {host} is both {other} and {this}")));
                }
            }
        }
        for (key, reason) in clashes {
            let fix = "give each listener its own port, for example 2181 for clients, 2182 for the quorum, \
                       2183 for elections";
            self.errors.push(list.place(&key, reason).fix(fix));
        }
    }
}

/// Where the member list was written: zoo.cfg itself or the dynamic file.
struct ListSource {
    file: String,
    properties: Properties,
}

impl ListSource {
    fn place(&self, key: &str, reason: String) -> Problem {
        let mut problem = Problem::in_file(&self.file, reason).key(key);
        problem.line = self.properties.get(key).map(|e| e.line);
        problem
    }
}

fn first(ids: &[String]) -> &str {
    ids.first().map_or("1", String::as_str)
}

/// The id in a `myid` file: its first line. What was there instead, when it is no number.
pub fn my_id_from_text(text: &str) -> Result<Sid, String> {
    let line = text.lines().next().unwrap_or("").trim();
    line.parse().map(Sid).map_err(|_| line.chars().take(40).collect())
}
