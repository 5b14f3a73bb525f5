//! Facts on one side, steps on the other.

use std::path::Path;

use super::*;
use crate::ops::host::Srvr;
use crate::ops::host::protocol::{ProcessFacts, TakenPort};
use crate::ops::host::sha256;
use crate::ops::inventory::parse;
use crate::ops::remote::Unreachable;
use crate::ops::render::Renderer;

const PROD: &str = include_str!("../../../inventories/prod.yaml");

fn goal(text: &str) -> Goal {
    let (ensemble, _) = parse("inv", text, Path::new("/")).unwrap();
    let renderer = Renderer::new(None).unwrap();
    let files =
        ensemble.nodes.iter().map(|n| (n.name.clone(), renderer.render(&ensemble, n).unwrap())).collect();
    Goal {
        ensemble,
        release: "0.1.0-a".into(),
        release_bytes: 1,
        arch: "x86_64".into(),
        files,
        permits: Permits::default(),
    }
}

fn view(node: &Node, facts: NodeFacts) -> NodeView {
    NodeView { node: node.clone(), systemd: false, arch: "x86_64".into(), uid: 0, facts: Ok(facts) }
}

fn fresh(goal: &Goal) -> Vec<NodeView> {
    goal.ensemble
        .nodes
        .iter()
        .map(|n| {
            view(n, NodeFacts { name: n.name.clone(), free_bytes: Some(1 << 40), ..NodeFacts::default() })
        })
        .collect()
}

/// Everything runs as `goal` says, led by `leader`.
fn running(goal: &Goal, leader: &str) -> Vec<NodeView> {
    let members = member_list(&goal.ensemble).to_dynamic_text();
    let one = |node: &Node| {
        let files = &goal.files[&node.name];
        let mode = match node.role {
            _ if node.name == leader => Mode::Leader,
            crate::config::Role::Participant => Mode::Follower,
            crate::config::Role::Observer => Mode::Observer,
        };
        let srvr = Srvr {
            version: "v".into(),
            latency: [0.0; 3],
            received: 0,
            sent: 0,
            connections: 0,
            outstanding: 0,
            zxid: "0x1".into(),
            mode,
            znodes: 5,
        };
        let facts = NodeFacts {
            name: node.name.clone(),
            release: Some(goal.release.clone()),
            releases: vec![goal.release.clone()],
            zoo_cfg: Some(files.zoo_cfg.clone()),
            my_id: Some(files.my_id.clone()),
            has_data: true,
            process: Some(ProcessFacts {
                pid: 9,
                up_ms: 1,
                release: Some(goal.release.clone()),
                config_sha256: sha256(files.zoo_cfg.as_bytes()),
                members: members.clone(),
                unit: None,
            }),
            answer: Answer::Serving(srvr),
            session: Some(Ok(1)),
            ..NodeFacts::default()
        };
        view(node, facts)
    };
    goal.ensemble.nodes.iter().map(one).collect()
}

fn facts_mut<'a>(views: &'a mut [NodeView], name: &str) -> &'a mut NodeFacts {
    views.iter_mut().find(|v| v.node.name == name).unwrap().facts.as_mut().unwrap()
}

fn shown(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| match step {
            Step::Upload { nodes } => format!("upload {}", nodes.join(" ")),
            Step::Configure { nodes } => format!("configure {}", nodes.join(" ")),
            Step::StartTogether { nodes } => format!("together {}", nodes.join(" ")),
            Step::Start { node } => format!("start {node}"),
            Step::Restart { node, gap, .. } => format!("restart {node}{}", if *gap { " gap" } else { "" }),
        })
        .collect()
}

fn refused(plan: &Plan) -> String {
    plan.refusals.iter().map(|r| format!("{} {}", r.exit, r.message)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_needs_root_is_refused_before_anything_is_done() {
    let own_user = goal(&format!("{PROD}service: {{ user: zookeeper }}\n"));
    let as_user = |goal: &Goal, systemd: bool| {
        let mut views = fresh(goal);
        (views[1].uid, views[1].systemd) = (1000, systemd);
        views
    };
    assert_eq!(plan(&own_user, &fresh(&own_user)).refusals, []);
    let views = as_user(&own_user, false);
    let refusals = plan(&own_user, &views).refusals;
    assert_eq!((refusals.len(), refusals[0].exit), (1, 8));
    let expected = "zk2: commands on 192.168.10.127 run as user 1000, and root is needed to run its server as `zookeeper`; ";
    assert!(refusals[0].message.starts_with(expected), "{}", refusals[0].message);
    let plain = goal(PROD);
    assert_eq!(plan(&plain, &as_user(&plain, false)).refusals, []);
    let refusals = plan(&plain, &as_user(&plain, true)).refusals;
    assert!(refusals[0].message.contains("root is needed to write a system unit"), "{refusals:?}");
}

#[test]
fn from_nothing_all_start_together_and_are_initialized() {
    let goal = goal(PROD);
    let plan = plan(&goal, &fresh(&goal));
    assert_eq!(shown(&plan), ["upload zk1 zk2 zk3", "together zk1 zk2 zk3"]);
    assert!(plan.initialize && plan.refusals.is_empty());
    assert!(plan.nodes[0].files[0].diff.contains("+server.1=192.168.10.126:2182:2183"));
}

#[test]
fn a_second_deploy_does_nothing() {
    let goal = goal(PROD);
    let plan = plan(&goal, &running(&goal, "zk2"));
    assert!(plan.is_empty() && plan.refusals.is_empty(), "{plan:?}");
    assert!(!plan.initialize);
}

#[test]
fn a_changed_setting_rolls_leader_last() {
    let old = goal(PROD);
    let new = goal(&PROD.replace("syncLimit: 5", "syncLimit: 6"));
    let plan = plan(&new, &running(&old, "zk1"));
    assert_eq!(shown(&plan), ["restart zk2", "restart zk3", "restart zk1"]);
    assert!(plan.nodes[1].files[0].diff.contains("-syncLimit=5\n+syncLimit=6"));
}

#[test]
fn an_interrupted_roll_goes_on_where_it_stopped() {
    let old = goal(PROD);
    let new = goal(&PROD.replace("syncLimit: 5", "syncLimit: 6"));
    let mut views = running(&new, "zk1");
    // zk2 has the file but still runs with the old one; zk3 was stopped and not started.
    let before = running(&old, "zk1");
    facts_mut(&mut views, "zk2").process = before[1].facts.as_ref().unwrap().process.clone();
    facts_mut(&mut views, "zk3").process = None;
    let plan = plan(&new, &views);
    assert_eq!(shown(&plan), ["start zk3", "restart zk2"]);
    assert_eq!(plan.nodes[1].action, Action::Restart { why: vec!["it runs with an older zoo.cfg".into()] });
}

#[test]
fn a_conversion_says_its_arithmetic_and_its_gaps() {
    let old = goal(PROD);
    let new = goal(&PROD.replace("host: 192.168.10.128 }", "host: 192.168.10.128, role: observer }"));
    let plan = plan(&new, &running(&old, "zk2"));
    assert_eq!(shown(&plan), ["restart zk3", "restart zk2 gap", "restart zk1 gap"]);
    let notes = plan.notes.join("\n");
    for part in [
        "before: 3 voters: a majority is 2, 1 failure is tolerated",
        "after:  2 voters and 1 observer: a majority is 2, no failure is tolerated",
        "keeping the voters is nearly always better",
        "writes stop for a moment",
    ] {
        assert!(notes.contains(part), "{part} in\n{notes}");
    }
}

#[test]
fn an_interrupted_conversion_is_completed() {
    let old = goal(PROD);
    let new = goal(&PROD.replace("host: 192.168.10.128 }", "host: 192.168.10.128, role: observer }"));
    let mut views = running(&old, "zk2");
    let after = running(&new, "zk2");
    views[2] = after[2].clone();
    assert_eq!(shown(&plan(&new, &views)), ["restart zk2 gap", "restart zk1 gap"]);
    // Stuck half-way: zk1 converted, nobody serves.
    views[0] = after[0].clone();
    for v in &mut views {
        let facts = v.facts.as_mut().unwrap();
        facts.session = None;
        facts.answer = Answer::NotServing;
    }
    assert_eq!(shown(&plan(&new, &views)), ["together zk2"]);
}

#[test]
fn a_new_observer_joins_when_the_others_know_of_it() {
    let old = goal(PROD);
    let new = goal(&format!("{PROD}  - {{ name: zk4, id: 4, host: 10.0.0.4, role: observer }}\n"));
    let mut views = running(&old, "zk2");
    views.push(fresh(&new).pop().unwrap());
    let plan = plan(&new, &views);
    assert_eq!(shown(&plan), ["upload zk4", "restart zk1", "restart zk3", "restart zk2", "start zk4"]);
    assert!(!plan.initialize);
}

#[test]
fn what_changes_identity_is_refused_until_allowed() {
    let old = goal(PROD);
    let views = running(&old, "zk2");
    let moved = goal(&PROD.replace("192.168.10.128", "192.168.8.14"));
    let mut there = views.clone();
    there[2] = fresh(&moved)[2].clone();
    assert!(
        refused(&plan(&moved, &there))
            .contains("would move from 192.168.10.128 to 192.168.8.14: a new, empty server")
    );
    let allowed = Goal { permits: Permits { moves: vec!["zk3".into()], ..Permits::default() }, ..moved };
    assert_eq!(refused(&plan(&allowed, &there)), "");

    let data = goal(&PROD.replace("id: 3, host", "id: 3, paths: { data: /ssd/zk3 }, host"));
    let mut here = views.clone();
    here[2].node = data.ensemble.nodes[2].clone();
    let text = refused(&plan(&data, &here));
    assert!(text.contains("data directory would change from /data/server/zk3/data to /ssd/zk3"), "{text}");

    let mut views = views.clone();
    let gone = goal(&PROD.replace("  - { name: zk3, id: 3, host: 192.168.10.128 }\n", ""));
    assert!(
        refused(&plan(&gone, &views[..2]))
            .contains("server 3 (192.168.10.128) is a member of the running ensemble")
    );

    facts_mut(&mut views, "zk1").my_id = Some("7\n".into());
    assert!(refused(&plan(&old, &views)).contains("holds id 7, the inventory says 1"));

    let mut wiped = running(&old, "zk2");
    wiped[0] = fresh(&old)[0].clone();
    assert!(refused(&plan(&old, &wiped)).contains("/data/server/zk1 on 192.168.10.126 is empty"));
}

#[test]
fn hosts_that_cannot_work_are_refused_before_anything_is_sent() {
    let goal = goal(PROD);
    let mut views = fresh(&goal);
    views[0].facts = Err(Unreachable { reason: "no answer".into() });
    facts_mut(&mut views, "zk2").taken_ports =
        vec![TakenPort { port: 2182, by: Some("process 5 (nc)".into()) }];
    facts_mut(&mut views, "zk3").free_bytes = Some(1 << 20);
    views[2].arch = "aarch64".into();
    let text = refused(&plan(&goal, &views));
    for part in [
        "4 zk1 cannot be reached: no answer",
        "8 zk2: port 2182 on 192.168.10.127 is taken by process 5 (nc)",
        "8 zk3: 192.168.10.128 is a aarch64 machine",
        "8 zk3: only 1 MB are free",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn arithmetic_in_words() {
    let of = |text: &str| arithmetic(&MemberList::from_dynamic_text("f", text).unwrap());
    assert_eq!(of("server.1=a:1:2"), "1 voter: a majority is 1, no failure is tolerated");
    let five: String = (1..=5).map(|i| format!("server.{i}=a:1:2\n")).collect();
    assert_eq!(of(&five), "5 voters: a majority is 3, 2 failures are tolerated");
}
