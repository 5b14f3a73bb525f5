//! A command for a host, and what came of it.

use std::path::PathBuf;
use std::time::Duration;

/// What a command reads on its standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    #[default]
    None,
    /// These bytes.
    Bytes(Vec<u8>),
    /// This file of the operator's machine.
    File(PathBuf),
}

/// A program with its arguments; no shell is involved unless it is the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub words: Vec<String>,
    /// Its standard input.
    pub input: Input,
    /// How long it may run; it is ended on the host when that is over.
    pub timeout: Duration,
}

impl Command {
    /// A program with arguments and half a minute.
    pub fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Command {
        let words = words.into_iter().map(Into::into).collect();
        Command { words, input: Input::None, timeout: Duration::from_secs(30) }
    }

    /// A constant script for sh, with values as `$1`, `$2` and so on.
    pub fn script<S: Into<String>>(script: &str, values: impl IntoIterator<Item = S>) -> Command {
        let head = ["sh", "-c", script, "zkctl"].map(String::from);
        Command::new(head.into_iter().chain(values.into_iter().map(Into::into)))
    }

    /// With this input.
    pub fn input(mut self, input: Input) -> Command {
        self.input = input;
        self
    }

    /// With this much time.
    pub fn timeout(mut self, timeout: Duration) -> Command {
        self.timeout = timeout;
        self
    }

    /// The words that run on the host: as root where asked, ended by `timeout` when they hang.
    pub(super) fn wrapped(&self, sudo: bool, limited: bool) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        if sudo {
            out.extend(["sudo", "-n", "--"].map(String::from));
        }
        if limited {
            let seconds = self.timeout.as_secs().max(1);
            out.extend(["timeout".into(), "-k".into(), "2".into(), seconds.to_string()]);
        }
        out.extend(self.words.iter().cloned());
        out
    }
}

/// What a command left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it ended with 0.
    pub fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// What it said, for people: standard error, else standard output.
    pub fn said(&self) -> String {
        let err = String::from_utf8_lossy(&self.stderr);
        let text = if err.trim().is_empty() { String::from_utf8_lossy(&self.stdout) } else { err };
        let code = match self.code {
            Some(124) => "it did not end in time".to_owned(),
            Some(code) => format!("exit code {code}"),
            None => "ended by a signal".to_owned(),
        };
        if text.trim().is_empty() { code } else { format!("{} ({code})", text.trim()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_arguments() {
        let command = Command::script("echo \"$1\"", ["a b; rm -rf /"]).timeout(Duration::from_secs(3));
        assert_eq!(
            command.wrapped(true, true),
            [
                "sudo",
                "-n",
                "--",
                "timeout",
                "-k",
                "2",
                "3",
                "sh",
                "-c",
                "echo \"$1\"",
                "zkctl",
                "a b; rm -rf /"
            ]
        );
    }
}
