//! Doing what a plan says, step by step, each proven by an acknowledged write before the next begins.
//!
//! Before a running server is stopped, the others are asked anew: who leads, and whether a majority stays
//! by their own member lists. Deliberately absent: deciding what to do (`plan`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::event::{Event, Reporter};
use super::failure::{Failure, exit};
use super::host::protocol::{ApplyRequest, AwaitRequest, Awaited, FileSpec, NodeSpec, Request, Response};
use super::inventory::{Ensemble, Node};
use super::plan::order::Standings;
use super::plan::{Goal, Plan, Step, is_doubtful, standings, under_systemd};
use super::remote::{Fleet, NodeView, Release};
use crate::ids::Sid;

/// How long a server may take until it serves again: the original needs initLimit ticks after some changes.
const SERVE: Duration = Duration::from_secs(60);
/// How long the others may take to find their leader again.
const SETTLE: Duration = Duration::from_secs(10);
/// How long a server that runs may take until its silence counts.
const DOUBT: Duration = Duration::from_secs(5);
/// How long stopping and starting may take on the host.
const CONTROL: Duration = Duration::from_secs(90);
/// How long a question about facts may take.
pub(super) const ASK: Duration = Duration::from_millis(1500);
/// Lines of a server's log that a failure shows.
const LOG_LINES: usize = 12;

/// Runs plans.
#[derive(Clone)]
pub struct Runner {
    /// The goal.
    pub goal: Arc<Goal>,
    /// The hosts.
    pub fleet: Arc<Fleet>,
    /// The program to deploy.
    pub release: Arc<Release>,
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// Set when the operator wants to stop.
    pub interrupted: Arc<AtomicBool>,
}

/// What is done to one node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Start,
    Restart,
}

impl Runner {
    fn ensemble(&self) -> &Ensemble {
        &self.goal.ensemble
    }

    fn node(&self, name: &str) -> Result<Node, Failure> {
        let unknown = || Failure::new(exit::FAILED, format!("{name} is not in the inventory"));
        self.ensemble().node(name).cloned().ok_or_else(unknown)
    }

    /// Runs a whole plan; `views` are the facts it was made from.
    pub async fn run(&self, plan: &Plan, views: &[NodeView]) -> Result<(), Failure> {
        let of = plan.steps.len();
        let mut single: Vec<Sid> = Vec::new();
        for step in &plan.steps {
            if let Step::Start { node } | Step::Restart { node, .. } = step {
                single.push(self.node(node)?.sid);
            }
        }
        let together = of - single.len();
        for (i, step) in plan.steps.iter().enumerate().take(together) {
            self.go_on().map_err(|f| f.state(format!("{i} of {of} steps are done")))?;
            self.reporter.report(&Event::Step { number: i + 1, of, text: title(step) });
            match step {
                Step::Upload { nodes } => self.upload(nodes).await?,
                Step::Configure { nodes } => self.configure(nodes, views).await?,
                Step::StartTogether { nodes } => self.together(nodes, plan, views).await?,
                Step::Start { .. } | Step::Restart { .. } => {}
            }
        }
        self.one_by_one(single, plan, together, of).await
    }

    /// Each node alone; who is next is decided anew each time.
    async fn one_by_one(
        &self,
        mut remaining: Vec<Sid>,
        plan: &Plan,
        done: usize,
        of: usize,
    ) -> Result<(), Failure> {
        let mut number = done;
        while !remaining.is_empty() {
            if let Err(failure) = self.go_on() {
                return Err(self.with_state(failure, &remaining).await);
            }
            let views = self.facts().await;
            let now = standings(&views);
            let Some(sid) = plan.order.next(&remaining, now.leader()) else { break };
            remaining.retain(|s| *s != sid);
            let Some(view) = views.iter().find(|v| v.node.sid == sid) else { continue };
            let turn = match &view.facts {
                Ok(facts) if facts.process.is_some() => Turn::Restart,
                Ok(_) => Turn::Start,
                Err(gone) => {
                    let mut failure = Failure::new(exit::PARTIAL, "the host cannot be reached any more");
                    failure.at = Some((view.node.name.clone(), view.node.host.clone()));
                    failure.answer = Some(gone.reason.clone());
                    return Err(self.with_state(failure, &remaining).await);
                }
            };
            number += 1;
            let step = plan.steps.iter().find(|s| names(s) == Some(&view.node.name));
            let text = step.map(title).unwrap_or_default();
            if turn == Turn::Restart {
                self.guard(&now, sid, plan, &view.node.name)?;
            }
            self.reporter.report(&Event::Step { number, of, text: text.clone() });
            if let Err(mut failure) = self.turn(&view.node, turn, plan, under_systemd(view)).await {
                failure.step = Some(text);
                return Err(self.with_state(failure, &remaining).await);
            }
        }
        Ok(())
    }

    /// Refuses to stop a server whose absence costs the quorum, unless the plan announced just that and every other
    /// voter is up.
    fn guard(&self, now: &Standings, sid: Sid, plan: &Plan, name: &str) -> Result<(), Failure> {
        let Some((up, needed)) = now.missing_without(sid) else { return Ok(()) };
        let announced =
            plan.steps.iter().any(|s| matches!(s, Step::Restart { node, gap: true, .. } if node == name));
        let others_up = self.ensemble().voters().filter(|n| n.sid != sid).all(|n| now.is_established(n.sid));
        if (announced || plan.has_gap()) && others_up {
            return Ok(());
        }
        let what = format!(
            "stopping {name} now would leave {up} of {needed} votes that are needed: the ensemble would lose its quorum"
        );
        let mut failure = Failure::new(exit::QUORUM, what);
        failure.state = Some("nothing was stopped".into());
        Err(failure
            .next("bring the other voters back first (`zkctl status` shows them), then run this again"))
    }

    /// The facts once every server that runs has found its leader, or has had some time to.
    pub(super) async fn settled(&self) -> Vec<NodeView> {
        let begun = Instant::now();
        loop {
            let views = self.fleet.facts(self.ensemble(), true, ASK).await;
            let runs = |v: &&NodeView| v.facts.as_ref().is_ok_and(|f| f.process.is_some());
            let serves = |v: &NodeView| v.facts.as_ref().is_ok_and(|f| matches!(f.session, Some(Ok(_))));
            let done = views.iter().filter(runs).all(serves) || !super::plan::serves_writes(&views);
            if done || begun.elapsed() > SETTLE {
                return views;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The facts. Where enough voters run and no write was acknowledged they are gathered again for a while: one
    /// slow answer is no outage.
    pub(super) async fn steady(&self) -> Vec<NodeView> {
        let begun = Instant::now();
        loop {
            let views = self.fleet.facts(self.ensemble(), true, ASK).await;
            if !is_doubtful(self.ensemble(), &views) || begun.elapsed() > DOUBT || self.go_on().is_err() {
                return views;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether the next step may begin.
    pub(super) fn go_on(&self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(exit::INTERRUPTED, "interrupted between two steps").next(AGAIN_LATER));
        }
        Ok(())
    }

    async fn facts(&self) -> Vec<NodeView> {
        self.fleet.facts(self.ensemble(), false, ASK).await
    }

    /// Configures and starts or restarts one node, and waits until it has acknowledged a write.
    async fn turn(&self, node: &Node, turn: Turn, plan: &Plan, systemd: bool) -> Result<(), Failure> {
        self.apply(node, plan.initialize, systemd).await?;
        self.control(node, turn).await?;
        let text = self.proven(node).await?;
        self.reporter.report(&Event::Done { node: node.name.clone(), text });
        Ok(())
    }

    async fn upload(&self, nodes: &[String]) -> Result<(), Failure> {
        self.each(nodes, "uploading", |runner, node| async move {
            runner.tell(
                &node,
                format!("uploading {} ({} MB)", runner.release.name, runner.release.bytes >> 20),
            );
            match runner.fleet.upload(runner.ensemble(), &node, &runner.release).await {
                Ok(()) => Ok(format!("has {}", runner.release.name)),
                Err(answer) => Err(runner.failure(&node, "the program could not be uploaded", answer).await),
            }
        })
        .await
    }

    async fn configure(&self, nodes: &[String], views: &[NodeView]) -> Result<(), Failure> {
        let systemd = systemd_nodes(views);
        self.each(nodes, "configuring", move |runner, node| {
            let systemd = systemd.contains(&node.name);
            async move { runner.apply(&node, false, systemd).await.map(|changed| changed.join(", ")) }
        })
        .await
    }

    async fn together(&self, nodes: &[String], plan: &Plan, views: &[NodeView]) -> Result<(), Failure> {
        let systemd = systemd_nodes(views);
        let initialize = plan.initialize;
        let runs = |v: &&NodeView| v.facts.as_ref().is_ok_and(|f| f.process.is_some());
        let running: Vec<String> = views.iter().filter(runs).map(|v| v.node.name.clone()).collect();
        self.each(nodes, "starting", move |runner, node| {
            let systemd = systemd.contains(&node.name);
            let turn = if running.contains(&node.name) { Turn::Restart } else { Turn::Start };
            async move {
                runner.apply(&node, initialize, systemd).await?;
                runner.control(&node, turn).await
            }
        })
        .await?;
        self.each(nodes, "waiting for", |runner, node| async move {
            runner.tell(&node, "waiting until a write is acknowledged".into());
            runner.proven(&node).await
        })
        .await
    }

    /// Does the same on several nodes at once; every failure is reported, the first is the result.
    async fn each<F, W>(&self, nodes: &[String], doing: &str, work: F) -> Result<(), Failure>
    where
        F: Fn(Runner, Node) -> W,
        W: Future<Output = Result<String, Failure>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for name in nodes {
            let node = self.node(name)?;
            let task = work(self.clone(), node);
            let name = name.clone();
            tasks.spawn(async move { (name, task.await) });
        }
        let mut failures: Vec<(String, Failure)> = Vec::new();
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((node, Ok(text))) => self.reporter.report(&Event::Done { node, text }),
                Ok((node, Err(failure))) => {
                    self.reporter.report(&Event::Failed { node: node.clone(), text: failure.what.clone() });
                    failures.push((node, failure));
                }
                Err(error) => failures.push((String::new(), Failure::new(exit::FAILED, error.to_string()))),
            }
        }
        failures.sort_by(|a, b| a.0.cmp(&b.0));
        let count = failures.len();
        let Some((_, mut first)) = failures.into_iter().next() else { return Ok(()) };
        if count > 1 {
            first.state = Some(format!("{count} of {} nodes failed at this step", nodes.len()));
        }
        first.exit = if count < nodes.len() { exit::PARTIAL } else { exit::FAILED };
        first.step.get_or_insert_with(|| format!("{doing} {}", nodes.join(", ")));
        Err(first.next(AGAIN))
    }

    fn tell(&self, node: &Node, text: String) {
        self.reporter.report(&Event::Working { node: node.name.clone(), text });
    }

    async fn apply(&self, node: &Node, initialize: bool, systemd: bool) -> Result<Vec<String>, Failure> {
        let missing = || Failure::new(exit::FAILED, format!("nothing was rendered for {}", node.name));
        let files = self.goal.files.get(&node.name).ok_or_else(missing)?;
        let file = |path: String, content: &str| FileSpec { path, content: content.into(), mode: 0o644 };
        let request = Request::Apply(ApplyRequest {
            node: NodeSpec::of(self.ensemble(), node),
            files: vec![file(node.paths.zoo_cfg(), &files.zoo_cfg), file(node.paths.my_id(), &files.my_id)],
            release: self.goal.release.clone(),
            initialize,
            unit: systemd.then(|| files.unit.clone()),
        });
        let release = Some(self.goal.release.as_str());
        match self.fleet.ask(self.ensemble(), node, release, &request, CONTROL).await {
            Ok(Response::Applied(changed)) => Ok(changed),
            Ok(other) => {
                Err(self.failure(node, "its files could not be written", format!("{other:?}")).await)
            }
            Err(answer) => Err(self.failure(node, "its files could not be written", answer).await),
        }
    }

    async fn control(&self, node: &Node, turn: Turn) -> Result<String, Failure> {
        let spec = NodeSpec::of(self.ensemble(), node);
        let (request, doing) = match turn {
            Turn::Start => (Request::Start(spec), "starting"),
            Turn::Restart => (Request::Restart(spec), "restarting"),
        };
        self.tell(node, doing.into());
        let release = Some(self.goal.release.as_str());
        match self.fleet.ask(self.ensemble(), node, release, &request, CONTROL).await {
            Ok(Response::Started(started)) => Ok(format!("runs as process {}", started.pid)),
            Ok(other) => Err(self.failure(node, "it did not start", format!("{other:?}")).await),
            Err(answer) => Err(self.failure(node, "it did not start", answer).await),
        }
    }

    /// Waits until the node serves in its role and has acknowledged a write: opening a session is one.
    async fn proven(&self, node: &Node) -> Result<String, Failure> {
        let spec = NodeSpec::of(self.ensemble(), node);
        let request = Request::Await(AwaitRequest::role(spec, node.role, SERVE.as_millis() as u64));
        let within = SERVE + Duration::from_secs(15);
        let release = Some(self.goal.release.as_str());
        let what = format!("it did not acknowledge a write within {} s", SERVE.as_secs());
        match self.fleet.ask(self.ensemble(), node, release, &request, within).await {
            Ok(Response::Awaited(awaited)) => match &*awaited {
                Awaited { session_ms: Some(ms), answer, .. } => {
                    let mode = match answer {
                        super::host::protocol::Answer::Serving(srvr) => srvr.mode.text(),
                        _ => node.role.word(),
                    };
                    Ok(format!("{mode}; a write was acknowledged in {ms} ms"))
                }
                Awaited { alive: false, .. } => {
                    Err(self.failure(node, "it started, and then ended", reason(&awaited)).await)
                }
                _ => Err(self.failure(node, &what, reason(&awaited)).await),
            },
            Ok(other) => Err(self.failure(node, &what, format!("{other:?}")).await),
            Err(answer) => Err(self.failure(node, &what, answer).await),
        }
    }

    /// A failure on a node, with the end of its log.
    async fn failure(&self, node: &Node, what: &str, answer: String) -> Failure {
        let spec = NodeSpec::of(self.ensemble(), node);
        let request = Request::Log { node: spec, lines: LOG_LINES };
        let release = Some(self.goal.release.as_str()).filter(|r| !r.is_empty());
        let log = match self.fleet.ask(self.ensemble(), node, release, &request, Duration::from_secs(5)).await
        {
            Ok(Response::Log(lines)) if !lines.iter().any(|l| !l.is_empty() && answer.contains(l)) => lines,
            _ => Vec::new(),
        };
        let mut failure = Failure::new(exit::FAILED, what);
        let host = super::remote::Target::of(self.ensemble(), node).name().to_owned();
        failure.at = Some((node.name.clone(), host));
        failure.answer = Some(answer);
        failure.log = log;
        failure.next(AGAIN)
    }

    /// Sends the same request to the zkctl in use on several nodes at once.
    pub(super) async fn each_node(
        &self,
        nodes: &[Node],
        (doing, failed): (&'static str, &'static str),
        request: fn(NodeSpec) -> Request,
    ) -> Result<(), Failure> {
        let names: Vec<String> = nodes.iter().map(|n| n.name.clone()).collect();
        self.each(&names, doing, move |runner, node| async move {
            runner.tell(&node, doing.into());
            let request = request(NodeSpec::of(runner.ensemble(), &node));
            match runner.fleet.ask(runner.ensemble(), &node, None, &request, CONTROL).await {
                Ok(Response::Started(started)) => Ok(format!("runs as process {}", started.pid)),
                Ok(_) => Ok("done".into()),
                Err(answer) => Err(runner.failure_at(&node, failed, answer).await),
            }
        })
        .await
    }

    /// As `failure`, asking the zkctl in use for the log.
    pub(super) async fn failure_at(&self, node: &Node, what: &str, answer: String) -> Failure {
        self.failure(node, what, answer).await
    }

    /// Adds what state things are in.
    pub(super) async fn with_state(&self, mut failure: Failure, remaining: &[Sid]) -> Failure {
        let views = self.fleet.facts(self.ensemble(), true, ASK).await;
        let writes = if super::plan::serves_writes(&views) {
            "the ensemble still acknowledges writes"
        } else {
            "the ensemble does not acknowledge writes now"
        };
        let left: Vec<&str> =
            remaining.iter().filter_map(|s| self.ensemble().node_of(*s)).map(|n| n.name.as_str()).collect();
        let left =
            if left.is_empty() { String::new() } else { format!("; not yet done: {}", left.join(", ")) };
        failure.state = Some(format!("{writes}{left}"));
        failure
    }
}

const AGAIN_LATER: &str = "run the same command again; it goes on from here";
const AGAIN: &str = "mend the cause and run the same command again; it goes on from here";

fn reason(awaited: &Awaited) -> String {
    awaited.reason.clone().unwrap_or_else(|| "no reason was given".into())
}

fn systemd_nodes(views: &[NodeView]) -> Vec<String> {
    views.iter().filter(|v| under_systemd(v)).map(|v| v.node.name.clone()).collect()
}

fn names(step: &Step) -> Option<&String> {
    match step {
        Step::Start { node } | Step::Restart { node, .. } => Some(node),
        _ => None,
    }
}

/// A step in words.
pub fn title(step: &Step) -> String {
    match step {
        Step::Upload { nodes } => format!("upload zkctl to {}", nodes.join(", ")),
        Step::Configure { nodes } => format!("configure {}", nodes.join(", ")),
        Step::StartTogether { nodes } if nodes.len() == 1 => format!("configure and start {}", nodes[0]),
        Step::StartTogether { nodes } => format!("configure and start {} at once", nodes.join(", ")),
        Step::Start { node } => format!("configure and start {node}"),
        Step::Restart { node, cost, .. } => format!("restart {node} ({cost})"),
    }
}
