//! Which inventory a verb acts on, and remembering the one that was deployed last.
//!
//! An argument wins, then `ZKCTL_INVENTORY`, then `.zkctl/current` in this directory, then the only
//! file in `inventories/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why this inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was named.
    Argument,
    /// `ZKCTL_INVENTORY` names it.
    Environment,
    /// It was deployed from here last.
    Current,
    /// There is no other in `inventories/`.
    Only,
}

impl Why {
    /// The reason as a remark.
    pub fn remark(self) -> &'static str {
        match self {
            Why::Argument => "as given",
            Why::Environment => "from ZKCTL_INVENTORY",
            Why::Current => "deployed from here last",
            Why::Only => "the only one in inventories/",
        }
    }
}

/// No inventory, or too many.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct NotLocated(pub String);

/// Where the last successful deploy is remembered.
pub fn current_file(directory: &Path) -> PathBuf {
    directory.join(".zkctl/current")
}

/// Finds the inventory to act on.
pub fn locate(
    directory: &Path,
    argument: Option<&Path>,
    environment: Option<&Path>,
) -> Result<(PathBuf, Why), NotLocated> {
    if let Some(path) = argument {
        return Ok((path.to_owned(), Why::Argument));
    }
    if let Some(path) = environment.filter(|p| !p.as_os_str().is_empty()) {
        return Ok((path.to_owned(), Why::Environment));
    }
    if let Ok(text) = fs::read_to_string(current_file(directory)) {
        let path = PathBuf::from(text.trim_end_matches('\n'));
        if path.is_file() {
            return Ok((path, Why::Current));
        }
        return Err(NotLocated(format!(
            ".zkctl/current names {}, which is not there; name an inventory with -i, or remove .zkctl/current",
            path.display()
        )));
    }
    let mut found = candidates(directory);
    match found.len() {
        1 => Ok((found.remove(0), Why::Only)),
        0 => Err(NotLocated(
            "no inventory: name one with -i FILE, set ZKCTL_INVENTORY, or put one into inventories/".into(),
        )),
        _ => {
            let names: Vec<String> = found.iter().map(|p| p.display().to_string()).collect();
            Err(NotLocated(format!("several inventories: name one with -i: {}", names.join(", "))))
        }
    }
}

fn candidates(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory.join("inventories")) else { return Vec::new() };
    let mut out: Vec<PathBuf> = entries
        .filter_map(|e| Some(PathBuf::from("inventories").join(e.ok()?.file_name())))
        .filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    out.sort();
    out
}

/// Remembers an inventory as the one in use here; its absolute path is written.
pub fn remember(directory: &Path, inventory: &Path) -> io::Result<()> {
    let absolute = fs::canonicalize(inventory)?;
    let file = current_file(directory);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let text = format!("{}\n", absolute.display());
    if fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(file, text)
}
