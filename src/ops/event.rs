//! What operations tell and what they ask; `cli` shows the one and answers the other.

use super::plan::Plan;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Which inventory is acted on, and why that one.
    Inventory {
        /// Its path.
        file: String,
        /// Why.
        why: &'static str,
    },
    /// What will be done.
    Plan(&'a Plan),
    /// A step of the plan begins.
    Step {
        /// Counted from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// What it is.
        text: String,
    },
    /// Work on a node goes on.
    Working {
        /// The node.
        node: String,
        /// With what.
        text: String,
    },
    /// Work on a node is done.
    Done {
        /// The node.
        node: String,
        /// What came of it.
        text: String,
    },
    /// Work on a node failed; the failure itself follows as the verb's result.
    Failed {
        /// The node.
        node: String,
        /// At what.
        text: String,
    },
    /// Something worth knowing.
    Note(String),
    /// Something worth a second look.
    Warning(String),
}

/// Shows events.
pub trait Reporter: Send + Sync {
    /// Shows one.
    fn report(&self, event: &Event<'_>);
}

/// What is to be agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The question, answerable with yes.
    pub text: String,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Go on.
    Yes,
    /// Do not.
    No,
    /// Nobody can be asked: there is no terminal.
    CannotAsk,
    /// Ctrl-C instead of an answer.
    Interrupted,
}

/// Answers questions.
pub trait Approver: Send + Sync {
    /// Asks one.
    fn approve(&self, question: &Question) -> Approval;
}
