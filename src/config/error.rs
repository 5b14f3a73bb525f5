//! What is wrong with a configuration: where, why, and what to write instead.

use std::fmt;

/// One finding in one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file's name as the caller gave it; `-D` for a define.
    pub file: String,
    /// The line, counted from 1, where there is one.
    pub line: Option<usize>,
    /// The key it is about.
    pub key: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Problem {
    /// A finding about a whole file.
    pub fn in_file(file: &str, reason: impl Into<String>) -> Problem {
        Problem { file: file.into(), line: None, key: None, reason: reason.into(), fix: None }
    }

    /// At this line.
    pub fn at(mut self, line: usize) -> Problem {
        self.line = Some(line);
        self
    }

    /// About this key.
    pub fn key(mut self, key: &str) -> Problem {
        self.key = Some(key.into());
        self
    }

    /// With this way out.
    pub fn fix(mut self, fix: impl Into<String>) -> Problem {
        self.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": ")?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{}", self.reason)?;
        if let Some(fix) = &self.fix {
            write!(f, "; {fix}")?;
        }
        Ok(())
    }
}

/// Everything that keeps a configuration from being used, and the warnings found on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one.
    pub errors: Vec<Problem>,
    /// Any number.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
