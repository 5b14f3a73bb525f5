//! From YAML to the typed ensemble, defaults filled in; every problem with its place, all at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::check;
use super::ensemble::{Become, Connection, Ensemble, HostKeys, Manager, Node, Paths, Scope, Service, Ssh};
use super::problem::InventoryProblem;
use super::spans::{self, line_and_column};
use super::walk::{At, Document};
use crate::config::Role;
use crate::ids::Sid;

/// What an inventory holds, or everything that is wrong with it.
pub type Parsed = Result<(Ensemble, Vec<InventoryProblem>), Vec<InventoryProblem>>;

const TOP: &[&str] =
    &["version", "cluster", "connection", "ssh", "service", "paths", "defaults", "config", "nodes"];
const PORTS: &[&str] = &["client_port", "quorum_port", "election_port"];
const NODE: &[&str] = &[
    "name",
    "id",
    "host",
    "address",
    "bind",
    "role",
    "client_port",
    "quorum_port",
    "election_port",
    "paths",
    "ssh",
    "service",
    "config",
];
const SSH: &[&str] =
    &["user", "port", "key", "config", "known_hosts", "host_keys", "jump", "become", "connect_timeout"];

/// Lines of zoo.cfg that the inventory says in its own words.
const RESERVED: &[(&str, &str)] = &[
    ("dataDir", "paths: { data: ... }"),
    ("dataLogDir", "paths: { txlog: ... }"),
    ("clientPort", "client_port"),
    ("clientPortAddress", "bind"),
    ("peerType", "role"),
    ("dynamicConfigFile", "the list of nodes"),
];

/// Reads the text of an inventory. `file` is how the user named it; relative paths count from its directory,
/// which is `base` when absolute.
pub fn parse(file: &str, text: &str, base: &Path) -> Parsed {
    let tree = spans::parse(text);
    let document = Document { file, text, tree, problems: RefCell::default(), warnings: RefCell::default() };
    report_duplicates(&document);
    let value: Value = match serde_yaml::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            let mut problems = document.problems.into_inner();
            if problems.is_empty() {
                let span = error.location().map(|l| l.index()..l.index()).filter(|s| s.end <= text.len());
                let message = format!("this is no YAML: {error}");
                problems.push(InventoryProblem::new(file, text, span, message, None));
            }
            return Err(problems);
        }
    };
    let top = At { document: &document, value: &value, path: Vec::new() };
    let ensemble = read(&top, base);
    if let Some(ensemble) = &ensemble {
        check::check(&top, ensemble);
    }
    let mut problems = document.problems.into_inner();
    problems.sort_by_key(|p| p.place);
    match ensemble {
        Some(ensemble) if problems.is_empty() => Ok((ensemble, document.warnings.into_inner())),
        _ => Err(problems),
    }
}

fn report_duplicates(document: &Document<'_>) {
    let Some(tree) = &document.tree else { return };
    for found in tree.duplicates() {
        let (line, _) = line_and_column(document.text, found.first);
        document.problems.borrow_mut().push(InventoryProblem::new(
            document.file,
            document.text,
            Some(found.again),
            format!("`{}` is said twice here, first in line {line}", found.key),
            Some("keep one of them".into()),
        ));
    }
}

fn read(top: &At<'_>, base: &Path) -> Option<Ensemble> {
    if !top.expect_keys(TOP) {
        return None;
    }
    if let Some(version) = top.get("version")
        && version.value.as_i64() != Some(1)
    {
        version.problem("this inventory is of another version", Some("this zkctl reads version 1".into()));
    }
    let name = match top.get("cluster") {
        Some(at) => at.text().filter(|name| valid_name(&at, name)),
        None => {
            top.problem("the ensemble has no name", Some("add a line `cluster: NAME`".into()));
            None
        }
    };
    let connection = top
        .get("connection")
        .and_then(|at| at.word(&[("ssh", Connection::Ssh), ("local", Connection::Local)]))
        .unwrap_or(Connection::Ssh);
    let defaults = top.get("defaults");
    if let Some(at) = &defaults {
        let known: Vec<&str> = PORTS.iter().copied().chain(["config"]).collect();
        at.expect_keys(&known);
    }
    let mut config = BTreeMap::new();
    for at in [top.get("config"), defaults.as_ref().and_then(|d| d.get("config"))].into_iter().flatten() {
        read_config(&at, &mut config);
    }
    let shared = Shared {
        connection,
        base,
        ssh: read_ssh(top.get("ssh").as_ref(), base, &Ssh { connect_timeout_s: 5, ..Ssh::default() }),
        service: read_service(top.get("service").as_ref(), &Service::default()),
        paths: top.get("paths"),
        ports: [2181, 2182, 2183],
        config,
    };
    let shared = Shared { ports: read_ports(defaults.as_ref(), shared.ports), ..shared };
    if let Some(paths) = &shared.paths {
        paths.expect_keys(&["base", "data", "txlog", "logs"]);
    }
    let nodes: Vec<Option<Node>> = match top.get("nodes") {
        Some(at) => at.items().iter().map(|item| read_node(item, &shared)).collect(),
        None => {
            top.problem(
                "there are no nodes",
                Some("add a list `nodes:` with name, id and host of each".into()),
            );
            return None;
        }
    };
    if nodes.is_empty() {
        top.get("nodes")?.problem("there are no nodes", Some("list at least one".into()));
    }
    let nodes = nodes.into_iter().collect::<Option<Vec<Node>>>()?;
    Some(Ensemble { name: name?, file: PathBuf::new(), connection, nodes })
}

/// What every node starts from.
struct Shared<'a> {
    connection: Connection,
    base: &'a Path,
    ssh: Ssh,
    service: Service,
    paths: Option<At<'a>>,
    ports: [u16; 3],
    config: BTreeMap<String, String>,
}

/// Names go into unit names, directories and messages.
fn valid_name(at: &At<'_>, name: &str) -> bool {
    let good = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !good {
        let help = "letters, digits, `-`, `_` and `.`, beginning with a letter or digit, at most 63";
        at.problem(format!("`{name}` is no good name"), Some(help.into()));
    }
    good
}

/// Hosts and addresses: what a shell or a zoo.cfg line could misread is refused.
fn valid_host(at: &At<'_>, host: &str) -> bool {
    let good = !host.is_empty()
        && !host.starts_with('-')
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '%'));
    if !good {
        at.problem(format!("`{host}` is no host"), Some("a name, an ssh alias or an address".into()));
    }
    good
}

/// `[USER@]HOST[:PORT]`.
fn valid_jump(at: &At<'_>, jump: &str) -> bool {
    let good = !jump.is_empty()
        && jump.split('@').count() <= 2
        && jump.split('@').all(|part| !part.is_empty() && !part.starts_with('-'))
        && jump
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '%' | '@' | '[' | ']'));
    if !good {
        at.problem(format!("`{jump}` is no jump host"), Some("[USER@]HOST[:PORT], or a list of such".into()));
    }
    good
}

fn read_ports(at: Option<&At<'_>>, otherwise: [u16; 3]) -> [u16; 3] {
    let mut out = otherwise;
    for (key, port) in PORTS.iter().zip(&mut out) {
        if let Some(found) = at.and_then(|at| at.get(key)) {
            *port = found.port().unwrap_or(*port);
        }
    }
    out
}

fn read_node(at: &At<'_>, shared: &Shared<'_>) -> Option<Node> {
    if !at.expect_keys(NODE) {
        return None;
    }
    let name = match at.get("name") {
        Some(found) => found.text().filter(|n| valid_name(&found, n)),
        None => {
            at.problem("this node has no name", Some("add `name: zk1` or the like".into()));
            None
        }
    };
    let sid = match at.get("id") {
        Some(found) => found.number(1..=255, "id").map(Sid),
        None => {
            at.problem("this node has no id", Some("add `id: N`, the number of its myid file".into()));
            None
        }
    };
    let host = match at.get("host") {
        Some(found) => found.text().filter(|h| valid_host(&found, h)),
        None if shared.connection == Connection::Local => Some("127.0.0.1".into()),
        None => {
            at.problem(
                "this node has no host",
                Some("add `host:` with a name or address that ssh reaches".into()),
            );
            None
        }
    };
    let address = match at.get("address") {
        Some(found) => found.text().filter(|h| valid_host(&found, h)),
        None => host.clone(),
    };
    let bind = at.get("bind").and_then(|found| found.text().filter(|h| valid_host(&found, h)));
    let role = at
        .get("role")
        .and_then(|found| found.word(&[("participant", Role::Participant), ("observer", Role::Observer)]));
    let [client_port, quorum_port, election_port] = read_ports(Some(at), shared.ports);
    let mut config = shared.config.clone();
    if let Some(found) = at.get("config") {
        read_config(&found, &mut config);
    }
    let paths = name.as_deref().and_then(|name| read_paths(at, name, shared));
    let ssh = read_ssh(at.get("ssh").as_ref(), shared.base, &shared.ssh);
    let service = read_service(at.get("service").as_ref(), &shared.service);
    Some(Node {
        name: name?,
        sid: sid?,
        host: host?,
        address: address?,
        bind,
        role: role.unwrap_or_default(),
        client_port,
        quorum_port,
        election_port,
        paths: paths?,
        ssh,
        service,
        config,
    })
}

/// The node's paths: its own, else the ensemble's with `{name}` replaced, else below the node's directory.
fn read_paths(at: &At<'_>, name: &str, shared: &Shared<'_>) -> Option<Paths> {
    let own = at.get("paths");
    if let Some(own) = &own {
        own.expect_keys(&["dir", "data", "txlog", "logs"]);
    }
    let resolve = |found: At<'_>| -> Option<String> {
        let text = found.text()?.replace("{name}", name);
        if text.chars().any(char::is_control) || text.contains(['{', '}']) {
            found.problem(format!("`{text}` is no path"), Some("`{name}` is the only placeholder".into()));
            return None;
        }
        if text.starts_with('/') {
            return Some(normal(&text));
        }
        if shared.connection == Connection::Local {
            return Some(normal(&shared.base.join(&text).to_string_lossy()));
        }
        found.problem(format!("`{text}` is not absolute"), Some("paths on hosts begin with /".into()));
        None
    };
    let find = |key: &str| {
        own.as_ref().and_then(|own| own.get(key)).or_else(|| shared.paths.as_ref().and_then(|p| p.get(key)))
    };
    let dir = match own.as_ref().and_then(|own| own.get("dir")) {
        Some(found) => resolve(found)?,
        None => match shared.paths.as_ref().and_then(|p| p.get("base")) {
            Some(found) => format!("{}/{name}", resolve(found)?),
            None if shared.connection == Connection::Local => {
                normal(&shared.base.join(format!(".zkctl/{name}")).to_string_lossy())
            }
            None => format!("/data/server/{name}"),
        },
    };
    let below = |key: &str| match find(key) {
        Some(found) => resolve(found),
        None => Some(format!("{dir}/{key}")),
    };
    Some(Paths { data: below("data")?, txlog: below("txlog")?, logs: below("logs")?, dir })
}

/// A path without `.`, `..`, doubled or trailing slashes; links are not looked at.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

fn read_config(at: &At<'_>, into: &mut BTreeMap<String, String>) {
    for (key, value) in at.entries() {
        let own_word = RESERVED.iter().find(|(reserved, _)| *reserved == key).map(|(_, word)| *word);
        let own_word = own_word.or_else(|| key.starts_with("server.").then_some("the list of nodes"));
        if let Some(word) = own_word {
            value.key_problem(format!("`{key}` is written by zkctl"), Some(format!("say it with `{word}`")));
            continue;
        }
        let Some(text) = value.text() else { continue };
        if text.contains(['\n', '\r'])
            || key.chars().any(|c| c.is_whitespace() || matches!(c, '=' | ':' | '\\'))
        {
            value.problem("this does not fit on a line of zoo.cfg", None);
            continue;
        }
        into.insert(key, text);
    }
}

fn read_ssh(at: Option<&At<'_>>, base: &Path, otherwise: &Ssh) -> Ssh {
    let Some(at) = at else { return otherwise.clone() };
    let mut ssh = otherwise.clone();
    if !at.expect_keys(SSH) {
        return ssh;
    }
    if let Some(found) = at.get("user") {
        ssh.user = found.text().filter(|user| valid_host(&found, user)).or(ssh.user);
    }
    if let Some(found) = at.get("port") {
        ssh.port = found.port().or(ssh.port);
    }
    let file = |key: &str, otherwise: Option<PathBuf>| at.text_of(key).map(|p| local(base, &p)).or(otherwise);
    ssh.key = file("key", ssh.key);
    ssh.config = file("config", ssh.config);
    ssh.known_hosts = file("known_hosts", ssh.known_hosts);
    missing_files(at, base);
    if let Some(found) = at.get("host_keys") {
        let words =
            [("strict", HostKeys::Strict), ("accept-new", HostKeys::AcceptNew), ("off", HostKeys::Off)];
        ssh.host_keys = found.word(&words).unwrap_or(ssh.host_keys);
    }
    if let Some(found) = at.get("jump") {
        let one = found.value.is_string();
        let items = if one { vec![found] } else { found.items() };
        let jumps = items.iter().filter_map(|item| item.text().filter(|jump| valid_jump(item, jump)));
        ssh.jump = jumps.collect();
    }
    if let Some(found) = at.get("become") {
        ssh.become_root =
            found.word(&[("sudo", Become::Sudo), ("none", Become::No)]).unwrap_or(ssh.become_root);
    }
    if let Some(found) = at.get("connect_timeout") {
        let seconds = found.number(1..=300, "number of seconds").and_then(|n| u16::try_from(n).ok());
        ssh.connect_timeout_s = seconds.unwrap_or(ssh.connect_timeout_s);
    }
    ssh
}

/// Files of the operator's own machine that ssh would go on without. One of known hosts may be yet to be made, by the
/// first connection; not where every host must be known.
fn missing_files(at: &At<'_>, base: &Path) {
    let strict = at.text_of("host_keys").is_some_and(|word| word == "strict");
    for (key, needed) in [("key", true), ("config", true), ("known_hosts", strict)] {
        let Some(found) = at.get(key).filter(|_| needed) else { continue };
        if let Some(path) = found.text().map(|path| local(base, &path))
            && !path.exists()
        {
            found.problem(format!("there is no file {}", path.display()), None);
        }
    }
}

/// A file of the operator's own machine: `~/` is the home, relative counts from the inventory.
fn local(base: &Path, path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => base.join(path),
    }
}

fn read_service(at: Option<&At<'_>>, otherwise: &Service) -> Service {
    let Some(at) = at else { return otherwise.clone() };
    let mut service = otherwise.clone();
    if !at.expect_keys(&["manager", "scope", "user"]) {
        return service;
    }
    if let Some(found) = at.get("manager") {
        let words = [("auto", Manager::Auto), ("systemd", Manager::Systemd), ("process", Manager::Process)];
        service.manager = found.word(&words).unwrap_or(service.manager);
    }
    if let Some(found) = at.get("scope") {
        service.scope =
            found.word(&[("system", Scope::System), ("user", Scope::User)]).unwrap_or(service.scope);
    }
    if let Some(found) = at.get("user") {
        service.user = found.text().filter(|user| valid_name(&found, user)).or(service.user);
    }
    service
}
