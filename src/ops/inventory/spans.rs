//! Where things stand in a YAML text: a small parser that keeps positions, which serde_yaml does not.
//!
//! It reads what inventories are written in: block and flow collections, plain and quoted scalars,
//! block scalars, comments. Deliberately absent: anchors, tags, multi-line plain scalars. A text with
//! those still loads (serde_yaml makes the value); its problems then come without a position, and it
//! is not edited.

use std::ops::Range;

/// A value with its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    Map { pairs: Vec<Pair>, flow: bool },
    Seq { items: Vec<Tree>, flow: bool },
}

/// One `key: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Tree,
}

/// A step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A key that occurs twice in one mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    pub(super) key: String,
    pub(super) first: usize,
    pub(super) again: Range<usize>,
}

impl Tree {
    /// The value a path leads to; `None` where the text has nothing there.
    pub(super) fn at(&self, path: &[Step]) -> Option<&Tree> {
        match (path.split_first(), &self.kind) {
            (None, _) => Some(self),
            (Some((Step::Key(key), rest)), Kind::Map { pairs, .. }) => {
                pairs.iter().find(|p| p.key == *key)?.value.at(rest)
            }
            (Some((Step::Index(i), rest)), Kind::Seq { items, .. }) => items.get(*i)?.at(rest),
            _ => None,
        }
    }

    /// The key that a path ends in.
    pub(super) fn key_at(&self, path: &[Step]) -> Option<&Pair> {
        let (Step::Key(key), parent) = path.split_last()? else { return None };
        match &self.at(parent)?.kind {
            Kind::Map { pairs, .. } => pairs.iter().find(|p| p.key == *key),
            _ => None,
        }
    }

    /// Every key that occurs twice.
    pub(super) fn duplicates(&self) -> Vec<Duplicate> {
        let mut out = Vec::new();
        match &self.kind {
            Kind::Scalar => {}
            Kind::Seq { items, .. } => items.iter().for_each(|item| out.extend(item.duplicates())),
            Kind::Map { pairs, .. } => {
                for (i, pair) in pairs.iter().enumerate() {
                    if let Some(first) = pairs[..i].iter().find(|p| p.key == pair.key) {
                        out.push(Duplicate {
                            key: pair.key.clone(),
                            first: first.key_span.start,
                            again: pair.key_span.clone(),
                        });
                    }
                    out.extend(pair.value.duplicates());
                }
            }
        }
        out
    }
}

/// Line and column of a byte, counted from 1; columns count characters.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// Reads a text; `None` when it uses something that positions are not kept for.
pub(super) fn parse(text: &str) -> Option<Tree> {
    let mut cursor = Cursor { text, at: 0, depth: 0 };
    cursor.skip_space();
    if cursor.rest().starts_with("---") {
        cursor.at += 3;
        cursor.skip_space();
    }
    if cursor.is_done() {
        return None;
    }
    let tree = cursor.node(0)?;
    cursor.skip_space();
    cursor.is_done().then_some(tree)
}

/// Deeper nesting than any inventory has; a bound for hostile input.
const DEPTH_MAX: usize = 64;

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn is_done(&self) -> bool {
        self.at >= self.text.len()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn column(&self) -> usize {
        self.at - self.text[..self.at].rfind('\n').map_or(0, |n| n + 1)
    }

    /// Blanks on this line, and a comment if one follows them.
    fn skip_blanks(&mut self) {
        let rest = self.rest();
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let preceded = blanks > 0 || self.column() == 0;
        self.at += blanks;
        if preceded && self.peek() == Some('#') {
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    /// Blanks, comments and line ends.
    fn skip_space(&mut self) {
        loop {
            self.skip_blanks();
            match self.peek() {
                Some('\n') => self.at += 1,
                Some('\r') => self.at += 1,
                _ => return,
            }
        }
    }

    fn at_dash(&self) -> bool {
        let rest = self.rest();
        rest.starts_with('-') && rest[1..].chars().next().is_none_or(char::is_whitespace)
    }

    fn at_line_end(&self) -> bool {
        matches!(self.peek(), None | Some('\n' | '\r'))
    }

    fn node(&mut self, parent: usize) -> Option<Tree> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let tree = match self.peek()? {
            '[' => self.flow_seq(),
            '{' => self.flow_map(),
            '&' | '*' | '!' | '?' => None,
            '|' | '>' => self.block_scalar(parent),
            _ if self.at_dash() => self.block_seq(),
            _ => self.block_map_or_scalar(),
        };
        self.depth -= 1;
        tree
    }

    fn block_seq(&mut self) -> Option<Tree> {
        let (start, column) = (self.at, self.column());
        let mut items = Vec::new();
        let mut end = self.at;
        while !self.is_done() && self.column() == column && self.at_dash() {
            self.at += 1;
            let here = self.at;
            self.skip_blanks();
            if self.at_line_end() {
                self.skip_space();
            }
            let item = if !self.is_done() && self.column() > column {
                self.node(column)?
            } else {
                Tree { kind: Kind::Scalar, span: here..here }
            };
            end = item.span.end;
            items.push(item);
            self.skip_space();
        }
        Some(Tree { kind: Kind::Seq { items, flow: false }, span: start..end })
    }

    fn block_map_or_scalar(&mut self) -> Option<Tree> {
        let (start, column) = (self.at, self.column());
        let (first, first_span) = self.scalar(false)?;
        if !self.at_colon() {
            return Some(Tree { kind: Kind::Scalar, span: first_span });
        }
        let mut pairs = Vec::new();
        let (mut key, mut key_span) = (first, first_span);
        loop {
            self.at += 1;
            let value = self.block_value(column)?;
            let end = value.span.end;
            pairs.push(Pair { key, key_span, value });
            self.skip_space();
            if self.is_done() || self.column() < column || self.at_dash() {
                return Some(Tree { kind: Kind::Map { pairs, flow: false }, span: start..end });
            }
            if self.column() != column {
                return None;
            }
            (key, key_span) = self.scalar(false)?;
            if !self.at_colon() {
                return None;
            }
        }
    }

    /// What follows `key:` in a block mapping at `column`.
    fn block_value(&mut self, column: usize) -> Option<Tree> {
        let here = self.at;
        self.skip_blanks();
        if !self.at_line_end() {
            if matches!(self.peek(), Some('[' | '{' | '|' | '>' | '&' | '*' | '!')) {
                return self.node(column);
            }
            let (_, span) = self.scalar(false)?;
            return (!self.at_colon()).then_some(Tree { kind: Kind::Scalar, span });
        }
        self.skip_space();
        let deeper = !self.is_done() && self.column() > column;
        let same_level_seq = !self.is_done() && self.column() == column && self.at_dash();
        if deeper || same_level_seq {
            return self.node(column);
        }
        Some(Tree { kind: Kind::Scalar, span: here..here })
    }

    /// Whether a colon ends a key here.
    fn at_colon(&mut self) -> bool {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches([' ', '\t']);
        let is = trimmed.starts_with(':')
            && trimmed[1..].chars().next().is_none_or(|c| c.is_whitespace() || matches!(c, ',' | '}' | ']'));
        if is {
            self.at += rest.len() - trimmed.len();
        }
        is
    }

    fn scalar(&mut self, flow: bool) -> Option<(String, Range<usize>)> {
        match self.peek()? {
            quote @ ('"' | '\'') => self.quoted(quote),
            _ => self.plain(flow),
        }
    }

    fn plain(&mut self, flow: bool) -> Option<(String, Range<usize>)> {
        let start = self.at;
        let rest = self.rest();
        let mut end = rest.len();
        let mut before = ' ';
        for (i, c) in rest.char_indices() {
            let after = rest[i + c.len_utf8()..].chars().next();
            let colon = c == ':'
                && after
                    .is_none_or(|a| a.is_whitespace() || (flow && matches!(a, ',' | '[' | ']' | '{' | '}')));
            let comment = c == '#' && before.is_whitespace() && i > 0;
            if colon
                || comment
                || matches!(c, '\n' | '\r')
                || (flow && matches!(c, ',' | '[' | ']' | '{' | '}'))
            {
                end = i;
                break;
            }
            before = c;
        }
        let word = rest[..end].trim_end();
        if word.is_empty() {
            return None;
        }
        self.at = start + word.len();
        Some((word.to_owned(), start..self.at))
    }

    fn quoted(&mut self, quote: char) -> Option<(String, Range<usize>)> {
        let start = self.at;
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' if quote == '"' => out.push(chars.next()?.1),
                c if c == quote => {
                    if quote == '\'' && chars.peek().is_some_and(|(_, n)| *n == '\'') {
                        chars.next();
                        out.push('\'');
                        continue;
                    }
                    self.at = start + i + 1;
                    return Some((out, start..self.at));
                }
                c => out.push(c),
            }
        }
        None
    }

    fn block_scalar(&mut self, parent: usize) -> Option<Tree> {
        let start = self.at;
        self.at += self.rest().find('\n').map_or(self.rest().len(), |n| n + 1);
        let mut end = self.at;
        while !self.is_done() {
            let line_end = self.rest().find('\n').map_or(self.rest().len(), |n| n + 1);
            let line = &self.rest()[..line_end];
            let indent = line.len() - line.trim_start_matches(' ').len();
            if !line.trim().is_empty() && indent <= parent {
                break;
            }
            self.at += line_end;
            if !line.trim().is_empty() {
                end = self.at - usize::from(line.ends_with('\n'));
            }
        }
        Some(Tree { kind: Kind::Scalar, span: start..end })
    }

    fn flow_seq(&mut self) -> Option<Tree> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_space();
            match self.peek()? {
                ']' => {
                    self.at += 1;
                    return Some(Tree { kind: Kind::Seq { items, flow: true }, span: start..self.at });
                }
                ',' => self.at += 1,
                _ => items.push(self.flow_value()?),
            }
        }
    }

    fn flow_map(&mut self) -> Option<Tree> {
        let start = self.at;
        self.at += 1;
        let mut pairs = Vec::new();
        loop {
            self.skip_space();
            match self.peek()? {
                '}' => {
                    self.at += 1;
                    return Some(Tree { kind: Kind::Map { pairs, flow: true }, span: start..self.at });
                }
                ',' => self.at += 1,
                _ => {
                    let (key, key_span) = self.scalar(true)?;
                    if !self.at_colon() {
                        return None;
                    }
                    self.at += 1;
                    let here = self.at;
                    self.skip_space();
                    let value = if matches!(self.peek()?, ',' | '}') {
                        Tree { kind: Kind::Scalar, span: here..here }
                    } else {
                        self.flow_value()?
                    };
                    pairs.push(Pair { key, key_span, value });
                }
            }
        }
    }

    fn flow_value(&mut self) -> Option<Tree> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let tree = match self.peek()? {
            '[' => self.flow_seq()?,
            '{' => self.flow_map()?,
            '&' | '*' | '!' => return None,
            _ => {
                let (_, span) = self.scalar(true)?;
                Tree { kind: Kind::Scalar, span }
            }
        };
        self.depth -= 1;
        Some(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# head\ncluster: prod # name\nssh:\n  user: 'o''p'\n  jump: [a, \"b:c\"]\nnodes:\n\
        - name: zk1\n  id: 1\n-   { name: zk2, id: 2, config: { a.b: 1 } }\n# tail\nnote: |\n  x: y\nend: z\n";

    fn key(k: &str) -> Step {
        Step::Key(k.into())
    }

    fn at<'a>(text: &'a str, path: &[Step]) -> &'a str {
        let tree = parse(text).unwrap();
        &text[tree.at(path).unwrap().span.clone()]
    }

    #[test]
    fn values_are_found_where_they_stand() {
        assert_eq!(at(TEXT, &[key("cluster")]), "prod");
        assert_eq!(at(TEXT, &[key("ssh"), key("user")]), "'o''p'");
        assert_eq!(at(TEXT, &[key("ssh"), key("jump"), Step::Index(1)]), "\"b:c\"");
        assert_eq!(at(TEXT, &[key("nodes"), Step::Index(0), key("id")]), "1");
        assert_eq!(at(TEXT, &[key("nodes"), Step::Index(1), key("config"), key("a.b")]), "1");
        assert_eq!(at(TEXT, &[key("nodes"), Step::Index(0)]), "name: zk1\n  id: 1");
        assert_eq!(at(TEXT, &[key("end")]), "z");
        let tree = parse(TEXT).unwrap();
        let pair = tree.key_at(&[key("nodes"), Step::Index(1), key("name")]).unwrap();
        assert_eq!(line_and_column(TEXT, pair.key_span.start), (9, 7));
    }

    #[test]
    fn duplicates_are_seen() {
        let text = "a: 1\nb: {x: 1, x: 2}\na: 3\n";
        let found = parse(text).unwrap().duplicates();
        let keys: Vec<&str> = found.iter().map(|d| d.key.as_str()).collect();
        assert_eq!(keys, ["x", "a"]);
        assert_eq!(line_and_column(text, found[1].again.start), (3, 1));
    }

    #[test]
    fn what_positions_are_not_kept_for_is_left_alone() {
        for text in ["a: &x 1\nb: *x\n", "a: !tag 1\n", "a: one\n  two\n", "", "# nothing\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_ends(text in "[a-c:{}\\[\\], \n#\"'|-]{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_it_reads_serde_yaml_reads_alike(keys in proptest::collection::btree_map("[a-z]{1,6}", "[a-z0-9]{1,6}", 1..6)) {
            let text: String = keys.iter().map(|(k, v)| format!("{k}: {v}\n")).collect();
            let tree = parse(&text).unwrap();
            for (k, v) in &keys {
                let span = tree.at(&[Step::Key(k.clone())]).unwrap().span.clone();
                proptest::prop_assert_eq!(&text[span], v.as_str());
            }
        }
    }
}
