//! The verbs: each loads the inventory, gathers facts, plans, asks, does, and says how things are.

mod control;
mod converge;
mod inspect;
mod members;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

pub use control::{ControlOptions, ControlOutcome, control};
pub use converge::{ConvergeOptions, Outcome, deploy};
pub use inspect::{Rendering, render, show};
pub use members::{AddObserver, add_observer, promote};

use super::event::{Approval, Approver, Event, Question, Reporter};
use super::failure::{Failure, exit};
use super::inventory::{self, Ensemble, Inventory, locate};
pub use super::plan::Verb;
use crate::config::nearest;
use crate::time::rfc3339;

/// What every verb works with.
#[derive(Clone)]
pub struct Context {
    /// The directory the operator is in.
    pub directory: PathBuf,
    /// The inventory named on the command line.
    pub argument: Option<PathBuf>,
    /// `ZKCTL_INVENTORY`.
    pub environment: Option<PathBuf>,
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// Who is asked.
    pub approver: Arc<dyn Approver>,
    /// Set when the operator wants to stop: the step under way is finished, no other begins.
    pub interrupted: Arc<AtomicBool>,
}

impl Context {
    /// Finds and reads the inventory, and says which one it is.
    pub fn load(&self) -> Result<(PathBuf, Inventory), Failure> {
        let (path, why) = locate(&self.directory, self.argument.as_deref(), self.environment.as_deref())
            .map_err(|e| Failure::new(exit::USAGE, e.to_string()))?;
        self.reporter.report(&Event::Inventory { file: path.display().to_string(), why: why.remark() });
        let full = self.directory.join(&path);
        let inventory = inventory::load(if path.is_absolute() { &path } else { &full }).map_err(|e| {
            let code = match e {
                inventory::InventoryError::Unreadable { .. } => exit::USAGE,
                inventory::InventoryError::Invalid(_) => exit::INVALID,
            };
            Failure::new(code, e.to_string())
        })?;
        for warning in &inventory.warnings {
            self.reporter.report(&Event::Warning(warning.to_string()));
        }
        Ok((full, inventory))
    }

    /// Asks, and turns anything but yes into a failure.
    pub fn agree(&self, text: &str) -> Result<(), Failure> {
        match self.approver.approve(&Question { text: text.into() }) {
            Approval::Yes => Ok(()),
            Approval::Interrupted => Err(Failure::new(exit::INTERRUPTED, "interrupted; nothing was changed")),
            Approval::No => Err(Failure::new(exit::DECLINED, "declined; nothing was changed")),
            Approval::CannotAsk => {
                Err(Failure::new(exit::DECLINED, "this needs a confirmation, and there is no terminal")
                    .next("pass --yes to agree beforehand"))
            }
        }
    }
}

/// A node that the inventory does not have: those it has, and the one that was probably meant. Names that
/// differ in their number only are no slip: whoever types zk4 does not mean zk1.
fn no_such_node(ensemble: &Ensemble, name: &str) -> Failure {
    let names: Vec<&str> = ensemble.nodes.iter().map(|n| n.name.as_str()).collect();
    let near = nearest(name, names.iter().copied().filter(|n| stem(n) != stem(name)));
    let near = near.map(|n| format!("did you mean {n}? ")).unwrap_or_default();
    let next = format!("{near}nodes: {}", names.join(", "));
    Failure::new(exit::USAGE, format!("there is no node {name} in the inventory")).next(next)
}

fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// Who holds a lock, for whoever finds it taken.
fn holder(verb: &str) -> String {
    let user =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".into());
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{machine}, process {}, `zkctl {verb}` since {}", std::process::id(), utc_now())
}

/// This moment as RFC 3339.
fn utc_now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or(0);
    rfc3339(seconds)
}

/// Gives an inventory its new text, unless somebody has changed it since `before` was read. A link stays one.
fn replace_file(path: &Path, before: &str, text: &str) -> Result<(), Failure> {
    let failed = |e: std::io::Error| {
        Failure::new(exit::FAILED, format!("{} could not be written: {e}", path.display()))
    };
    let path = std::fs::canonicalize(path).map_err(failed)?;
    let now = std::fs::read_to_string(&path).map_err(failed)?;
    if now == text {
        return Ok(());
    }
    if now != before {
        let what = format!("{} was changed by somebody else meanwhile; nothing was done", path.display());
        return Err(Failure::new(exit::FAILED, what).next("run the command again"));
    }
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let mode = std::fs::metadata(&path).map_err(failed)?.permissions();
    std::fs::write(&part, text).map_err(failed)?;
    std::fs::set_permissions(&part, mode).map_err(failed)?;
    std::fs::rename(part, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_keeps_what_others_wrote_meanwhile_and_links() {
        let place = std::env::temp_dir().join(format!("zkctl-replace-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(place.join("real")).unwrap();
        let (file, link) = (place.join("real/inv.yaml"), place.join("inv.yaml"));
        std::fs::write(&file, "a").unwrap();
        std::os::unix::fs::symlink("real/inv.yaml", &link).unwrap();
        replace_file(&link, "a", "b").unwrap();
        assert!(link.is_symlink() && !file.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "b");
        // Twice the same is no change by somebody else.
        replace_file(&link, "a", "b").unwrap();
        std::fs::write(&file, "b and mine").unwrap();
        let refused = replace_file(&link, "b", "c").unwrap_err();
        assert!(refused.what.contains("changed by somebody else meanwhile"), "{refused}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "b and mine");
        std::fs::remove_dir_all(place).unwrap();
    }
}
