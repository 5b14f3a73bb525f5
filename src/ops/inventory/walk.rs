//! Walking a YAML value with its path at hand, so that each problem gets a position.

use std::cell::RefCell;

use serde_yaml::Value;

use super::problem::InventoryProblem;
use super::spans::{Step, Tree};
use crate::config::nearest;

/// The text being read and what was found so far.
pub(super) struct Document<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) tree: Option<Tree>,
    pub(super) problems: RefCell<Vec<InventoryProblem>>,
    pub(super) warnings: RefCell<Vec<InventoryProblem>>,
}

/// A value and the way to it.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) value: &'a Value,
    pub(super) path: Vec<Step>,
}

impl<'a> At<'a> {
    fn make(&self, on_key: bool, message: String, help: Option<String>) -> InventoryProblem {
        let document = self.document;
        let span = document.tree.as_ref().and_then(|tree| {
            let key = tree.key_at(&self.path).map(|p| p.key_span.clone());
            let value = tree.at(&self.path).map(|t| t.span.clone()).filter(|s| !s.is_empty());
            if on_key { key.or(value) } else { value.or(key) }
        });
        InventoryProblem::new(document.file, document.text, span, message, help)
    }

    /// Something is wrong with this value.
    pub(super) fn problem(&self, message: impl Into<String>, help: Option<String>) {
        self.document.problems.borrow_mut().push(self.make(false, message.into(), help));
    }

    /// Something is wrong with this value's key.
    pub(super) fn key_problem(&self, message: impl Into<String>, help: Option<String>) {
        self.document.problems.borrow_mut().push(self.make(true, message.into(), help));
    }

    /// Something is worth a second look.
    pub(super) fn warning(&self, message: impl Into<String>, help: Option<String>) {
        self.document.warnings.borrow_mut().push(self.make(false, message.into(), help));
    }

    /// The value under a key; `None` when absent or null.
    pub(super) fn get(&self, key: &str) -> Option<At<'a>> {
        let value = self.value.get(key).filter(|v| !v.is_null())?;
        let mut path = self.path.clone();
        path.push(Step::Key(key.into()));
        Some(At { document: self.document, value, path })
    }

    /// Whether it is a mapping with none but these keys; each other key is a problem.
    pub(super) fn expect_keys(&self, known: &[&str]) -> bool {
        let Value::Mapping(mapping) = self.value else {
            self.problem("a mapping is expected here", Some(format!("with the keys {}", known.join(", "))));
            return false;
        };
        for key in mapping.keys() {
            let name = key.as_str().map_or_else(|| plain(key).unwrap_or_default(), str::to_owned);
            if !known.contains(&name.as_str()) {
                let help = nearest(&name, known.iter().copied())
                    .map(|k| format!("did you mean `{k}`?"))
                    .unwrap_or_else(|| format!("known keys: {}", known.join(", ")));
                let mut path = self.path.clone();
                path.push(Step::Key(name.clone()));
                let at = At { document: self.document, value: self.value, path };
                at.key_problem(format!("unknown key `{name}`"), Some(help));
            }
        }
        true
    }

    /// The entries of a mapping, keys as text.
    pub(super) fn entries(&self) -> Vec<(String, At<'a>)> {
        let Value::Mapping(mapping) = self.value else {
            self.problem("a mapping is expected here", None);
            return Vec::new();
        };
        mapping
            .iter()
            .filter_map(|(key, value)| {
                let name = plain(key)?;
                let mut path = self.path.clone();
                path.push(Step::Key(name.clone()));
                Some((name, At { document: self.document, value, path }))
            })
            .collect()
    }

    /// The items of a sequence.
    pub(super) fn items(&self) -> Vec<At<'a>> {
        let Value::Sequence(items) = self.value else {
            self.problem("a list is expected here", None);
            return Vec::new();
        };
        let at = |(i, value)| {
            let mut path = self.path.clone();
            path.push(Step::Index(i));
            At { document: self.document, value, path }
        };
        items.iter().enumerate().map(at).collect()
    }

    /// A scalar as text.
    pub(super) fn text(&self) -> Option<String> {
        let text = plain(self.value);
        if text.is_none() {
            self.problem("a plain value is expected here", None);
        }
        text
    }

    /// The text under a key, if there is any.
    pub(super) fn text_of(&self, key: &str) -> Option<String> {
        self.get(key)?.text()
    }

    /// A whole number in a range.
    pub(super) fn number(&self, range: std::ops::RangeInclusive<i64>, what: &str) -> Option<i64> {
        match self.value.as_i64().filter(|n| range.contains(n)) {
            Some(n) => Some(n),
            None => {
                let found = plain(self.value).unwrap_or_else(|| "this".into());
                let help = format!("{what} is a number from {} to {}", range.start(), range.end());
                self.problem(format!("`{found}` is no {what}"), Some(help));
                None
            }
        }
    }

    /// A port.
    pub(super) fn port(&self) -> Option<u16> {
        self.number(1..=65535, "port").and_then(|n| u16::try_from(n).ok())
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let found = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == found) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match nearest(&found, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of {}", known.join(", ")),
        };
        self.problem(format!("`{found}` is not known here"), Some(help));
        None
    }
}

/// A scalar as the text that goes to zoo.cfg.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}
