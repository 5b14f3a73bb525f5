//! `zkctl.untrusted`: this database is not to be voted with, and why.

use super::disk::{Disk, DiskError, FileRef, replace};
use super::names;
use super::recovery::read_small;
use super::recovery_error::RecoveryError;

/// Marks the database as not to be voted with, and adds to why.
pub(super) fn add(disk: &mut dyn Disk, why: &[u8]) -> Result<(), DiskError> {
    let marker = FileRef::data(names::UNTRUSTED);
    let known = read_small(disk, &marker)?;
    if known.is_some() && why.is_empty() {
        return Ok(());
    }
    let mut reasons = known.unwrap_or_default();
    reasons.extend_from_slice(why);
    replace(disk, &marker, &reasons)
}

/// Writes down what was found damaged in a running server: at the next start it might be taken for a torn tail.
/// What failed is told, whatever comes of this.
pub(super) fn remember<T>(disk: &mut dyn Disk, result: Result<T, DiskError>) -> Result<T, DiskError> {
    if let Err(DiskError::Recovery(error @ RecoveryError::Corrupt { .. })) = &result {
        add(disk, format!("{}\n", error.damage()).as_bytes()).ok();
    }
    result
}

/// What operators should know of a database that is not trusted, and what they can do.
pub(super) fn describe(reasons: &[u8]) -> String {
    let reasons = String::from_utf8_lossy(reasons);
    let why = match reasons.trim() {
        "" => "it was empty, or being replaced, when the server stopped",
        reasons => reasons,
    };
    format!(
        "this database is not trusted: {why}. The server does not vote with it and serves nobody until it has \
         taken the database of a leader that the others elect. If they cannot, for want of a majority with \
         trusted databases: bring back what is missing, or accept its loss; then remove {} from the data \
         directory and start the server again",
        names::UNTRUSTED
    )
}
