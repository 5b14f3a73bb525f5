//! Flags, output, prompts and exit codes; the only place that prints.

/// Runs the command line.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(2)
}
