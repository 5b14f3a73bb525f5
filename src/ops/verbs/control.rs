//! `start`, `stop` and `restart`: of all nodes, or of some.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::converge::lock;
use super::{Context, no_such_node};
use crate::ids::Sid;
use crate::ops::event::Event;
use crate::ops::failure::{Failure, exit};
use crate::ops::host::protocol::{AwaitRequest, NodeSpec, Request, Response};
use crate::ops::inventory::{Ensemble, Node};
use crate::ops::plan::order::{self, Order, Standings, Strategy};
use crate::ops::plan::{Goal, Permits, member_list, serves_writes, standings};
use crate::ops::remote::{Fleet, NodeView, Release};
use crate::ops::run::{ASK, Runner};
use crate::ops::status::{Status, status};

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start what does not run.
    Start,
    /// Stop what runs.
    Stop,
    /// Restart, one at a time where writes are served.
    Restart,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
        }
    }

    /// What is being done, and what is said when that failed.
    fn doing(self) -> (&'static str, &'static str) {
        match self {
            Verb::Start => ("starting", "it did not start"),
            Verb::Stop => ("stopping", "it did not stop"),
            Verb::Restart => ("restarting", "it did not restart"),
        }
    }
}

/// How.
#[derive(Clone, Debug, Default)]
pub struct ControlOptions {
    /// The nodes; all when empty.
    pub limit: Vec<String>,
    /// Stop even what costs the quorum.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Does it; answers how things are then.
pub async fn control(
    context: &Context,
    verb: Verb,
    options: &ControlOptions,
) -> Result<Option<Status>, Failure> {
    let (_, inventory) = context.load()?;
    let ensemble = inventory.ensemble;
    let nodes = chosen(&ensemble, &options.limit)?;
    let fleet = Arc::new(Fleet::connect(&ensemble, None).await);
    let job = Job { context, verb, options, nodes, runner: runner(context, &ensemble, &fleet) };
    let outcome = job.run().await;
    drop(job);
    if let Ok(fleet) = Arc::try_unwrap(fleet) {
        fleet.close().await;
    }
    outcome
}

/// A runner whose goal is what is there: nothing is rendered or sent.
fn runner(context: &Context, ensemble: &Ensemble, fleet: &Arc<Fleet>) -> Runner {
    let release = Release {
        name: String::new(),
        program: "".into(),
        sha256: String::new(),
        bytes: 0,
        arch: String::new(),
    };
    let goal = Goal {
        ensemble: ensemble.clone(),
        release: String::new(),
        release_bytes: 0,
        arch: String::new(),
        files: BTreeMap::new(),
        permits: Permits::default(),
    };
    Runner {
        goal: Arc::new(goal),
        fleet: Arc::clone(fleet),
        release: Arc::new(release),
        reporter: Arc::clone(&context.reporter),
        interrupted: Arc::clone(&context.interrupted),
    }
}

fn chosen(ensemble: &Ensemble, limit: &[String]) -> Result<Vec<Node>, Failure> {
    if limit.is_empty() {
        return Ok(ensemble.nodes.clone());
    }
    limit
        .iter()
        .map(|name| ensemble.node(name).cloned().ok_or_else(|| no_such_node(ensemble, name)))
        .collect()
}

struct Job<'a> {
    context: &'a Context,
    verb: Verb,
    options: &'a ControlOptions,
    nodes: Vec<Node>,
    runner: Runner,
}

/// How long one node may take on its host.
const CONTROL: Duration = Duration::from_secs(90);
/// How long a started node may take to serve.
const SERVE: Duration = Duration::from_secs(60);

impl Job<'_> {
    fn ensemble(&self) -> &Ensemble {
        &self.runner.goal.ensemble
    }

    /// Observers first, the leader last.
    fn order(&self, now: &Standings) -> Order {
        Order::new(now, &member_list(self.ensemble()), Strategy::LeaderLast, true)
    }

    async fn facts(&self, session: bool) -> Vec<NodeView> {
        self.runner.fleet.facts(self.ensemble(), session, ASK).await
    }

    async fn run(&self) -> Result<Option<Status>, Failure> {
        let views = self.facts(true).await;
        self.reachable(&views)?;
        self.deployed(&views)?;
        let runs = |node: &Node| {
            views
                .iter()
                .any(|v| v.node.name == node.name && v.facts.as_ref().is_ok_and(|f| f.process.is_some()))
        };
        let affected: Vec<Node> = match self.verb {
            Verb::Start => self.nodes.iter().filter(|n| !runs(n)).cloned().collect(),
            Verb::Stop => self.nodes.iter().filter(|n| runs(n)).cloned().collect(),
            Verb::Restart => self.nodes.clone(),
        };
        if affected.is_empty() {
            let word =
                if self.verb == Verb::Stop { "none of these nodes runs" } else { "all these nodes run" };
            self.context.reporter.report(&Event::Note(format!("nothing to do: {word}")));
            return Ok(Some(status(self.ensemble(), &views)));
        }
        let gap = self.announce(&affected, &views)?;
        if self.options.dry_run {
            return Ok(None);
        }
        let names: Vec<&str> = affected.iter().map(|n| n.name.as_str()).collect();
        if self.verb == Verb::Stop || gap {
            let capital = if self.verb == Verb::Stop { "Stop" } else { "Restart" };
            self.context.agree(&format!("{capital} {}?", names.join(", ")))?;
        }
        let locks = lock(&self.runner, self.verb.word()).await?;
        match self.verb {
            Verb::Start => self.start(&affected).await?,
            Verb::Stop => self.stop(affected, &views).await?,
            Verb::Restart if serves_writes(&views) => self.roll(&affected, gap).await?,
            Verb::Restart => self.restart_together(&affected).await?,
        }
        drop(locks);
        let views =
            if self.verb == Verb::Stop { self.facts(true).await } else { self.runner.settled().await };
        Ok(Some(status(self.ensemble(), &views)))
    }

    fn reachable(&self, views: &[NodeView]) -> Result<(), Failure> {
        let gone: Vec<String> = views
            .iter()
            .filter(|v| self.nodes.iter().any(|n| n.name == v.node.name))
            .filter_map(|v| {
                v.facts.as_ref().err().map(|e| format!("{} cannot be reached: {}", v.node.name, e.reason))
            })
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut failure = Failure::new(exit::PARTIAL, gone.join("\n"));
        failure.state = Some("nothing was changed".into());
        Err(failure.next("name the nodes that can be reached with -l"))
    }

    /// What was never deployed is neither started nor restarted.
    fn deployed(&self, views: &[NodeView]) -> Result<(), Failure> {
        let wanted = |v: &&NodeView| self.nodes.iter().any(|n| n.name == v.node.name);
        let missing =
            |v: &&NodeView| v.facts.as_ref().is_ok_and(|f| f.release.is_none() && f.process.is_none());
        let names: Vec<&str> =
            views.iter().filter(wanted).filter(missing).map(|v| v.node.name.as_str()).collect();
        if names.is_empty() || self.verb == Verb::Stop {
            return Ok(());
        }
        let are = if names.len() == 1 { "is" } else { "are" };
        let what = format!("{} {are} not deployed yet", names.join(", "));
        let mut failure = Failure::new(exit::PREFLIGHT, what);
        failure.state = Some("nothing was changed".into());
        Err(failure.next("run `zkctl deploy`, which starts them too"))
    }

    /// Says what it does to the service; refuses what costs the quorum. Whether there is a gap.
    fn announce(&self, affected: &[Node], views: &[NodeView]) -> Result<bool, Failure> {
        let all = affected.len() == self.ensemble().nodes.len();
        let now = standings(views);
        let sids: Vec<Sid> = affected.iter().map(|n| n.sid).collect();
        let loses = match self.verb {
            Verb::Start => None,
            Verb::Stop if all || !serves_writes(views) => None,
            Verb::Stop => now.missing_without_all(&sids),
            Verb::Restart if !serves_writes(views) => None,
            Verb::Restart => {
                let list = member_list(self.ensemble());
                let steps = order::walk(&now, &sids, &list, &self.order(&now));
                steps
                    .iter()
                    .any(|(_, c)| matches!(c, order::Cost::Gap | order::Cost::Stuck))
                    .then_some((0, 0))
            }
        };
        let names: Vec<&str> = affected.iter().map(|n| n.name.as_str()).collect();
        let names = names.join(", ");
        match (self.verb, loses) {
            (Verb::Stop, Some((up, needed))) => {
                let what = format!(
                    "without {names}, {up} of the {needed} votes that are needed stay: writes would stop"
                );
                if !self.options.force {
                    let mut failure = Failure::new(exit::QUORUM, what);
                    failure.state = Some("nothing was stopped".into());
                    return Err(failure.next("start other voters first, or pass --force if that is meant"));
                }
                self.context.reporter.report(&Event::Warning(what));
                Ok(true)
            }
            (Verb::Restart, Some(_)) => {
                let text = "with so few voters up, writes stop for a moment while each voter restarts";
                self.context.reporter.report(&Event::Warning(text.into()));
                Ok(true)
            }
            _ => {
                self.context.reporter.report(&Event::Note(format!("{} {names}", self.verb.word())));
                Ok(false)
            }
        }
    }

    async fn ask(&self, node: &Node, request: Request) -> Result<Response, Failure> {
        let (doing, failed) = self.verb.doing();
        let working = Event::Working { node: node.name.clone(), text: doing.into() };
        self.context.reporter.report(&working);
        let answer = self.runner.fleet.ask(self.ensemble(), node, None, &request, CONTROL).await;
        match answer {
            Ok(response) => Ok(response),
            Err(answer) => Err(self.runner.failure_at(node, failed, answer).await),
        }
    }

    fn spec(&self, node: &Node) -> NodeSpec {
        NodeSpec::of(self.ensemble(), node)
    }

    /// Starts all at once; waits for writes where enough voters run then.
    async fn start(&self, nodes: &[Node]) -> Result<(), Failure> {
        self.runner.each_node(nodes, self.verb.doing(), Request::Start).await?;
        let now = self.facts(false).await;
        let up = |node: &&Node| {
            now.iter().any(|v| v.node.sid == node.sid && v.facts.as_ref().is_ok_and(|f| f.process.is_some()))
        };
        let voters = self.ensemble().voters().filter(up).count();
        let needed = member_list(self.ensemble()).majority();
        if voters < needed {
            let text = format!(
                "{voters} of {} voters run, {needed} are needed: writes are not served yet",
                self.ensemble().voters().count()
            );
            self.context.reporter.report(&Event::Warning(text));
            return Ok(());
        }
        self.await_all(nodes).await
    }

    async fn await_all(&self, nodes: &[Node]) -> Result<(), Failure> {
        for node in nodes {
            self.await_one(node).await?;
        }
        Ok(())
    }

    async fn await_one(&self, node: &Node) -> Result<(), Failure> {
        // Whatever role it has by its own zoo.cfg: this verb changes none.
        let wanted = AwaitRequest { node: self.spec(node), role: None, timeout_ms: SERVE.as_millis() as u64 };
        let answer =
            self.runner.fleet.ask(self.ensemble(), node, None, &Request::Await(wanted), CONTROL).await;
        let mut what = format!("it did not acknowledge a write within {} s", SERVE.as_secs());
        let why = match answer {
            Ok(Response::Awaited(awaited)) if !awaited.alive => {
                what = "it started, and then ended".into();
                awaited.reason.unwrap_or_default()
            }
            Ok(Response::Awaited(awaited)) => match (awaited.session_ms, awaited.reason) {
                (Some(ms), _) => {
                    let text = format!("serves; a write was acknowledged in {ms} ms");
                    self.context.reporter.report(&Event::Done { node: node.name.clone(), text });
                    return Ok(());
                }
                (None, reason) => reason.unwrap_or_default(),
            },
            Ok(other) => format!("{other:?}"),
            Err(answer) => answer,
        };
        Err(self.runner.failure_at(node, &what, why).await)
    }

    /// Observers, then followers, then the leader.
    async fn stop(&self, mut nodes: Vec<Node>, views: &[NodeView]) -> Result<(), Failure> {
        let now = standings(views);
        let order = self.order(&now);
        while !nodes.is_empty() {
            self.runner.go_on()?;
            let sids: Vec<Sid> = nodes.iter().map(|n| n.sid).collect();
            let next = order.next(&sids, now.leader());
            let Some(at) = nodes.iter().position(|n| Some(n.sid) == next) else { return Ok(()) };
            let node = nodes.remove(at);
            self.ask(&node, Request::Stop(self.spec(&node))).await?;
            self.context.reporter.report(&Event::Done { node: node.name.clone(), text: "stopped".into() });
        }
        Ok(())
    }

    /// One at a time, the leader last, each proven by a write.
    async fn roll(&self, nodes: &[Node], gap: bool) -> Result<(), Failure> {
        let mut remaining: Vec<Sid> = nodes.iter().map(|n| n.sid).collect();
        let order = self.order(&standings(&self.facts(false).await));
        while !remaining.is_empty() {
            self.runner.go_on()?;
            let now = standings(&self.facts(false).await);
            let next = order.next(&remaining, now.leader());
            let Some(node) = next.and_then(|sid| self.ensemble().node_of(sid)) else { return Ok(()) };
            remaining.retain(|s| *s != node.sid);
            if let Some((up, needed)) = now.missing_without(node.sid)
                && !gap
            {
                let what = format!(
                    "stopping {} now would leave {up} of the {needed} votes that are needed: a voter has gone since",
                    node.name
                );
                return Err(Failure::new(exit::QUORUM, what).next("`zkctl status` shows which one"));
            }
            self.ask(node, Request::Restart(self.spec(node))).await?;
            self.await_one(node).await?;
        }
        Ok(())
    }

    async fn restart_together(&self, nodes: &[Node]) -> Result<(), Failure> {
        self.runner.each_node(nodes, self.verb.doing(), Request::Restart).await?;
        let voters = nodes.iter().filter(|n| self.ensemble().voters().any(|v| v.sid == n.sid)).count();
        if voters < member_list(self.ensemble()).majority() {
            return Ok(());
        }
        self.await_all(nodes).await
    }
}
