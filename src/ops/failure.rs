//! Why a verb did not do what it was asked, told for people: what failed, where, what the host said,
//! what state things are in, how to go on.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::plan::Refusal;

/// Exit codes of the operating verbs.
pub mod exit {
    /// An operation failed.
    pub const FAILED: u8 = 1;
    /// Wrong usage, or no inventory.
    pub const USAGE: u8 = 2;
    /// The inventory or a rendered file is wrong.
    pub const INVALID: u8 = 3;
    /// Some hosts could not be reached or failed, others did not.
    pub const PARTIAL: u8 = 4;
    /// Refused, since the ensemble would lose its quorum.
    pub const QUORUM: u8 = 5;
    /// Somebody else is operating the ensemble.
    pub const LOCKED: u8 = 6;
    /// There are changes to be made (`--dry-run --exit-code`).
    pub const PENDING: u8 = 7;
    /// A host cannot work as it is.
    pub const PREFLIGHT: u8 = 8;
    /// Declined, or `--yes` is needed.
    pub const DECLINED: u8 = 9;
    /// `status`: serving, but something is wrong.
    pub const DEGRADED: u8 = 10;
    /// `status`: no writes are acknowledged.
    pub const NO_QUORUM: u8 = 11;
    /// The operator interrupted.
    pub const INTERRUPTED: u8 = 130;
}

/// A failed verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Box<Details>);

impl Deref for Failure {
    type Target = Details;
    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

/// What a failure tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The exit code.
    pub exit: u8,
    /// What failed.
    pub what: String,
    /// The node and its host.
    pub at: Option<(String, String)>,
    /// The step.
    pub step: Option<String>,
    /// What the command there answered.
    pub answer: Option<String>,
    /// The last lines of that server's log.
    pub log: Vec<String>,
    /// The state things are in.
    pub state: Option<String>,
    /// How to go on.
    pub next: Option<String>,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: u8, what: impl Into<String>) -> Failure {
        Failure(Box::new(Details { exit, what: what.into(), ..Details::default() }))
    }

    /// With the state things are in.
    pub fn state(mut self, state: impl Into<String>) -> Failure {
        self.state = Some(state.into());
        self
    }

    /// With a way to go on.
    pub fn next(mut self, next: impl Into<String>) -> Failure {
        self.next = Some(next.into());
        self
    }

    /// From what a plan refuses; the gravest code first.
    pub(super) fn refused(refusals: &[Refusal]) -> Option<Failure> {
        let exit = refusals.first()?.exit;
        let lines: Vec<&str> = refusals.iter().map(|r| r.message.as_str()).collect();
        let mut failure = Failure::new(exit, lines.join("\n"));
        failure.state = Some("nothing was changed".into());
        Some(failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((node, host)) = &self.at {
            let host = if host == "this machine" { String::new() } else { format!(" ({host})") };
            write!(f, "{node}{host}: ")?;
        }
        write!(f, "{}", self.what)?;
        if let Some(step) = &self.step {
            write!(f, "\n  step: {step}")?;
        }
        if let Some(answer) = &self.answer {
            write!(f, "\n  answer: {}", answer.trim().replace('\n', "\n          "))?;
        }
        if !self.log.is_empty() {
            write!(f, "\n  its last log lines:")?;
            for line in &self.log {
                write!(f, "\n    {line}")?;
            }
        }
        if let Some(state) = &self.state {
            write!(f, "\n  state: {state}")?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n  next: {next}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
