//! `zkctl serve`: hands its options to the runtime.

use std::path::PathBuf;

use super::arguments::Serve;
use super::err;
use crate::ops::host::write_state;
use crate::runtime::{ServeOptions, serve};

/// Runs a server until it ends; answers the exit code.
pub(super) fn run(arguments: &Serve) -> u8 {
    if arguments.detached {
        // Fails only for a process that leads its group already, which is as good.
        let _ = rustix::process::setsid();
    }
    let config: Option<PathBuf> = arguments.config.clone().or_else(|| arguments.file.clone());
    if let (Some(file), Some(config)) = (&arguments.state_file, &config)
        && let Err(error) = write_state(file, config)
    {
        err(&format!("zkctl serve: {} could not be written: {error}\n", file.display()));
        return 1;
    }
    let options =
        ServeOptions { config, log_dir: arguments.log_dir.clone(), defines: arguments.defines.clone() };
    match serve(&options) {
        Ok(()) => 0,
        Err(failure) => {
            err(&format!("zkctl serve: {}\n", failure.message));
            failure.code
        }
    }
}
