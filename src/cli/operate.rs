//! The verbs that operate ensembles: from arguments to `ops`, from results to output and exit codes.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::arguments::{AddObserver, Arguments, Change, Colour, Control, Output, Verb};
use super::progress::{Plans, Progress};
use super::prompt::Prompt;
use super::{block_on, err, out, show};
use crate::ids::Sid;
use crate::ops::failure::{Failure, exit};
use crate::ops::plan::Permits;
use crate::ops::status::Status;
use crate::ops::verbs::{self, Context, ControlOptions, ConvergeOptions, Outcome};

/// Runs one of them; answers the exit code.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let screen = Screen::of(arguments);
    let result = match context(arguments, &screen) {
        Ok(context) => match block_on(watched(arguments, &context, &screen)) {
            Ok(result) => result,
            Err(error) => Err(Failure::new(exit::FAILED, error.to_string())),
        },
        Err(failure) => Err(failure),
    };
    result.unwrap_or_else(|failure| {
        if screen.json {
            out(&show::failure_json(&failure));
        }
        said(&failure, &screen)
    })
}

/// Tells people of a failure; answers its exit code.
fn said(failure: &Failure, screen: &Screen) -> u8 {
    let head = if screen.colour_err { "\x1b[31merror:\x1b[0m" } else { "error:" };
    err(&format!("{head} {failure}\n"));
    failure.exit
}

/// How to print.
struct Screen {
    json: bool,
    colour_out: bool,
    colour_err: bool,
    terminal_err: bool,
}

impl Screen {
    fn of(arguments: &Arguments) -> Screen {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let terminal_err = std::io::stderr().is_terminal();
        let wanted = |terminal: bool| match arguments.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => !set("NO_COLOR") && (set("CLICOLOR_FORCE") || (terminal && !dumb)),
        };
        Screen {
            json: arguments.output == Output::Json,
            colour_out: wanted(std::io::stdout().is_terminal()),
            colour_err: wanted(terminal_err),
            terminal_err: terminal_err && !dumb,
        }
    }
}

fn context(arguments: &Arguments, screen: &Screen) -> Result<Context, Failure> {
    let directory = std::env::current_dir()
        .map_err(|e| Failure::new(exit::USAGE, format!("the current directory cannot be used: {e}")))?;
    let positional = match &arguments.verb {
        Verb::Deploy(v) => v.file.clone(),
        Verb::Status(v) => v.file.clone(),
        Verb::Render(v) => v.file.clone(),
        Verb::Start(v) | Verb::Restart(v) => v.file.clone(),
        Verb::Stop(v) => v.control.file.clone(),
        _ => None,
    };
    if let (Some(a), Some(b)) = (&positional, &arguments.inventory)
        && a != b
    {
        let what = format!("two inventories are named: {} and {}", a.display(), b.display());
        return Err(Failure::new(exit::USAGE, what));
    }
    let dry_run = match &arguments.verb {
        Verb::Deploy(v) => v.change.dry_run,
        Verb::AddObserver(v) => v.change.dry_run,
        Verb::Promote(v) => v.change.dry_run,
        _ => false,
    };
    let plans = Plans::of(dry_run, arguments.quiet, Prompt::can_ask(arguments.yes));
    let progress = Progress::new(arguments.quiet, screen.terminal_err, screen.colour_err, plans);
    Ok(Context {
        directory,
        argument: positional.or_else(|| arguments.inventory.clone()),
        environment: std::env::var_os("ZKCTL_INVENTORY").map(PathBuf::from),
        reporter: Arc::new(progress),
        approver: Arc::new(Prompt { yes: arguments.yes }),
        interrupted: Arc::default(),
    })
}

/// Runs the verb. The first Ctrl-C (or SIGTERM) ends it after the step under way, the second at once.
async fn watched(arguments: &Arguments, context: &Context, screen: &Screen) -> Result<u8, Failure> {
    let changes = !matches!(&arguments.verb, Verb::Status(_) | Verb::Render(_));
    let asked = async {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            if !changes || context.interrupted.swap(true, Ordering::Relaxed) {
                return;
            }
            err("\nfinishing the step under way; press Ctrl-C again to leave it\n");
        }
    };
    tokio::select! {
        result = dispatch(arguments, context, screen) => result,
        () = asked => Err(Failure::new(exit::INTERRUPTED, "interrupted")
            .next("`zkctl status` shows how things are; running the same command again completes it")),
    }
}

async fn dispatch(arguments: &Arguments, context: &Context, screen: &Screen) -> Result<u8, Failure> {
    match &arguments.verb {
        Verb::Deploy(deploy) => {
            let outcome = verbs::deploy(context, &options(&deploy.change)).await?;
            Ok(changed(&outcome, &deploy.change, screen))
        }
        Verb::AddObserver(wanted) => add_observer(wanted, context, screen).await,
        Verb::Promote(wanted) => {
            let outcome = verbs::promote(context, &options(&wanted.change), &wanted.node).await?;
            Ok(changed(&outcome, &wanted.change, screen))
        }
        Verb::Status(wanted) => {
            let status = verbs::show(context).await?;
            print_status(&status, wanted.wide, screen);
            Ok(status.exit())
        }
        Verb::Render(wanted) => {
            let files = verbs::render(context, wanted.template_dir.as_deref(), wanted.to.as_deref())?;
            if screen.json {
                out(&show::files_json(&files, wanted.to.as_deref()));
                return Ok(0);
            }
            for file in &files {
                match &wanted.to {
                    Some(to) => out(&format!("{}\n", to.join(&file.name).display())),
                    None => out(&format!("==> {} <==\n{}\n", file.name.display(), file.content)),
                }
            }
            Ok(0)
        }
        Verb::Start(wanted) => control(context, verbs::Verb::Start, wanted, false, screen).await,
        Verb::Restart(wanted) => control(context, verbs::Verb::Restart, wanted, false, screen).await,
        Verb::Stop(wanted) => {
            control(context, verbs::Verb::Stop, &wanted.control, wanted.force, screen).await
        }
        Verb::Serve(_)
        | Verb::Lint(_)
        | Verb::Purge(_)
        | Verb::Bench(_)
        | Verb::Probe { .. }
        | Verb::Host(_) => Ok(exit::USAGE),
    }
}

fn options(change: &Change) -> ConvergeOptions {
    ConvergeOptions {
        dry_run: change.dry_run,
        binary: change.binary.clone(),
        template_dir: change.template_dir.clone(),
        permits: Permits {
            moves: change.allow_move.clone(),
            forget: change.forget.iter().map(|id| Sid(*id)).collect(),
        },
    }
}

async fn add_observer(wanted: &AddObserver, context: &Context, screen: &Screen) -> Result<u8, Failure> {
    let node = verbs::AddObserver {
        name: wanted.node.clone(),
        host: wanted.host.clone(),
        address: wanted.address.clone(),
        id: wanted.id,
        ports: None,
    };
    let outcome = verbs::add_observer(context, &options(&wanted.change), &node).await?;
    Ok(changed(&outcome, &wanted.change, screen))
}

async fn control(
    context: &Context,
    verb: verbs::Verb,
    wanted: &Control,
    force: bool,
    screen: &Screen,
) -> Result<u8, Failure> {
    let options = ControlOptions { limit: wanted.limit.clone(), force, dry_run: wanted.dry_run };
    let outcome = verbs::control(context, verb, &options).await?;
    if screen.json {
        let status = outcome.status.as_ref();
        out(&show::outcome_json(&outcome.plan, outcome.done, status, outcome.refused.as_ref()));
    } else if wanted.dry_run {
        out(&show::control_plan(&outcome.plan));
    }
    if let Some(failure) = &outcome.refused {
        return Ok(said(failure, screen));
    }
    if wanted.dry_run {
        dry_run_said();
        return Ok(if wanted.exit_code && !outcome.plan.is_empty() { exit::PENDING } else { 0 });
    }
    if let Some(status) = outcome.status.as_ref().filter(|_| !screen.json) {
        print_status(status, false, screen);
    }
    Ok(0)
}

fn dry_run_said() {
    err("dry run: nothing was changed\n");
}

fn print_status(status: &Status, wide: bool, screen: &Screen) {
    if screen.json {
        out(&show::json(status));
    } else {
        out(&show::status(status, wide, screen.colour_out, show::terminal_width()));
    }
}

/// Shows what came of a change.
fn changed(outcome: &Outcome, change: &Change, screen: &Screen) -> u8 {
    if screen.json {
        let status = outcome.status.as_ref();
        out(&show::outcome_json(&outcome.plan, outcome.done, status, outcome.refused.as_ref()));
    } else if change.dry_run {
        out(&show::plan(&outcome.plan, screen.colour_out));
    }
    if let Some(failure) = &outcome.refused {
        return said(failure, screen);
    }
    if change.dry_run {
        dry_run_said();
        return if change.exit_code && !outcome.plan.is_empty() { exit::PENDING } else { 0 };
    }
    let Some(status) = &outcome.status else { return 0 };
    if !screen.json {
        print_status(status, false, screen);
    }
    // A change that went through is a success, even where the ensemble is not whole for other reasons.
    if outcome.done && status.exit() != exit::NO_QUORUM { 0 } else { status.exit() }
}
