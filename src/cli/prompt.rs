//! Questions, asked on a terminal only.

use std::io::{ErrorKind, IsTerminal as _};

use dialoguer::Confirm;

use crate::ops::event::{Approval, Approver, Question};

/// Asks the person at the terminal, or has agreed beforehand.
pub(super) struct Prompt {
    /// `--yes`.
    pub(super) yes: bool,
}

impl Prompt {
    /// Whether questions are going to be asked.
    pub(super) fn can_ask(yes: bool) -> bool {
        !yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }
}

impl Approver for Prompt {
    fn approve(&self, question: &Question) -> Approval {
        if self.yes {
            return Approval::Yes;
        }
        if !Prompt::can_ask(self.yes) {
            return Approval::CannotAsk;
        }
        answered(Confirm::new().with_prompt(&question.text).default(false).interact_opt())
    }
}

fn answered(answer: dialoguer::Result<Option<bool>>) -> Approval {
    match answer {
        Ok(Some(true)) => Approval::Yes,
        Ok(_) => Approval::No,
        Err(dialoguer::Error::IO(e)) if e.kind() == ErrorKind::Interrupted => Approval::Interrupted,
        Err(_) => Approval::CannotAsk,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_at_the_question_is_no_missing_terminal() {
        let failed = |kind: ErrorKind| answered(Err(dialoguer::Error::IO(kind.into())));
        assert_eq!(failed(ErrorKind::Interrupted), Approval::Interrupted);
        assert_eq!(failed(ErrorKind::NotConnected), Approval::CannotAsk);
        assert_eq!([answered(Ok(Some(true))), answered(Ok(None))], [Approval::Yes, Approval::No]);
    }
}
