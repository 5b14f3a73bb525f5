//! Flags, output, prompts and exit codes; the only place that prints.
//!
//! | file | owns |
//! |---|---|
//! | `arguments` | every verb, flag and help text |
//! | `serve` | `zkctl serve` |
//! | `bench` | `zkctl bench` |
//! | `operate` | the verbs that operate ensembles |
//! | `lint`, `purge` | `zkctl lint`, `zkctl purge` |
//! | `hidden` | what the operator's side calls on hosts |
//! | `show` | plans, status tables, JSON |
//! | `progress` | events as they happen |
//! | `prompt` | questions |
//!
//! Results go to stdout; progress, questions and errors to stderr.

mod arguments;
mod bench;
mod hidden;
mod lint;
mod operate;
mod progress;
mod prompt;
mod purge;
mod serve;
mod show;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Output, Verb};

/// Runs the command line.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let code = match &arguments.verb {
        Verb::Serve(serve) => serve::run(serve),
        Verb::Lint(files) => lint::run(files, arguments.output),
        Verb::Purge(purge) => purge::run(purge),
        Verb::Bench(bench) => bench::run(bench, arguments.output == Output::Json),
        Verb::Probe { request } => hidden::probe(request),
        Verb::Host(verb) => hidden::host(verb),
        _ => operate::run(&arguments),
    };
    ExitCode::from(code)
}

/// Writes to stdout. A reader that has gone (as `head` does) is no error.
fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Writes to stderr.
fn err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Runs an operating verb to its end.
fn block_on<F: Future>(future: F) -> std::io::Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
