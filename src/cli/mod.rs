//! Flags, output, prompts and exit codes; the only place that prints.

use std::io::Write;

/// Runs the command line.
pub fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) != Some("serve") {
        return std::process::ExitCode::from(2);
    }
    let options = crate::runtime::ServeOptions {
        config: args.get(2).map(Into::into),
        ..crate::runtime::ServeOptions::default()
    };
    match crate::runtime::serve(&options) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "zkctl serve: {}", failure.message);
            std::process::ExitCode::from(failure.code)
        }
    }
}
