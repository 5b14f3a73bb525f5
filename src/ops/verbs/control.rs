//! `start`, `stop` and `restart`: of all nodes, or of some.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::converge::lock;
use super::{Context, no_such_node};
use crate::ids::Sid;
use crate::ops::event::Event;
use crate::ops::failure::{Failure, exit};
use crate::ops::host::protocol::{AwaitRequest, NodeSpec, Request, Response};
use crate::ops::inventory::{Ensemble, Node};
use crate::ops::plan::order::Standings;
use crate::ops::plan::{
    ControlPlan, ControlStep, Goal, Permits, Verb, control_order, control_plan, member_list, standings,
};
use crate::ops::remote::{Fleet, HostLock, NodeView, Release};
use crate::ops::run::{ASK, Runner};
use crate::ops::status::{Status, status};

/// What is being done, and what is said when that failed.
fn doing(verb: Verb) -> (&'static str, &'static str) {
    match verb {
        Verb::Start => ("starting", "it did not start"),
        Verb::Stop => ("stopping", "it did not stop"),
        Verb::Restart => ("restarting", "it did not restart"),
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

/// What came of it.
#[derive(Clone, Debug)]
pub struct ControlOutcome {
    /// The plan.
    pub plan: ControlPlan,
    /// Whether it was carried out.
    pub done: bool,
    /// How things are now; absent after `--dry-run` and refusals.
    pub status: Option<Status>,
    /// Why it was not carried out.
    pub refused: Option<Failure>,
}

/// Does it; answers how things are then.
pub async fn control(
    context: &Context,
    verb: Verb,
    options: &ControlOptions,
) -> Result<ControlOutcome, Failure> {
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

/// The nodes named, each once; all when none is.
fn chosen(ensemble: &Ensemble, limit: &[String]) -> Result<Vec<Node>, Failure> {
    if let Some(name) = limit.iter().find(|name| ensemble.node(name).is_none()) {
        return Err(no_such_node(ensemble, name));
    }
    let named = |node: &&Node| limit.is_empty() || limit.contains(&node.name);
    Ok(ensemble.nodes.iter().filter(named).cloned().collect())
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

/// How long the others may take to be seen serving before a node is not stopped.
const PATIENCE: Duration = Duration::from_secs(5);
const CHANGED: &str = "something changed on the hosts since this was planned; nothing was done";

fn question(plan: &ControlPlan) -> String {
    let names: Vec<&str> = plan.nodes.iter().map(|n| n.name.as_str()).collect();
    let capital = if plan.verb == Verb::Stop { "Stop" } else { "Restart" };
    let at_once = if plan.is_together() && names.len() > 1 { " at once" } else { "" };
    format!("{capital} {}{at_once}?", names.join(", "))
}

impl Job<'_> {
    fn ensemble(&self) -> &Ensemble {
        &self.runner.goal.ensemble
    }

    async fn facts(&self, session: bool) -> Vec<NodeView> {
        self.runner.fleet.facts(self.ensemble(), session, ASK).await
    }

    async fn views(&self) -> Vec<NodeView> {
        if self.verb == Verb::Start { self.facts(true).await } else { self.runner.steady().await }
    }

    fn plan(&self, views: &[NodeView]) -> ControlPlan {
        control_plan(self.verb, self.ensemble(), &self.nodes, self.options.force, views)
    }

    async fn run(&self) -> Result<ControlOutcome, Failure> {
        let views = self.views().await;
        let plan = self.plan(&views);
        if let Some(refused) = Failure::refused(&plan.refusals) {
            return Ok(ControlOutcome { plan, done: false, status: None, refused: Some(refused) });
        }
        if plan.is_empty() {
            return Ok(self.nothing(plan, &views));
        }
        if self.options.dry_run {
            return Ok(ControlOutcome { plan, done: false, status: None, refused: None });
        }
        self.announce(&plan);
        if plan.needs_word() {
            self.context.agree(&question(&plan))?;
        }
        let locks = self.lock(&views).await?;
        // Facts from before the prompt and the locks may be minutes old, and another operator was at work since.
        let views = self.views().await;
        let now = self.plan(&views);
        if let Some(refused) = Failure::refused(&now.refusals) {
            return Ok(ControlOutcome { plan: now, done: false, status: None, refused: Some(refused) });
        }
        if now.is_empty() {
            return Ok(self.nothing(now, &views));
        }
        if !plan.covers(&now) {
            return Err(
                Failure::new(exit::FAILED, CHANGED).next("run the command again to see what it would do now")
            );
        }
        match self.verb {
            Verb::Start => self.start(&now.nodes).await?,
            Verb::Stop => self.stop(&now).await?,
            Verb::Restart if now.is_together() => self.restart_together(&now.nodes).await?,
            Verb::Restart => self.roll(&now).await?,
        }
        drop(locks);
        let views =
            if self.verb == Verb::Stop { self.facts(true).await } else { self.runner.settled().await };
        let status = Some(status(self.ensemble(), &views));
        Ok(ControlOutcome { plan: now, done: true, status, refused: None })
    }

    fn nothing(&self, plan: ControlPlan, views: &[NodeView]) -> ControlOutcome {
        let word = if self.verb == Verb::Stop { "none of these nodes runs" } else { "all these nodes run" };
        self.context.reporter.report(&Event::Note(format!("nothing to do: {word}")));
        let status = (!self.options.dry_run).then(|| status(self.ensemble(), views));
        ControlOutcome { plan, done: false, status, refused: None }
    }

    /// Says what it does to the service.
    fn announce(&self, plan: &ControlPlan) {
        for note in &plan.notes {
            self.context.reporter.report(&Event::Warning(note.clone()));
        }
        let steps: Vec<String> = plan.steps.iter().map(ControlStep::title).collect();
        self.context.reporter.report(&Event::Note(steps.join(", ")));
    }

    /// The locks of every node whose host can be reached: what is done to one node concerns the others.
    async fn lock(&self, views: &[NodeView]) -> Result<Vec<HostLock>, Failure> {
        for view in views {
            if let Err(gone) = &view.facts {
                let text = format!("{} cannot be reached and is not locked: {}", view.node.name, gone.reason);
                self.context.reporter.report(&Event::Warning(text));
            }
        }
        let nodes: Vec<Node> = views.iter().filter(|v| v.facts.is_ok()).map(|v| v.node.clone()).collect();
        lock(&self.runner, &nodes, self.verb.word()).await
    }

    async fn ask(&self, node: &Node, request: Request) -> Result<Response, Failure> {
        let (doing, failed) = doing(self.verb);
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
        self.runner.each_node(nodes, doing(self.verb), Request::Start).await?;
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
    async fn stop(&self, plan: &ControlPlan) -> Result<(), Failure> {
        let mut remaining: Vec<Sid> = plan.nodes.iter().map(|n| n.sid).collect();
        let order = control_order(self.ensemble(), &standings(&self.facts(false).await));
        while !remaining.is_empty() {
            let now = self.may_go_on(plan, &remaining, |_| remaining.clone()).await?;
            let next = order.next(&remaining, now.leader());
            let Some(node) = next.and_then(|sid| self.ensemble().node_of(sid)) else { return Ok(()) };
            self.ask(node, Request::Stop(self.spec(node))).await?;
            remaining.retain(|s| *s != node.sid);
            self.context.reporter.report(&Event::Done { node: node.name.clone(), text: "stopped".into() });
        }
        Ok(())
    }

    /// One at a time, the leader last, each proven by a write.
    async fn roll(&self, plan: &ControlPlan) -> Result<(), Failure> {
        let mut remaining: Vec<Sid> = plan.nodes.iter().map(|n| n.sid).collect();
        let order = control_order(self.ensemble(), &standings(&self.facts(false).await));
        while !remaining.is_empty() {
            let next = |now: &Standings| order.next(&remaining, now.leader());
            let now = self.may_go_on(plan, &remaining, |now| next(now).into_iter().collect()).await?;
            let Some(node) = next(&now).and_then(|sid| self.ensemble().node_of(sid)) else { return Ok(()) };
            self.ask(node, Request::Restart(self.spec(node))).await?;
            self.await_one(node).await?;
            remaining.retain(|s| *s != node.sid);
        }
        Ok(())
    }

    /// Who stands how now, once these nodes may go down; a server that is only slow to answer gets some time.
    async fn may_go_on(
        &self,
        plan: &ControlPlan,
        remaining: &[Sid],
        stopped: impl Fn(&Standings) -> Vec<Sid>,
    ) -> Result<Standings, Failure> {
        let begun = Instant::now();
        loop {
            if let Err(failure) = self.runner.go_on() {
                return Err(self.runner.with_state(failure, remaining).await);
            }
            let now = standings(&self.facts(false).await);
            let sids = stopped(&now);
            let Some((up, needed)) = plan.missing(&now, &sids) else { return Ok(now) };
            if begun.elapsed() > PATIENCE {
                let nodes = sids.iter().filter_map(|sid| self.ensemble().node_of(*sid));
                let names: Vec<&str> = nodes.map(|n| n.name.as_str()).collect();
                let what = format!(
                    "without {} now, {up} of the {needed} votes that are needed would stay: a voter has gone since",
                    names.join(", ")
                );
                let failure = Failure::new(exit::QUORUM, what).next("`zkctl status` shows which one");
                return Err(self.runner.with_state(failure, remaining).await);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn restart_together(&self, nodes: &[Node]) -> Result<(), Failure> {
        self.runner.each_node(nodes, doing(self.verb), Request::Restart).await?;
        let voters = nodes.iter().filter(|n| self.ensemble().voters().any(|v| v.sid == n.sid)).count();
        if voters < member_list(self.ensemble()).majority() {
            return Ok(());
        }
        self.await_all(nodes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_named_twice_counts_once() {
        let text = "cluster: c\nnodes:\n- {name: a, id: 1, host: h}\n- {name: b, id: 2, host: i}\n";
        let (ensemble, _) = crate::ops::inventory::parse("f", text, std::path::Path::new("/")).unwrap();
        let names = |limit: &[&str]| -> Vec<String> {
            let limit: Vec<String> = limit.iter().map(|l| (*l).to_owned()).collect();
            chosen(&ensemble, &limit).unwrap().into_iter().map(|n| n.name).collect()
        };
        assert_eq!(names(&["b", "a", "b", "b"]), ["a", "b"]);
        assert_eq!(names(&[]), ["a", "b"]);
        assert_eq!(chosen(&ensemble, &["c".into()]).unwrap_err().exit, exit::USAGE);
    }
}
