//! The Java properties dialect, as `java.util.Properties.load` reads it, with line numbers.
//!
//! Deliberately absent: what a key means. Unlike Java, text is UTF-8 and duplicates are kept in
//! sight: the last one wins, and callers can say which lines lost.

use super::error::Problem;

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, escapes resolved, blanks around it removed.
    pub key: String,
    /// The value, escapes resolved, blanks around it removed.
    pub value: String,
    /// The line where it starts, counted from 1.
    pub line: usize,
}

/// A properties file, in the order of its lines, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// What holds.
    pub entries: Vec<Entry>,
    /// What a later line of the same key replaced, with that line.
    pub replaced: Vec<(Entry, usize)>,
}

/// A configuration file's text: UTF-8, or else Latin-1, as Java reads properties (comments in other
/// encodings come out strange and hurt nobody).
pub fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect())
}

impl Properties {
    /// Reads `text`. A malformed `\u` escape is the dialect's only error.
    pub fn parse(file: &str, text: &str) -> Result<Properties, Problem> {
        let mut out = Properties::default();
        for (line, logical) in logical_lines(text) {
            let (key, value) = split(&logical);
            let entry = Entry {
                key: unescape(key).map_err(|e| malformed(file, line, e))?.trim().to_owned(),
                value: unescape(value).map_err(|e| malformed(file, line, e))?.trim().to_owned(),
                line,
            };
            if let Some(at) = out.entries.iter().position(|e| e.key == entry.key) {
                let lost = out.entries.remove(at);
                out.replaced.push((lost, line));
            }
            out.entries.push(entry);
        }
        Ok(out)
    }

    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }
}

fn malformed(file: &str, line: usize, escape: String) -> Problem {
    Problem::in_file(file, format!("`{escape}` is no \\u escape")).at(line).fix(
        "four hexadecimal digits follow \\u; a literal backslash is written twice, and paths take forward slashes",
    )
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Whether an odd number of backslashes ends the line, so that the next one continues it.
fn continues(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// Lines joined at continuations, comments and empty lines left out, with the first line's number.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, natural) in unified.split('\n').enumerate() {
        let natural = natural.trim_start_matches(is_blank);
        if open.is_none() && (natural.is_empty() || natural.starts_with(['#', '!'])) {
            continue;
        }
        let (line, mut logical) = open.take().unwrap_or((number + 1, String::new()));
        if continues(natural) {
            logical.push_str(&natural[..natural.len() - 1]);
            open = Some((line, logical));
        } else {
            logical.push_str(natural);
            out.push((line, logical));
        }
    }
    out.extend(open);
    out.retain(|(_, logical)| !logical.is_empty());
    out
}

/// Key and value, still escaped: cut at the first unescaped `=`, `:` or blank.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        if !escaped && (c == '=' || c == ':' || is_blank(c)) {
            end = at;
            break;
        }
        escaped = c == '\\' && !escaped;
    }
    let rest = line[end..].trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Result<String, String> {
    // UTF-16 units, since \u escapes may come as surrogate pairs.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let resolved = match c {
            '\\' => match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let valid = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| valid);
                    units.push(unit.ok_or_else(|| format!("\\u{digits}"))?);
                    continue;
                }
                Some(other) => other,
            },
            other => other,
        };
        units.extend_from_slice(resolved.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        let parsed = Properties::parse("zoo.cfg", text).unwrap();
        parsed.entries.into_iter().map(|e| (e.key, e.value, e.line)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{all:?}");
        let (key, value, _) = all.remove(0);
        (key, value)
    }

    #[test]
    fn every_separator() {
        for text in ["a=b", "a:b", "a b", "a = b", "a : b", "a\tb", "  a=b", "a=b  ", "a\u{c}=\tb"] {
            assert_eq!(one(text), ("a".into(), "b".into()), "{text:?}");
        }
        assert_eq!(one("a"), ("a".into(), String::new()));
        assert_eq!(one("a="), ("a".into(), String::new()));
        assert_eq!(one("a==b"), ("a".into(), "=b".into()));
        assert_eq!(one("server.3:h:1:2:observer"), ("server.3".into(), "h:1:2:observer".into()));
    }

    #[test]
    fn comments_continuations_and_line_ends() {
        let text = "# one\r\n! two\r\n\r\na = b\\\r\n   c\\\n# not a comment\rd=e\\\\\nf=\\#g # h";
        assert_eq!(
            pairs(text),
            [
                ("a".into(), "bc# not a comment".into(), 4),
                ("d".into(), "e\\".into(), 7),
                ("f".into(), "#g # h".into(), 8)
            ]
        );
    }

    #[test]
    fn escapes() {
        assert_eq!(one(r"a\ b\=c=\t\u0041\:\ud83d\ude00"), ("a b=c".into(), "A:\u{1f600}".into()));
        assert_eq!(one(r"a=C:\data"), ("a".into(), "C:data".into()));
        let error = Properties::parse("zoo.cfg", "ok=1\ndataDir=C:\\users\\zk").unwrap_err();
        assert_eq!((error.line, error.file.as_str()), (Some(2), "zoo.cfg"));
        assert!(error.to_string().contains("\\users"), "{error}");
    }

    #[test]
    fn the_last_of_a_key_wins_and_the_loser_is_kept() {
        let parsed = Properties::parse("f", "a=1\nb=2\na=3").unwrap();
        assert_eq!(parsed.get("a").map(|e| (e.value.as_str(), e.line)), Some(("3", 3)));
        assert_eq!(parsed.replaced.len(), 1);
        assert_eq!((parsed.replaced[0].0.line, parsed.replaced[0].1), (1, 3));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z=:\\\\# \n\tu0-9!]{0,80}") {
            let _ = Properties::parse("f", &text);
        }

        #[test]
        fn plain_pairs_survive(key in "[a-zA-Z0-9.]{1,20}", value in "[a-zA-Z0-9/;:.,]{0,30}") {
            let parsed = Properties::parse("f", &format!("{key}={value}")).unwrap();
            proptest::prop_assert_eq!(&parsed.entries[0].key, &key);
            proptest::prop_assert_eq!(&parsed.entries[0].value, &value);
        }
    }
}
