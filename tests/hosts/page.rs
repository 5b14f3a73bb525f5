//! docs/from-the-article.md, executed: its `console` blocks are commands with their output.

use crate::world::World;

/// A command with the lines it must print; `…` stands for anything, a line of it alone for any lines.
pub(crate) struct Shown {
    pub(crate) command: String,
    pub(crate) expected: Vec<String>,
}

/// The `console` blocks of a text.
pub(crate) fn blocks(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for part in text.split("```console\n").skip(1) {
        out.push(part.split("```").next().unwrap().to_owned());
    }
    out
}

/// The commands of a block.
pub(crate) fn commands(block: &str) -> Vec<Shown> {
    let mut out: Vec<Shown> = Vec::new();
    for line in block.lines() {
        if line.starts_with("$ ") || line.starts_with("zk1$ ") {
            out.push(Shown { command: line.into(), expected: Vec::new() });
        } else if let Some(last) = out.last_mut() {
            last.expected.push(line.into());
        }
    }
    out
}

/// What a command prints: progress first, then results, as a terminal shows it.
pub(crate) fn run(world: &World, command: &str) -> String {
    if let Some(line) = command.strip_prefix("$ zkctl ") {
        let done = world.zkctl(line);
        return format!("{}{}", done.stderr, done.stdout);
    }
    let line = command.strip_prefix("zk1$ ").unwrap();
    world.on("zk1", &format!("{{ {line}; }} 2>&1 || true"))
}

fn line_fits(expected: &str, found: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = found.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether the lines found are the lines expected.
pub(crate) fn fits(expected: &[String], found: &[&str]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if first == "…" => (0..=found.len()).any(|n| fits(rest, &found[n..])),
        Some((first, rest)) => found.first().is_some_and(|f| line_fits(first, f)) && fits(rest, &found[1..]),
    }
}
