//! `zkctl purge`, which `bin/zkCleanup.sh` calls: its flags, and telling what goes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{err, out};
use crate::config::{Draft, MyId};
use crate::ops::failure::exit;
use crate::time::rfc3339;
use crate::tools::purge::{PurgeError, find, remove};

/// `purge`.
#[derive(Debug, Args)]
pub(super) struct Purge {
    /// dataDir and dataLogDir, in any order; one where they are the same
    #[arg(value_name = "DIR", conflicts_with = "config", required_unless_present = "config", num_args = 1..=2)]
    directories: Vec<PathBuf>,
    /// Take the directories from this zoo.cfg
    #[arg(short, long, value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// How many of the newest snapshots stay, 3 at least
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: usize,
    /// Say what would go and delete nothing
    #[arg(long)]
    dry_run: bool,
}

/// Purges; answers the exit code.
pub(super) fn run(arguments: &Purge) -> u8 {
    let directories = match &arguments.config {
        None => arguments.directories.clone(),
        Some(config) => match of_config(config) {
            Ok(directories) => directories,
            Err(why) => return refuse(exit::INVALID, &why),
        },
    };
    let found = match find(&directories, arguments.count) {
        Ok(found) => found,
        Err(error @ PurgeError::TooFew(_)) => return refuse(exit::USAGE, &error.to_string()),
        Err(error) => return refuse(exit::FAILED, &format!("{error}; nothing was deleted")),
    };
    for file in &found {
        if arguments.dry_run {
            out(&format!("would remove {}\n", file.display()));
            continue;
        }
        match remove(file) {
            // The original's words.
            Ok(written) => out(&format!("Removing file: {}\t{}\n", rfc3339(written), file.display())),
            Err(error) => return refuse(exit::FAILED, &error.to_string()),
        }
    }
    0
}

fn refuse(code: u8, why: &str) -> u8 {
    err(&format!("error: {why}\n"));
    code
}

fn of_config(config: &Path) -> Result<Vec<PathBuf>, String> {
    let name = config.display().to_string();
    let text = fs::read_to_string(config).map_err(|error| format!("{name}: {error}"))?;
    let (parsed, _) =
        Draft::read(&name, &text, &[]).finish(MyId::Unchecked, None).map_err(|e| e.to_string())?;
    Ok(vec![parsed.data_dir.into(), parsed.data_log_dir.into()])
}
