//! A problem in an inventory, shown with its line and a caret under what it is about.

use std::fmt;
use std::ops::Range;

use super::spans::line_and_column;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryProblem {
    /// The file as the user named it.
    pub file: String,
    /// Line and column, counted from 1, where they are known.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    snippet: Option<Snippet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    line: String,
    before: String,
    width: usize,
}

impl InventoryProblem {
    pub(super) fn new(
        file: &str,
        text: &str,
        span: Option<Range<usize>>,
        message: String,
        help: Option<String>,
    ) -> InventoryProblem {
        let Some(span) = span else {
            return InventoryProblem { file: file.into(), place: None, message, help, snippet: None };
        };
        let place = line_and_column(text, span.start);
        let start = text[..span.start].rfind('\n').map_or(0, |n| n + 1);
        let line = text[start..].lines().next().unwrap_or("").to_owned();
        let before = text[start..span.start].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let shown = text[span].lines().next().unwrap_or("").chars().count().max(1);
        let snippet = Some(Snippet { line, before, width: shown });
        InventoryProblem { file: file.into(), place: Some(place), message, help, snippet }
    }
}

impl fmt::Display for InventoryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let (Some(snippet), Some((line, _))) = (&self.snippet, self.place) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            write!(f, "\n {number} | {}", snippet.line)?;
            write!(f, "\n {margin} | {}{}", snippet.before, "^".repeat(snippet.width))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n   = {help}")?;
        }
        Ok(())
    }
}
