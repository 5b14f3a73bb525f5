//! Inventories: which one, what it says, what is wrong with it, and changing its text.
//!
//! serde_yaml makes the value; `spans` knows where it stands. Deliberately absent: anything about
//! hosts that the file does not say.

mod check;
mod edit;
mod ensemble;
mod locate;
mod parse;
mod problem;
mod spans;
mod walk;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

pub use edit::{EditError, NewNode, add_node, set_role};
pub use ensemble::{Become, Connection, Ensemble, HostKeys, Manager, Node, Paths, Scope, Service, Ssh};
pub use locate::{NotLocated, Why, current_file, locate, remember};
pub use parse::{Parsed, parse};
pub use problem::InventoryProblem;
use thiserror::Error;

/// An inventory as it was read.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// What it says.
    pub ensemble: Ensemble,
    /// Its text, for edits.
    pub text: String,
    /// What is worth a second look.
    pub warnings: Vec<InventoryProblem>,
}

/// Why an inventory could not be used.
#[derive(Debug, Error)]
pub enum InventoryError {
    /// The file cannot be read.
    #[error("{file}: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Its content is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<InventoryProblem>),
}

/// The absolute directory that relative paths in an inventory count from.
pub fn base_of(path: &Path) -> std::io::Result<std::path::PathBuf> {
    let absolute = fs::canonicalize(path)?;
    Ok(absolute.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Reads an inventory from its file.
pub fn load(path: &Path) -> Result<Inventory, InventoryError> {
    let file = path.display().to_string();
    let unreadable = |error| InventoryError::Unreadable { file: file.clone(), error };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let base = base_of(path).map_err(unreadable)?;
    let (mut ensemble, warnings) = parse(&file, &text, &base).map_err(InventoryError::Invalid)?;
    ensemble.file = path.to_owned();
    Ok(Inventory { ensemble, text, warnings })
}
