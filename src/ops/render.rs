//! From a typed ensemble to the files of its nodes: zoo.cfg, myid, systemd unit.
//!
//! Templates are embedded and can be overridden by a directory. Undefined values are errors; every
//! rendered zoo.cfg is read back by the server's own parser and must say what the inventory says.
//! Deliberately absent: sending anything anywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig};
use serde::Serialize;
use thiserror::Error;

use super::inventory::{Ensemble, Node, Scope};
use crate::config::{Draft, MyId, Role};

/// The files of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// zoo.cfg.
    pub zoo_cfg: String,
    /// myid.
    pub my_id: String,
    /// The systemd unit, for hosts that have systemd.
    pub unit: String,
}

/// Why a file could not be rendered.
#[derive(Debug, Error)]
pub enum RenderError {
    /// A template is wrong or names something that is not there.
    #[error("template {name}: {reason}")]
    Template {
        /// The template's file name.
        name: String,
        /// What minijinja said.
        reason: String,
    },
    /// The server would not take the result.
    #[error("the zoo.cfg rendered for {node} would not start:\n{reason}")]
    Refused {
        /// The node.
        node: String,
        /// What the server's parser said.
        reason: String,
    },
}

const ZOO_CFG: &str = "zoo.cfg.j2";
const MY_ID: &str = "myid.j2";
const UNIT: &str = "zkctl.service.j2";

/// The scripts that stand beside the binary, with the original's names.
pub const SCRIPTS: &[(&str, &str)] = &[
    ("zkServer.sh", include_str!("../../templates/zkServer.sh")),
    ("zkCleanup.sh", include_str!("../../templates/zkCleanup.sh")),
];

/// Lines that every zoo.cfg gets unless the inventory says otherwise, in this order.
const SETTINGS: &[(&str, &str)] = &[
    ("tickTime", "2000"),
    ("initLimit", "10"),
    ("syncLimit", "5"),
    ("autopurge.snapRetainCount", "3"),
    ("autopurge.purgeInterval", "1"),
    ("4lw.commands.whitelist", "srvr, stat, ruok, conf, isro, mntr, envi"),
];

/// Renders nodes' files.
pub struct Renderer {
    environment: Environment<'static>,
}

impl Renderer {
    /// The embedded templates, those in `directory` in their place.
    pub fn new(directory: Option<&Path>) -> Result<Renderer, RenderError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()
            .map_err(|e| template(ZOO_CFG, &e))?;
        environment.set_syntax(syntax);
        for (name, embedded) in [
            (ZOO_CFG, include_str!("../../templates/zoo.cfg.j2")),
            (MY_ID, include_str!("../../templates/myid.j2")),
            (UNIT, include_str!("../../templates/zkctl.service.j2")),
        ] {
            let own = directory.map(|d| d.join(name)).filter(|p| p.exists());
            let source = match own {
                None => embedded.to_owned(),
                Some(path) => std::fs::read_to_string(&path).map_err(|error| RenderError::Template {
                    name: path.display().to_string(),
                    reason: error.to_string(),
                })?,
            };
            environment.add_template_owned(name, source).map_err(|e| template(name, &e))?;
        }
        Ok(Renderer { environment })
    }

    /// Renders one node's files and reads its zoo.cfg back.
    pub fn render(&self, ensemble: &Ensemble, node: &Node) -> Result<Rendered, RenderError> {
        let context = context(ensemble, node);
        let one = |name: &str| -> Result<String, RenderError> {
            let found = self.environment.get_template(name).map_err(|e| template(name, &e))?;
            found.render(Value::from(Serde(&context))).map_err(|e| template(name, &e))
        };
        let rendered = Rendered { zoo_cfg: one(ZOO_CFG)?, my_id: one(MY_ID)?, unit: one(UNIT)? };
        read_back(ensemble, node, &rendered)?;
        Ok(rendered)
    }
}

fn template(name: &str, error: &minijinja::Error) -> RenderError {
    let line = error.line().map(|l| format!("line {l}: ")).unwrap_or_default();
    let detail = error.detail().map(|d| format!(": {d}")).unwrap_or_default();
    RenderError::Template { name: name.into(), reason: format!("{line}{}{detail}", error.kind()) }
}

/// What templates see; every value is text, since minijinja prints Python's words for the rest.
#[derive(Serialize)]
struct Context {
    cluster: String,
    node: BTreeMap<&'static str, String>,
    settings: Vec<BTreeMap<&'static str, String>>,
    members: Vec<BTreeMap<&'static str, String>>,
    unit: BTreeMap<&'static str, String>,
}

fn context(ensemble: &Ensemble, node: &Node) -> Context {
    let mut of_node = BTreeMap::from([
        ("name", node.name.clone()),
        ("id", node.sid.to_string()),
        ("address", node.address.clone()),
        ("role", node.role.to_string()),
        ("data", escape(&node.paths.data)),
        ("txlog", escape(&node.paths.txlog)),
        ("client_port", node.client_port.to_string()),
        ("quorum_port", node.quorum_port.to_string()),
        ("election_port", node.election_port.to_string()),
    ]);
    if let Some(bind) = &node.bind {
        of_node.insert("bind", bind.clone());
    }
    let fixed = SETTINGS.iter().map(|(key, value)| {
        let value = node.config.get(*key).map_or(*value, String::as_str);
        BTreeMap::from([("key", (*key).to_owned()), ("value", escape(value))])
    });
    let own = node
        .config
        .iter()
        .filter(|(key, _)| !SETTINGS.iter().any(|(fixed, _)| fixed == key))
        .map(|(key, value)| BTreeMap::from([("key", escape(key)), ("value", escape(value))]));
    let mut nodes: Vec<&Node> = ensemble.nodes.iter().collect();
    nodes.sort_by_key(|n| n.sid);
    let members = nodes
        .iter()
        .map(|n| {
            let host = if n.address.contains(':') { format!("[{}]", n.address) } else { n.address.clone() };
            let role = if n.role == Role::Observer { ":observer" } else { "" };
            let address = format!("{host}:{}:{}{role}", n.quorum_port, n.election_port);
            BTreeMap::from([("id", n.sid.to_string()), ("address", address)])
        })
        .collect();
    Context {
        cluster: ensemble.name.clone(),
        node: of_node,
        settings: fixed.chain(own).collect(),
        members,
        unit: unit(&ensemble.name, node),
    }
}

fn unit(cluster: &str, node: &Node) -> BTreeMap<&'static str, String> {
    let paths = &node.paths;
    // systemd expands variables in arguments, not in the program's path.
    let words = serve_command(cluster, node);
    let (program, arguments) = words.split_at(1);
    let escaped = arguments.iter().map(|word| word.replace('$', "$$"));
    let command: Vec<String> = program.iter().cloned().chain(escaped).map(|word| unit_word(&word)).collect();
    let writable: Vec<String> =
        [&paths.dir, &paths.data, &paths.txlog, &paths.logs].iter().map(|p| unit_word(p)).collect();
    let wanted_by = match node.service.scope {
        Scope::System => "multi-user.target",
        Scope::User => "default.target",
    };
    let mut out = BTreeMap::from([
        ("exec_start", command.join(" ")),
        ("dir", paths.dir.replace('%', "%%")),
        ("writable", writable.join(" ")),
        ("wanted_by", wanted_by.to_owned()),
    ]);
    if let (Some(user), Scope::System) = (&node.service.user, node.service.scope) {
        out.insert("user", user.clone());
    }
    out
}

/// The command by which systemd runs a node's server. It says which unit it is: a server cannot tell that
/// from its surroundings, which whoever started it may have inherited.
fn serve_command(cluster: &str, node: &Node) -> Vec<String> {
    let paths = &node.paths;
    let of_user = (node.service.scope == Scope::User).then(|| "--user-unit".to_owned());
    let words = [
        format!("{}/zkctl", paths.bin()),
        "serve".into(),
        "-c".into(),
        paths.zoo_cfg(),
        "--log-dir".into(),
        paths.logs.clone(),
        "--state-file".into(),
        paths.started(),
        "--unit".into(),
        node.unit(cluster),
    ];
    words.into_iter().chain(of_user).collect()
}

/// A word of a unit file: quoted, specifiers taken literally.
fn unit_word(word: &str) -> String {
    let plain =
        word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '=' | '@'));
    if plain {
        return word.to_owned();
    }
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{escaped}\"")
}

/// A value as the properties dialect writes it; the original reads such files as ISO-8859-1.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (i, c) in value.chars().enumerate() {
        match c {
            '\\' => out.push_str("\\\\"),
            ' ' if i == 0 => out.push_str("\\ "),
            c if c.is_ascii() => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out
}

/// The rendered zoo.cfg must be taken by the server and say what the inventory says.
fn read_back(ensemble: &Ensemble, node: &Node, rendered: &Rendered) -> Result<(), RenderError> {
    let refused = |reason: String| RenderError::Refused { node: node.name.clone(), reason };
    let draft = Draft::read("zoo.cfg", &rendered.zoo_cfg, &[]);
    let (config, _) =
        draft.finish(MyId::Text(&rendered.my_id), None).map_err(|errors| refused(errors.to_string()))?;
    let mut members: Vec<_> = ensemble.nodes.iter().map(Node::member).collect();
    members.sort_by_key(|m| m.sid);
    let port = config.client.as_ref().map(|c| c.port);
    for (what, same) in [
        ("the member list", config.members.members == members || ensemble.nodes.len() == 1),
        ("the id", config.my_sid == Some(node.sid)),
        ("dataDir", config.data_dir == node.paths.data),
        ("dataLogDir", config.data_log_dir == node.paths.txlog),
        ("clientPort", port == Some(node.client_port)),
    ] {
        if !same {
            return Err(refused(format!("{what} is not what the inventory says")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::inventory::parse;

    fn ensemble(text: &str) -> Ensemble {
        parse("inv", text, Path::new("/w/inventories")).unwrap().0
    }

    fn rendered(text: &str, name: &str) -> Rendered {
        let ensemble = ensemble(text);
        Renderer::new(None).unwrap().render(&ensemble, ensemble.node(name).unwrap()).unwrap()
    }

    const PROD: &str = include_str!("../../inventories/prod.yaml");

    #[test]
    fn prod_renders_the_article_s_file() {
        let files = rendered(PROD, "zk2");
        assert_eq!(files.my_id, "2\n");
        let lines: Vec<&str> = files.zoo_cfg.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(
            lines.join("\n"),
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\nautopurge.snapRetainCount=3\nautopurge.purgeInterval=1\n\
             4lw.commands.whitelist=srvr, stat, ruok, conf, isro, mntr, envi\n\ndataDir=/data/server/zk2/data\n\
             dataLogDir=/data/server/zk2/txlog\nclientPort=2181\n\nserver.1=192.168.10.126:2182:2183\n\
             server.2=192.168.10.127:2182:2183\nserver.3=192.168.10.128:2182:2183"
        );
        assert!(files.zoo_cfg.ends_with(":2183\n"));
    }

    #[test]
    fn an_observer_says_so_twice_and_odd_values_survive() {
        let text = "cluster: c\nnodes:\n- {name: a, id: 1, host: h1}\n- {name: b, id: 2, host: h2}\n\
            - {name: d, id: 3, host: h3}\n- {name: o, id: 9, host: h9, address: '::9', bind: '::9', role: observer, \
            paths: {data: '/d\u{e4}ta/a b\\c'}, config: {snapCount: 7, tickTime: 100, x: 'a\\b'}}\n";
        let files = rendered(text, "o");
        for line in [
            "tickTime=100",
            "snapCount=7",
            "x=a\\\\b",
            "dataDir=/d\\u00e4ta/a b\\\\c",
            "clientPortAddress=::9",
            "peerType=observer",
            "server.9=[::9]:2182:2183:observer",
        ] {
            assert!(files.zoo_cfg.lines().any(|l| l == line), "{line} in\n{}", files.zoo_cfg);
        }
        assert!(
            files.unit.contains("ReadWritePaths=/data/server/o \"/d\u{e4}ta/a b\\\\c\""),
            "{}",
            files.unit
        );
    }

    #[test]
    fn a_zoo_cfg_that_would_not_start_is_not_sent() {
        let text = "cluster: c\nconfig: {tickTime: soon}\nnodes: [{name: a, id: 1, host: h}]\n";
        let ensemble = ensemble(text);
        let error =
            Renderer::new(None).unwrap().render(&ensemble, &ensemble.nodes[0]).unwrap_err().to_string();
        assert!(
            error.contains("rendered for a would not start:\nzoo.cfg:3: tickTime: `soon` is not"),
            "{error}"
        );
    }

    #[test]
    fn templates_are_overridable_and_strict() {
        let dir = std::env::temp_dir().join(format!("zkctl-templates-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("myid.j2"), "{{ node.nome }}\n").unwrap();
        let ensemble = ensemble(PROD);
        let render = || Renderer::new(Some(&dir)).unwrap().render(&ensemble, &ensemble.nodes[0]);
        let error = render().unwrap_err().to_string();
        assert!(error.starts_with("template myid.j2: line 1: undefined value"), "{error}");
        std::fs::write(dir.join("myid.j2"), "9\n").unwrap();
        let error = render().unwrap_err().to_string();
        assert!(error.contains("id 9 is not among the members"), "{error}");
        std::fs::write(dir.join("myid.j2"), "{{ node.id }}").unwrap();
        assert_eq!(render().unwrap().my_id, "1");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_unit_quotes_what_systemd_would_read_otherwise() {
        let unit = rendered(PROD, "zk1").unit;
        let exec = "ExecStart=/data/server/zk1/bin/zkctl serve -c /data/server/zk1/conf/zoo.cfg --log-dir \
                    /data/server/zk1/logs --state-file /data/server/zk1/run/server.json --unit zkctl-prod-zk1.service\n";
        assert!(unit.contains(exec), "{unit}");
        assert!(!unit.contains("\nUser="));
        assert_eq!(unit_word("/a%b \"c\"$d"), "\"/a%%b \\\"c\\\"$d\"");
        let unit = rendered(&PROD.replace("/data/server ", "/data/$x "), "zk1").unit;
        let exec = "ExecStart=\"/data/$x/zk1/bin/zkctl\" serve -c \"/data/$$x/zk1/conf/zoo.cfg\" --log-dir ";
        assert!(unit.contains(exec) && unit.contains("ReadWritePaths=\"/data/$x/zk1\" "), "{unit}");
    }
}
