//! `zkctl serve`: hands its options to the runtime.

use std::path::PathBuf;

use super::arguments::Serve;
use super::err;
use crate::ops::host::{Unit, write_state};
use crate::runtime::{ServeOptions, serve};

/// Runs a server until it ends; answers the exit code.
pub(super) fn run(arguments: &Serve) -> u8 {
    if arguments.detached {
        // Fails only for a process that leads its group already, which is as good.
        let _ = rustix::process::setsid();
    }
    let config: Option<PathBuf> = arguments.config.clone().or_else(|| arguments.file.clone());
    let unit = arguments.unit.clone().map(|name| Unit { name, of_user: arguments.user_unit });
    // Only who holds the data directory says so: a second server must not take the record of the first.
    let record = config.clone();
    let locked = || match (&arguments.state_file, &record) {
        (Some(file), Some(config)) => write_state(file, config, unit.clone())
            .map_err(|error| format!("{} could not be written: {error}", file.display())),
        _ => Ok(()),
    };
    let options =
        ServeOptions { config, log_dir: arguments.log_dir.clone(), defines: arguments.defines.clone() };
    match serve(&options, &locked) {
        Ok(()) => 0,
        Err(failure) => {
            err(&format!("zkctl serve: {}\n", failure.message));
            failure.code
        }
    }
}
