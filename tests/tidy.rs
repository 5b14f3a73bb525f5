//! The repository's own rules, as tests: floors, what each floor may name, lengths, module headings.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Module, its floor, and the tower it stands in: `b` both, `s` server, `o` operator.
const FLOORS: &[(&str, u8, char)] = &[
    ("zxid", 0, 'b'),
    ("ids", 0, 'b'),
    ("time", 0, 'b'),
    ("limits", 0, 'b'),
    ("keyed_map", 0, 'b'),
    ("prng", 0, 'b'),
    ("mutants", 0, 'b'),
    ("jute", 1, 'b'),
    ("wire", 1, 'b'),
    ("format", 1, 'b'),
    ("config", 1, 'b'),
    ("tree", 2, 's'),
    ("session", 2, 's'),
    ("auth", 2, 's'),
    ("pipeline", 2, 's'),
    ("zab", 3, 's'),
    ("storage", 4, 's'),
    ("server", 5, 's'),
    ("runtime", 6, 's'),
    ("client", 2, 'o'),
    ("tools", 2, 'o'),
    ("ops", 3, 'o'),
    ("cli", 7, 'b'),
];

/// Words that code below the runtime floor of the server's tower must not contain, and why.
const BANNED_IN_CORE: &[(&str, &str)] = &[
    ("std::net::Tcp", "sockets are the runtime's"),
    ("std::net::Udp", "sockets are the runtime's"),
    ("std::fs", "files are the runtime's"),
    ("std::thread", "threads are the runtime's"),
    ("std::time::", "clocks are the runtime's; use crate::time"),
    ("Instant::now", "clocks are the runtime's"),
    ("SystemTime", "clocks are the runtime's"),
    ("tokio", "the core is not async"),
    ("mio::", "sockets are the runtime's"),
    ("async fn", "the core is not async"),
    (".await", "the core is not async"),
    ("std::collections::HashMap", "use KeyedMap (no iteration, seeded) or BTreeMap"),
    ("std::collections::HashSet", "use KeyedMap (no iteration, seeded) or BTreeSet"),
    ("println!", "the core is silent; `serve` speaks through tracing in the runtime"),
    ("tracing::", "the core is silent; it says what happened in actions"),
];

const FILE_LINES_MAX: usize = 1000;
const FUNCTION_LINES_MAX: usize = 70;

/// Flat match tables that may be longer, by file.
const FLAT_TABLES: &[&str] = &[];

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files
        .into_iter()
        .map(|p| (p.strip_prefix(&root).unwrap().display().to_string(), fs::read_to_string(&p).unwrap()))
        .collect()
}

fn module_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

fn floor_of(module: &str) -> Option<(u8, char)> {
    FLOORS.iter().find(|f| f.0 == module).map(|f| (f.1, f.2))
}

/// Code without comments, string contents and `#[cfg(test)]` tails, line by line.
fn code_lines(text: &str) -> Vec<&str> {
    text.lines()
        .take_while(|l| l.trim() != "#[cfg(test)]")
        .map(|l| if l.trim_start().starts_with("//") { "" } else { l })
        .collect()
}

/// Every module that a line names behind `crate::`, a grouped import included.
fn named_modules(line: &str) -> Vec<String> {
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut out = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            start = true;
                            continue;
                        }
                        _ => {}
                    }
                    if start && !c.is_whitespace() {
                        out.push(word(&group[i..]));
                        start = false;
                    }
                }
            }
            None => out.push(word(rest)),
        }
    }
    out
}

#[test]
fn every_module_stands_on_a_floor_and_imports_only_downwards() {
    let mut wrong = Vec::new();
    for (file, text) in all_sources() {
        let module = module_of(&file);
        if module == "lib" || module == "main" {
            continue;
        }
        let Some((floor, tower)) = floor_of(module) else {
            wrong.push(format!("src/{file}: module `{module}` has no floor in tests/tidy.rs"));
            continue;
        };
        // Imports may span lines; joining them loses the line number but not the names.
        let joined = code_lines(&text).join(" ");
        for target in named_modules(&joined) {
            if target == module || target.is_empty() {
                continue;
            }
            let Some((below, target_tower)) = floor_of(&target) else { continue };
            let same_floor_state = floor == below && floor == 2 && tower == 's';
            let towers_meet = tower == 'b' || target_tower == 'b' || tower == target_tower;
            let downwards = below < floor || (floor == below && floor <= 1) || same_floor_state;
            if !downwards || !towers_meet {
                wrong.push(format!("src/{file} ({module}, floor {floor}) names {target} (floor {below})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_names_no_io_clock_thread_or_hidden_order() {
    let mut wrong = Vec::new();
    for (file, text) in all_sources() {
        match floor_of(module_of(&file)) {
            Some((floor, 's' | 'b')) if floor < 6 => {}
            _ => continue,
        }
        for (number, line) in code_lines(&text).iter().enumerate() {
            for (word, why) in BANNED_IN_CORE {
                if line.contains(word) {
                    wrong.push(format!("src/{file}:{}: `{word}`: {why}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<_> = all_sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| format!("src/{file} does not open with `//!`"))
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

#[test]
fn files_and_functions_stay_readable() {
    let mut wrong = Vec::new();
    for (file, text) in all_sources() {
        if FLAT_TABLES.contains(&file.as_str()) {
            continue;
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("src/{file}: {lines} lines, more than {FILE_LINES_MAX}"));
        }
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in code_lines(&text).iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            let is_fn = [
                "fn ",
                "pub fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "async fn ",
                "pub async fn ",
                "const fn ",
            ]
            .iter()
            .any(|p| head.starts_with(p));
            if is_fn && open.is_none() {
                open = Some((number, indent, head.chars().take(60).collect()));
            }
            if let Some((start, depth, name)) = &open {
                let closes = line.trim_end() == format!("{}}}", " ".repeat(*depth));
                if closes || (*start == number && head.ends_with(['}', ';'])) {
                    let length = number - start + 1;
                    if length > FUNCTION_LINES_MAX {
                        wrong.push(format!("src/{file}:{}: {length} lines: {name}", start + 1));
                    }
                    open = None;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_checker_sees_grouped_imports() {
    assert_eq!(named_modules("use crate::{ids::Sid, zab::{Role, Vote}, time};"), ["ids", "zab", "time"]);
    assert_eq!(named_modules("let x = crate::wire::Stat; crate::tree::f()"), ["wire", "tree"]);
}
