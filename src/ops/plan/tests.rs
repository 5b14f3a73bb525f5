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
fn a_port_that_a_running_node_is_to_move_to_must_be_free() {
    let old = goal(PROD);
    let new = goal(&PROD.replace("id: 3, host", "id: 3, client_port: 2281, host"));
    let mut views = running(&old, "zk2");
    views[2].node = new.ensemble.nodes[2].clone();
    assert_eq!(refused(&plan(&new, &views)), "");
    facts_mut(&mut views, "zk3").taken_ports =
        vec![TakenPort { port: 2281, by: Some("process 5 (nc)".into()) }];
    assert!(refused(&plan(&new, &views)).contains("8 zk3: port 2281"), "{}", refused(&plan(&new, &views)));
}

#[test]
fn quorum_ports_that_change_for_all_are_announced_as_one_restart() {
    let old = goal(PROD);
    let new = goal(&PROD.replace("_port: 2182", "_port: 2888").replace("_port: 2183", "_port: 3888"));
    let plan = plan(&new, &running(&old, "zk2"));
    assert_eq!(shown(&plan), ["together zk1 zk2 zk3"]);
    assert!(plan.notes.join("\n").contains("restarted at once: writes stop"), "{:?}", plan.notes);
}

/// Runs without a leader.
fn cut_off(views: &mut [NodeView]) {
    for v in views {
        let facts = v.facts.as_mut().unwrap();
        (facts.session, facts.answer) = (None, Answer::NotServing);
    }
}

#[test]
fn whoever_agreed_to_start_all_at_once_has_not_agreed_to_that_while_it_serves() {
    let old = goal(PROD);
    let new = goal(&PROD.replace("syncLimit: 5", "syncLimit: 6"));
    let mut views = running(&old, "zk1");
    let rolls = plan(&new, &views);
    cut_off(&mut views);
    assert!(is_doubtful(&new.ensemble, &views));
    let together = plan(&new, &views);
    assert_eq!(shown(&together), ["together zk1 zk2 zk3"]);
    assert!(together.covers(&together) && rolls.covers(&plan(&new, &running(&old, "zk3"))));
    assert!(!together.covers(&rolls) && !rolls.covers(&together));
}

fn control(verb: Verb, goal: &Goal, names: &[&str], views: &[NodeView]) -> ControlPlan {
    let nodes: Vec<Node> = names.iter().map(|name| goal.ensemble.node(name).unwrap().clone()).collect();
    control_plan(verb, &goal.ensemble, &nodes, false, views)
}

fn titles(plan: &ControlPlan) -> Vec<String> {
    plan.steps.iter().map(ControlStep::title).collect()
}

#[test]
fn one_slow_session_is_no_reason_to_restart_all_at_once() {
    let goal = goal(PROD);
    let mut views = running(&goal, "zk1");
    views.iter_mut().for_each(|v| v.facts.as_mut().unwrap().session = Some(Err("slow".into())));
    assert!(is_doubtful(&goal.ensemble, &views) && !serves_writes(&views));
    let all = ["zk1", "zk2", "zk3"];
    let plan = control(Verb::Restart, &goal, &all, &views);
    assert_eq!(titles(&plan), ["restart zk2", "restart zk3", "restart zk1"]);
    assert!(!plan.needs_word());
    // Nor to stop what the others need.
    assert_eq!(control(Verb::Stop, &goal, &all[..2], &views).refusals[0].exit, 5);
    // Without a leader it is all at once, and asked for.
    cut_off(&mut views);
    let plan = control(Verb::Restart, &goal, &all, &views);
    assert_eq!(titles(&plan), ["restart zk1, zk2, zk3 at once"]);
    assert!(plan.needs_word());
}

#[test]
fn a_dead_host_is_in_the_way_of_its_own_node_only() {
    let goal = goal(PROD);
    let mut views = running(&goal, "zk1");
    facts_mut(&mut views, "zk2").process = None;
    views[2].facts = Err(Unreachable { reason: "no route".into() });
    let plan = control(Verb::Start, &goal, &["zk2"], &views);
    assert_eq!((titles(&plan), plan.refusals.len()), (vec!["start zk2".to_owned()], 0));
    let plan = control(Verb::Start, &goal, &["zk2", "zk3"], &views);
    assert_eq!(plan.refusals[0].exit, 4);
    assert!(plan.refusals[0].message.starts_with("zk3 cannot be reached: no route"));
}

#[test]
fn all_is_whatever_still_runs() {
    let goal = goal(PROD);
    let mut views = running(&goal, "zk1");
    facts_mut(&mut views, "zk3").process = None;
    assert_eq!(control(Verb::Stop, &goal, &["zk1"], &views).refusals[0].exit, 5);
    let all = control(Verb::Stop, &goal, &["zk1", "zk2", "zk3"], &views);
    assert_eq!((titles(&all), all.refusals.len()), (vec!["stop zk2".to_owned(), "stop zk1".into()], 0));
    // A server on a host that is not seen may run.
    views[2].facts = Err(Unreachable { reason: "no route".into() });
    assert_eq!(control(Verb::Stop, &goal, &["zk1", "zk2"], &views).refusals[0].exit, 5);
}

#[test]
fn a_voter_that_went_since_ends_a_stop_and_a_roll() {
    let goal = goal(PROD);
    let views = running(&goal, "zk1");
    let mut later = views.clone();
    facts_mut(&mut later, "zk3").process = None;
    let (now, then) = (standings(&later), standings(&views));
    let stop = control(Verb::Stop, &goal, &["zk2"], &views);
    assert_eq!((stop.missing(&then, &[Sid(2)]), stop.missing(&now, &[Sid(2)])), (None, Some((1, 2))));
    let roll = control(Verb::Restart, &goal, &["zk2"], &views);
    assert_eq!(roll.missing(&now, &[Sid(2)]), Some((1, 2)));
    // A gap that was announced is one only while nobody else goes.
    let gap = control(Verb::Restart, &goal, &["zk2"], &later);
    assert!(gap.has_gap() && gap.needs_word());
    assert_eq!(gap.missing(&now, &[Sid(2)]), None);
    facts_mut(&mut later, "zk1").process = None;
    assert_eq!(gap.missing(&standings(&later), &[Sid(2)]), Some((0, 2)));
    assert!(!roll.covers(&gap) && !stop.covers(&control(Verb::Stop, &goal, &["zk2"], &later[1..2])));
}

#[test]
fn arithmetic_in_words() {
    let of = |text: &str| arithmetic(&MemberList::from_dynamic_text("f", text).unwrap());
    assert_eq!(of("server.1=a:1:2"), "1 voter: a majority is 1, no failure is tolerated");
    let five: String = (1..=5).map(|i| format!("server.{i}=a:1:2\n")).collect();
    assert_eq!(of(&five), "5 voters: a majority is 3, 2 failures are tolerated");
}
