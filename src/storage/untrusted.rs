//! `zkctl.untrusted`: this database is not to be voted with, and why.

use super::disk::{Disk, DiskError, FileRef, replace};
use super::names;
use super::recovery::read_small;

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
