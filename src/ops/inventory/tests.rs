//! Tables over whole inventories: what they mean, what is refused and where, what edits do.

use std::path::Path;

use super::*;
use crate::config::Role;
use crate::ids::Sid;

const PROD: &str = include_str!("../../../inventories/prod.yaml");
const LOCAL: &str = include_str!("../../../inventories/local.yaml");

fn read(text: &str) -> Ensemble {
    match parse("inv.yaml", text, Path::new("/work/inventories")) {
        Ok((ensemble, _)) => ensemble,
        Err(problems) => panic!("{problems:#?}"),
    }
}

fn problems(text: &str) -> Vec<String> {
    match parse("inv.yaml", text, Path::new("/work/inventories")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn prod_is_the_table_of_the_deployment() {
    let ensemble = read(PROD);
    assert_eq!((ensemble.name.as_str(), ensemble.connection), ("prod", Connection::Ssh));
    let rows: Vec<String> = ensemble
        .nodes
        .iter()
        .map(|n| {
            format!(
                "{} {} {} {} {} {}",
                n.name, n.sid, n.address, n.client_port, n.quorum_port, n.election_port
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            "zk1 1 192.168.10.126 2181 2182 2183",
            "zk2 2 192.168.10.127 2181 2182 2183",
            "zk3 3 192.168.10.128 2181 2182 2183"
        ]
    );
    let zk3 = ensemble.node("zk3").unwrap();
    assert_eq!(
        (zk3.paths.data.as_str(), zk3.paths.zoo_cfg().as_str()),
        ("/data/server/zk3/data", "/data/server/zk3/conf/zoo.cfg")
    );
    assert_eq!((zk3.ssh.user.as_deref(), zk3.ssh.host_keys), (Some("root"), HostKeys::AcceptNew));
}

#[test]
fn local_is_three_servers_beside_the_inventories() {
    let ensemble = read(LOCAL);
    assert_eq!(ensemble.connection, Connection::Local);
    let ports: Vec<u16> = ensemble.nodes.iter().map(|n| n.client_port).collect();
    assert_eq!(ports, [2181, 2281, 2381]);
    assert_eq!(ensemble.nodes[0].paths.dir, "/work/.zkctl/local/zk1");
}

#[test]
fn defaults_are_those_of_the_article() {
    let ensemble = read("cluster: c\nnodes: [{name: a, id: 7, host: h}]");
    let node = &ensemble.nodes[0];
    assert_eq!((node.client_port, node.quorum_port, node.election_port), (2181, 2182, 2183));
    assert_eq!(
        (node.paths.dir.as_str(), node.paths.logs.as_str()),
        ("/data/server/a", "/data/server/a/logs")
    );
    assert_eq!((node.role, node.address.as_str(), node.sid), (Role::Participant, "h", Sid(7)));
}

#[test]
fn nodes_override_what_all_share() {
    let text = "cluster: c\nssh: {user: op, port: 22, become: sudo, jump: bastion}\nconfig: {a: 1, b: 2}\n\
        paths: {base: /srv, txlog: '/nvme/{name}'}\nservice: {manager: systemd, user: zookeeper}\nnodes:\n\
        - name: a\n  id: 1\n  host: alias\n  address: 10.0.0.1\n  ssh: {port: 2222}\n  paths: {data: /ssd/a}\n\
        \x20 config: {b: true, autopurge.purgeInterval: 6}\n- {name: b, id: 2, host: h2, bind: 10.0.0.2}\n\
        - {name: c, id: 3, host: h3, role: observer}\n";
    let ensemble = read(text);
    let a = ensemble.node("a").unwrap();
    assert_eq!(
        (a.ssh.user.as_deref(), a.ssh.port, a.ssh.become_root),
        (Some("op"), Some(2222), Become::Sudo)
    );
    assert_eq!(a.ssh.jump, ["bastion"]);
    assert_eq!(
        (a.paths.data.as_str(), a.paths.txlog.as_str(), a.paths.dir.as_str()),
        ("/ssd/a", "/nvme/a", "/srv/a")
    );
    assert_eq!(a.config["b"], "true");
    assert_eq!((a.config["a"].as_str(), a.config["autopurge.purgeInterval"].as_str()), ("1", "6"));
    assert_eq!(a.service.manager, Manager::Systemd);
    assert_eq!(ensemble.node("b").unwrap().bind.as_deref(), Some("10.0.0.2"));
    assert_eq!(ensemble.voters().count(), 2);
}

#[test]
fn every_problem_comes_at_once_with_its_place() {
    let text = "cluster: my prod\nconection: ssh\nnodes:\n  - { name: zk1, id: 1, host: h1, clientport: 5 }\n  \
        - { name: zk1, id: 300, host: h2 }\n  - { name: zk3, host: -oProxy, role: votre }\n";
    let found = problems(text);
    let all = found.join("\n");
    for part in [
        "inv.yaml:1:10: `my prod` is no good name",
        "inv.yaml:2:1: unknown key `conection`",
        "did you mean `connection`?",
        "inv.yaml:4:35: unknown key `clientport`",
        "did you mean `client_port`?",
        "inv.yaml:5:22: `300` is no id",
        "inv.yaml:6:5: this node has no id",
        "inv.yaml:6:24: `-oProxy` is no host",
        "inv.yaml:6:39: `votre` is not known here",
    ] {
        assert!(all.contains(part), "{part} in\n{all}");
    }
    assert_eq!(
        found[1],
        "inv.yaml:2:1: unknown key `conection`\n 2 | conection: ssh\n   | ^^^^^^^^^\n   = did you mean `connection`?"
    );
}

#[test]
fn what_is_used_twice_is_refused() {
    let base = "cluster: c\nnodes:\n- {name: a, id: 1, host: h1}\n- {name: b, id: 2, host: h2}\n";
    for (line, part) in [
        ("- {name: a, id: 3, host: h3}", "inv.yaml:5:10: `a` is also the name"),
        ("- {name: c, id: 2, host: h3}", "inv.yaml:5:17: id 2 is used by an earlier node"),
        ("- {name: c, id: 3, host: h2}", "inv.yaml:5:3: h2:2182 is also an earlier node's quorum address"),
        (
            "- {name: c, id: 3, host: h2, quorum_port: 9}",
            "port 2181 on h2 is the client port of b and the client port",
        ),
        ("- {name: c, id: 3, host: h3, client_port: 2182}", "port 2182 on h3 is the client port of c"),
        (
            "- {name: c, id: 3, host: h3, address: 127.0.0.1}",
            "inv.yaml:5:39: `127.0.0.1` is this machine only",
        ),
        ("- {name: c, id: 3, host: h3, id: 4}", "inv.yaml:5:30: `id` is said twice here, first in line 5"),
        ("- {name: c, id: 3, host: h3, config: {dataDir: /x}}", "`dataDir` is written by zkctl"),
        ("- {name: c, id: 3, host: h3, config: {server.4: x}}", "`server.4` is written by zkctl"),
        ("- {name: c, id: 3, host: h3, config: {a: \"x\\ny\"}}", "does not fit on a line"),
        ("- {name: c, id: 3, host: h3, paths: {data: rel}}", "`rel` is not absolute"),
        ("- {name: c, id: 3, host: h3, ssh: {port: 0}}", "`0` is no port"),
        ("cluster: again", "inv.yaml:5:1: `cluster` is said twice here, first in line 1"),
    ] {
        let found = problems(&format!("{base}{line}\n")).join("\n");
        assert!(found.contains(part), "{line}: {part} in\n{found}");
    }
}

#[test]
fn nobody_or_an_even_number_votes() {
    let text = |roles: &[&str]| {
        let nodes: Vec<String> = roles
            .iter()
            .enumerate()
            .map(|(i, role)| format!("- {{name: n{i}, id: {}, host: h{i}, role: {role}}}\n", i + 1))
            .collect();
        format!("cluster: c\nnodes:\n{}", nodes.concat())
    };
    assert!(problems(&text(&["observer"]))[0].contains("nobody votes"));
    assert!(problems(&text(&["participant", "observer"]))[0].contains("one voter alone"));
    for (roles, warning) in [
        (vec!["participant"; 2], "two voters tolerate no failure"),
        (vec!["participant"; 4], "4 voters tolerate no more failures than 3"),
    ] {
        let (_, warnings) = parse("f", &text(&roles), Path::new("/")).unwrap();
        assert!(warnings[0].to_string().contains(warning), "{warnings:?}");
    }
}

#[test]
fn what_is_no_inventory_is_refused() {
    for (text, part) in [
        ("", "a mapping is expected"),
        ("- a\n", "a mapping is expected"),
        ("a: [", "this is no YAML"),
        ("a: 1\na: 2\n", "said twice"),
        ("cluster: c\n", "there are no nodes"),
        ("cluster: c\nnodes: []\n", "there are no nodes"),
        ("cluster: c\nnodes: 5\n", "a list is expected"),
        ("version: 2\ncluster: c\nnodes: [{name: a, id: 1, host: h}]\n", "of another version"),
    ] {
        let found = problems(text).join("\n");
        assert!(found.contains(part), "{text:?}: {found}");
    }
}

#[test]
fn a_role_is_set_and_nothing_else_changes() {
    let edited = set_role("inv.yaml", PROD, Path::new("/x"), "zk3", Role::Observer).unwrap();
    let line = "  - { name: zk3, id: 3, host: 192.168.10.128, role: observer }";
    assert_eq!(edited, PROD.replace("  - { name: zk3, id: 3, host: 192.168.10.128 }", line));
    let back = set_role("inv.yaml", &edited, Path::new("/x"), "zk3", Role::Participant).unwrap();
    assert_eq!(back, edited.replace("role: observer", "role: participant"));

    let block = "cluster: c # keep\nnodes:\n  # the third\n  - name: a\n    id: 1   # one\n    host: h # two\n    config:\n\
        \x20     x: 1\n  - {name: b, id: 2, host: i}\n  - {name: d, id: 3, host: j}";
    let edited = set_role("f", block, Path::new("/"), "a", Role::Observer).unwrap();
    assert_eq!(edited, block.replace("host: h # two\n", "host: h # two\n    role: observer\n"));
}

#[test]
fn a_jump_host_is_a_host_with_a_user_and_a_port_at_most() {
    let with = |jump: &str| {
        let text = format!("cluster: c\nssh: {{jump: {jump}}}\nnodes: [{{name: a, id: 1, host: h}}]\n");
        parse("f", &text, Path::new("/")).map(|(ensemble, _)| ensemble.nodes[0].ssh.jump.clone())
    };
    assert_eq!(with("['me@b:22', '[::1]:22']").unwrap(), ["me@b:22", "[::1]:22"]);
    for bad in ["'-oProxyCommand=x'", "'a,b'", "'a b'", "'a@-b'", "'@b'"] {
        let problems = with(bad).unwrap_err();
        assert!(problems[0].to_string().contains("is no jump host"), "{bad}: {}", problems[0]);
    }
}

#[test]
fn a_node_is_added_in_the_list_s_own_style() {
    let new = NewNode {
        name: "zk4".into(),
        sid: Sid(4),
        host: "10.0.0.4".into(),
        address: None,
        role: Role::Observer,
        ports: None,
    };
    let edited = add_node("f", PROD, Path::new("/"), &new).unwrap();
    assert_eq!(edited, format!("{PROD}  - {{ name: zk4, id: 4, host: 10.0.0.4, role: observer }}\n"));
    let block = "nodes:\n- name: a\n  id: 1\n  host: h\n# tail\ncluster: c\n";
    let edited = add_node(
        "f",
        &block.replace("host: h\n", "host: h\n- {name: b, id: 2, host: i}\n"),
        Path::new("/"),
        &new,
    );
    assert!(
        edited.unwrap().contains("host: i}\n- { name: zk4, id: 4, host: 10.0.0.4, role: observer }\n# tail")
    );
    let two = "cluster: c\nnodes:\n- name: a\n  id: 1\n  host: h\n- name: b\n  id: 2\n  host: i";
    let edited =
        add_node("f", two, Path::new("/"), &NewNode { address: Some("::4".into()), ..new.clone() }).unwrap();
    assert_eq!(
        edited,
        format!("{two}\n- name: zk4\n  id: 4\n  host: 10.0.0.4\n  address: \"::4\"\n  role: observer")
    );
    let flow = "cluster: c\nnodes: [{name: a, id: 1, host: h}, {name: b, id: 2, host: i}]\n";
    let edited = add_node("f", flow, Path::new("/"), &new).unwrap();
    assert!(edited.contains("host: i}, { name: zk4, id: 4, host: 10.0.0.4, role: observer }]"), "{edited}");
}

#[test]
fn what_cannot_be_placed_is_said_and_nothing_changes() {
    let text = "cluster: c\nnodes:\n- &a {name: a, id: 1, host: h}\n- {name: b, id: 2, host: i}\n- {name: c, id: 3, host: j}\n";
    let error = set_role("f", text, Path::new("/"), "a", Role::Observer).unwrap_err();
    assert!(error.to_string().contains("change it by hand: `role: observer` for node a"), "{error}");
}

#[test]
fn an_edit_that_would_be_wrong_says_what_is_wrong_with_it() {
    let two = "cluster: c\nnodes:\n- {name: a, id: 1, host: h}\n- {name: b, id: 2, host: i}\n";
    let error = set_role("f", two, Path::new("/"), "a", Role::Observer).unwrap_err().to_string();
    assert!(error.contains("f was not changed") && error.contains("one voter alone"), "{error}");
    let text = "cluster: c\nnodes:\n- {name: a, id: 1, host: h}\n- {name: b, id: 2, host: i}\n";
    let new = NewNode {
        name: "d".into(),
        sid: Sid(4),
        host: "h".into(),
        address: None,
        role: Role::Observer,
        ports: Some([2181, 2182, 2183]),
    };
    let error = add_node("f", text, Path::new("/"), &new).unwrap_err();
    assert!(matches!(&error, EditError::Wrong { problems, .. } if !problems.is_empty()), "{error}");
    assert!(error.to_string().contains("2181"), "{error}");
}

#[test]
fn files_of_ssh_that_are_not_there_are_said_with_their_places() {
    let with = |ssh: &str| {
        let text = format!("cluster: c\nssh: {{{ssh}}}\nnodes:\n- {{name: a, id: 1, host: h}}\n");
        parse("f", &text, Path::new("/nowhere")).err().unwrap_or_default()
    };
    for key in ["key", "config"] {
        let problems = with(&format!("{key}: ./gone"));
        assert_eq!(problems.len(), 1, "{problems:?}");
        let shown = problems[0].to_string();
        assert_eq!(problems[0].place, Some((2, 9 + key.len())), "{shown}");
        assert!(shown.contains("there is no file /nowhere/./gone"), "{shown}");
    }
    assert_eq!(with("known_hosts: ./gone"), []);
    assert_eq!(with("known_hosts: ./gone, host_keys: strict").len(), 1);
}

#[test]
fn the_inventory_is_found_in_the_documented_order() {
    let dir = std::env::temp_dir().join(format!("zkctl-locate-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("inventories")).unwrap();
    assert!(locate(&dir, None, None).unwrap_err().0.starts_with("no inventory"));
    fs::write(dir.join("inventories/a.yaml"), "").unwrap();
    assert_eq!(locate(&dir, None, None), Ok(("inventories/a.yaml".into(), Why::Only)));
    fs::write(dir.join("inventories/b.yml"), "").unwrap();
    let error = locate(&dir, None, None).unwrap_err().0;
    assert!(error.contains("inventories/a.yaml, inventories/b.yml"), "{error}");
    remember(&dir, &dir.join("inventories/b.yml")).unwrap();
    let (path, why) = locate(&dir, None, None).unwrap();
    assert_eq!((path.file_name().unwrap().to_str(), why), (Some("b.yml"), Why::Current));
    assert_eq!(locate(&dir, None, Some(Path::new("e"))).unwrap().1, Why::Environment);
    assert_eq!(locate(&dir, Some(Path::new("x")), Some(Path::new("e"))).unwrap().1, Why::Argument);
    fs::remove_file(dir.join("inventories/b.yml")).unwrap();
    assert!(locate(&dir, None, None).unwrap_err().0.contains("which is not there"));
    fs::remove_dir_all(&dir).unwrap();
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(cluster: [a-z]{1,3}\n|nodes:\n|- \\{name: [ab], id: [0-9]{1,2}, host: [a-z.]{0,4}\\}\n|[a-z]{1,5}: [a-z\\[\\]{}\"']{0,5}\n){0,8}") {
        let _ = parse("f", &text, Path::new("/"));
    }
}
