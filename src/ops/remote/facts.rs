//! Gathering facts: one command per host. Where zkctl is deployed it answers itself; elsewhere a plain sh
//! script tells what must be known before the first upload.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::command::Command;
use super::ssh::Remote;
use crate::ops::host::protocol::{HostFacts, NodeFacts, NodeSpec, ProbeRequest, SCHEMA, TakenPort};
use crate::ops::inventory::Node;

/// Why nothing is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// What went wrong.
    pub reason: String,
}

/// A node of the inventory with what its host says.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node.
    pub node: Node,
    /// Whether its host has systemd.
    pub systemd: bool,
    /// The host's machine kind.
    pub arch: String,
    /// As whom commands run there.
    pub uid: u32,
    /// The node's facts.
    pub facts: Result<NodeFacts, Unreachable>,
}

/// `$1` the request for a deployed zkctl (empty: do not ask it), then name, directory, data and txlog of each node.
const SCRIPT: &str = r#"
request=$1
shift
ask() {
  while [ $# -gt 0 ]; do
    if [ -x "$2/bin/zkctl" ] && "$2/bin/zkctl" probe "$request" 2>/dev/null; then return 0; fi
    shift 4
  done
  return 1
}
if [ -n "$request" ] && ask "$@"; then exit 0; fi
echo "arch $(uname -m)"
echo "uid $(id -u)"
[ -d /run/systemd/system ] && echo "systemd yes"
encode() { base64 <"$1" | tr -d '\n'; }
while [ $# -gt 0 ]; do
  echo "node $1"
  [ -f "$2/conf/zoo.cfg" ] && echo "zoo_cfg $(encode "$2/conf/zoo.cfg")"
  [ -f "$3/myid" ] && echo "my_id $(encode "$3/myid")"
  ls "$3/version-2" "$4/version-2" 2>/dev/null | grep -Eq '^(log|snapshot)\.' && echo "data yes"
  for place in "$2" "$3" "$4"; do
    while [ ! -e "$place" ]; do place=$(dirname "$place"); done
    echo "free $(df -Pk "$place" | awk 'NR == 2 { print $4 }')"
  done
  shift 4
done
for file in /proc/net/tcp /proc/net/tcp6; do
  [ -r "$file" ] || continue
  while read -r _ local _ state _; do
    [ "$state" = 0A ] && echo "listen ${local##*:}"
  done <"$file"
done
exit 0
"#;

/// Asks one host about its nodes.
pub(super) async fn gather(
    remote: &Remote,
    nodes: &[NodeSpec],
    session: bool,
    within: Duration,
) -> Result<HostFacts, String> {
    let request = ProbeRequest {
        schema: SCHEMA,
        nodes: nodes.to_vec(),
        session,
        timeout_ms: within.as_millis() as u64,
    };
    let request = serde_json::to_string(&request).map_err(|e| e.to_string())?;
    let text = ask(remote, &request, nodes, within).await?;
    if let Ok(facts) = serde_json::from_str::<HostFacts>(&text)
        && facts.schema == SCHEMA
    {
        return Ok(facts);
    }
    let text = if text.trim_start().starts_with('{') { ask(remote, "", nodes, within).await? } else { text };
    Ok(read_plain(&text, nodes))
}

async fn ask(remote: &Remote, request: &str, nodes: &[NodeSpec], within: Duration) -> Result<String, String> {
    let mut values = vec![request.to_owned()];
    for node in nodes {
        values.extend([node.name.clone(), node.dir.clone(), node.data.clone(), node.txlog.clone()]);
    }
    let command = Command::script(SCRIPT, values).timeout(within * 3 + Duration::from_secs(2));
    let output = remote.run(command).await.map_err(|e| e.to_string())?;
    if !output.is_ok() {
        return Err(format!("asking for facts failed: {}", output.said()));
    }
    String::from_utf8(output.stdout).map_err(|_| "the facts are not text".into())
}

/// Reads what the script prints where no zkctl answers.
fn read_plain(text: &str, nodes: &[NodeSpec]) -> HostFacts {
    let decode = |value: &str| {
        let bytes = STANDARD.decode(value.trim()).ok()?;
        String::from_utf8(bytes).ok()
    };
    let mut host = HostFacts { schema: SCHEMA, ..HostFacts::default() };
    let mut listening: Vec<u16> = Vec::new();
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "arch" => host.arch = value.into(),
            "uid" => host.uid = value.parse().unwrap_or(0),
            "systemd" => host.systemd = true,
            "listen" => listening.extend(u16::from_str_radix(value, 16)),
            "node" => host.nodes.push(NodeFacts { name: value.into(), ..NodeFacts::default() }),
            _ => {
                let Some(node) = host.nodes.last_mut() else { continue };
                match key {
                    "zoo_cfg" => node.zoo_cfg = decode(value),
                    "my_id" => node.my_id = decode(value),
                    "data" => node.has_data = true,
                    "free" => {
                        let free = value.parse::<u64>().ok().map(|kb| kb << 10);
                        node.free_bytes = node.free_bytes.into_iter().chain(free).min();
                    }
                    _ => {}
                }
            }
        }
    }
    for facts in &mut host.nodes {
        let Some(spec) = nodes.iter().find(|n| n.name == facts.name) else { continue };
        let taken = spec.ports.iter().filter(|p| listening.contains(p));
        facts.taken_ports = taken.map(|port| TakenPort { port: *port, by: None }).collect();
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_facts_are_read() {
        let spec = NodeSpec {
            name: "a".into(),
            dir: "/d".into(),
            data: "/d/data".into(),
            txlog: "/d/txlog".into(),
            logs: "/d/logs".into(),
            bind: None,
            ports: [2181, 2182, 2183],
            unit: String::new(),
            user_unit: false,
            systemd: None,
            user: None,
        };
        let text = "arch x86_64\nuid 0\nsystemd yes\nnode a\nmy_id MwoK\nzoo_cfg YT0x\ndata yes\nfree 100\nfree 7\n\
            listen 0885\nlisten 0016\n";
        let host = read_plain(text, &[spec]);
        assert_eq!((host.arch.as_str(), host.systemd), ("x86_64", true));
        let node = &host.nodes[0];
        assert_eq!((node.my_id.as_deref(), node.zoo_cfg.as_deref()), (Some("3\n\n"), Some("a=1")));
        assert_eq!((node.has_data, node.free_bytes), (true, Some(7 << 10)));
        assert_eq!(node.taken_ports, [TakenPort { port: 2181, by: None }]);
    }
}
