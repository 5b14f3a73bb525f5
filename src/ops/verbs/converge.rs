//! Making an ensemble what its inventory says: `deploy`, and what `add-observer` and `promote` end in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Context, holder, replace_file};
use crate::ops::event::Event;
use crate::ops::failure::{Failure, exit};
use crate::ops::inventory::{Ensemble, Inventory, Node, remember};
use crate::ops::plan::{Goal, Permits, Plan, Step, plan};
use crate::ops::remote::{Fleet, HostLock, LockError, NodeView, Release};
use crate::ops::render::Renderer;
use crate::ops::run::{ASK, Runner};
use crate::ops::status::{Status, status};

/// How to converge.
#[derive(Clone, Debug, Default)]
pub struct ConvergeOptions {
    /// Only show the plan.
    pub dry_run: bool,
    /// The program to deploy; this one when absent.
    pub binary: Option<PathBuf>,
    /// Templates to use instead of the embedded ones.
    pub template_dir: Option<PathBuf>,
    /// What is allowed by name.
    pub permits: Permits,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// Whether it was carried out.
    pub done: bool,
    /// How things are now; absent after `--dry-run` and refusals.
    pub status: Option<Status>,
    /// Why it was not carried out.
    pub refused: Option<Failure>,
}

/// `deploy`.
pub async fn deploy(context: &Context, options: &ConvergeOptions) -> Result<Outcome, Failure> {
    let (path, inventory) = context.load()?;
    let change = Change { verb: "deploy", path, inventory, before: None, question: None };
    converge(context, options, change).await
}

/// What is to be made true, and how it is called.
pub(super) struct Change {
    pub(super) verb: &'static str,
    pub(super) path: PathBuf,
    pub(super) inventory: Inventory,
    /// The inventory's text as it was read, where it gets another one once the operator has agreed.
    pub(super) before: Option<String>,
    pub(super) question: Option<String>,
}

/// Renders everything for an ensemble and a release.
pub(super) fn goal(
    ensemble: &Ensemble,
    release: &Release,
    options: &ConvergeOptions,
) -> Result<Goal, Failure> {
    let invalid = |e: crate::ops::render::RenderError| Failure::new(exit::INVALID, e.to_string());
    let renderer = Renderer::new(options.template_dir.as_deref()).map_err(invalid)?;
    let mut files = BTreeMap::new();
    for node in &ensemble.nodes {
        files.insert(node.name.clone(), renderer.render(ensemble, node).map_err(invalid)?);
    }
    Ok(Goal {
        ensemble: ensemble.clone(),
        release: release.name.clone(),
        release_bytes: release.bytes,
        arch: release.arch.clone(),
        files,
        permits: options.permits.clone(),
    })
}

pub(super) async fn converge(
    context: &Context,
    options: &ConvergeOptions,
    change: Change,
) -> Result<Outcome, Failure> {
    let ensemble = change.inventory.ensemble.clone();
    for name in &options.permits.moves {
        if ensemble.node(name).is_none() {
            return Err(Failure::new(exit::USAGE, format!("--allow-move {name}: there is no such node")));
        }
    }
    let release =
        Release::of(options.binary.as_deref()).map_err(|e| Failure::new(exit::USAGE, e.to_string()))?;
    let goal = goal(&ensemble, &release, options)?;
    let fleet = Arc::new(Fleet::connect(&ensemble, None).await);
    let runner = Runner {
        goal: Arc::new(goal),
        fleet: Arc::clone(&fleet),
        release: Arc::new(release),
        reporter: Arc::clone(&context.reporter),
        interrupted: Arc::clone(&context.interrupted),
    };
    let outcome = through(context, options, &change, &runner).await;
    drop(runner);
    if let Ok(fleet) = Arc::try_unwrap(fleet) {
        fleet.close().await;
    }
    outcome
}

async fn through(
    context: &Context,
    options: &ConvergeOptions,
    change: &Change,
    runner: &Runner,
) -> Result<Outcome, Failure> {
    let ensemble = &runner.goal.ensemble;
    let views = runner.steady().await;
    let plan = plan(&runner.goal, &views);
    context.reporter.report(&Event::Plan(&plan));
    if let Some(failure) = Failure::refused(&plan.refusals) {
        return Ok(Outcome { plan, done: false, status: None, refused: Some(failure) });
    }
    if options.dry_run {
        return Ok(Outcome { plan, done: false, status: None, refused: None });
    }
    if plan.is_empty() {
        save_text(change)?;
        save(context, change);
        let status = Some(status(ensemble, &views));
        return Ok(Outcome { plan, done: false, status, refused: None });
    }
    let question = change.question.clone().unwrap_or_else(|| format!("Do this to {}?", ensemble.name));
    context.agree(&question)?;
    let locks = lock(runner, &ensemble.nodes, change.verb).await?;
    let views = unchanged(runner, &plan).await?;
    save_text(change)?;
    runner.run(&plan, &views).await?;
    drop(locks);
    save(context, change);
    let views = runner.settled().await;
    Ok(Outcome { plan, done: true, status: Some(status(ensemble, &views)), refused: None })
}

pub(super) async fn lock(runner: &Runner, nodes: &[Node], verb: &str) -> Result<Vec<HostLock>, Failure> {
    let ensemble = &runner.goal.ensemble;
    runner.fleet.lock(ensemble, nodes, &holder(verb)).await.map_err(|(node, error)| match error {
        LockError::Taken(who) => {
            Failure::new(exit::LOCKED, format!("somebody else is operating {node}: {who}"))
                .next("wait until that is done; the lock goes with the process that holds it")
        }
        LockError::Failed(why) => {
            let mut failure = Failure::new(exit::FAILED, format!("{node}: its lock could not be taken"));
            failure.answer = Some(why);
            failure
        }
    })
}

/// With the locks held, the facts must still lead to the plan that was agreed to.
async fn unchanged(runner: &Runner, agreed: &Plan) -> Result<Vec<NodeView>, Failure> {
    // Where all are to be started at once nothing is served, as agreed; else one slow answer is no outage.
    let at_once = agreed.steps.iter().any(|s| matches!(s, Step::StartTogether { .. }));
    let views = match at_once {
        true => runner.fleet.facts(&runner.goal.ensemble, true, ASK).await,
        false => runner.steady().await,
    };
    if agreed.covers(&plan(&runner.goal, &views)) {
        return Ok(views);
    }
    Err(Failure::new(
        exit::FAILED,
        "something changed on the hosts since the plan was made; nothing was done",
    )
    .next("run the command again to see the new plan"))
}

/// Writes the inventory's new text: from here on it says what is wanted, so that any later run completes it.
fn save_text(change: &Change) -> Result<(), Failure> {
    let Some(before) = &change.before else { return Ok(()) };
    replace_file(&change.path, before, &change.inventory.text)
}

/// From here on this inventory is the one that verbs act on.
fn save(context: &Context, change: &Change) {
    let path: &Path = &change.path;
    if let Err(error) = remember(&context.directory, path) {
        let text =
            format!(".zkctl/current could not be written ({error}); name the inventory with -i next time");
        context.reporter.report(&Event::Warning(text));
    }
}
