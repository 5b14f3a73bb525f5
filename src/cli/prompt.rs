//! Questions, asked on a terminal only.

use std::io::IsTerminal as _;

use dialoguer::Confirm;

use crate::ops::event::{Approval, Approver, Question};

/// Asks the person at the terminal, or has agreed beforehand.
pub(super) struct Prompt {
    /// `--yes`.
    pub(super) yes: bool,
}

impl Approver for Prompt {
    fn approve(&self, question: &Question) -> Approval {
        if self.yes {
            return Approval::Yes;
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Approval::CannotAsk;
        }
        match Confirm::new().with_prompt(&question.text).default(false).interact_opt() {
            Ok(Some(true)) => Approval::Yes,
            Ok(_) => Approval::No,
            Err(_) => Approval::CannotAsk,
        }
    }
}
