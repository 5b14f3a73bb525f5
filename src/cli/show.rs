//! Plans, status tables and JSON as text.

use std::path::Path;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::json;

use crate::ops::failure::Failure;
use crate::ops::plan::{Action, ControlPlan, NodePlan, Plan};
use crate::ops::run::title;
use crate::ops::status::{NodeState, Row, Status, duration};
use crate::ops::verbs::Rendering;

fn paint(colour: bool, code: &str, text: &str) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A plan for people.
pub(super) fn plan(plan: &Plan, colour: bool) -> String {
    let mut out = String::new();
    if plan.refusals.is_empty() && plan.is_empty() {
        return "nothing to change: every node is as the inventory says\n".into();
    }
    for node in plan.nodes.iter().filter(|n| n.action != Action::None || n.upload) {
        out.push_str(&format!("{}: {}\n", paint(colour, "1", &node.node), describe(node)));
        for file in &node.files {
            if file.new {
                out.push_str(&format!("  new {}\n", file.path));
                continue;
            }
            for line in file.diff.lines() {
                let shown = match line.as_bytes().first() {
                    Some(b'+') => paint(colour, "32", line),
                    Some(b'-') => paint(colour, "31", line),
                    _ => line.to_owned(),
                };
                out.push_str(&format!("  {shown}\n"));
            }
        }
    }
    for note in &plan.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    if plan.refusals.is_empty() {
        out.push_str("steps:\n");
        for (i, step) in plan.steps.iter().enumerate() {
            out.push_str(&format!("  {}. {}\n", i + 1, title(step)));
        }
    }
    out
}

fn describe(node: &NodePlan) -> String {
    let what = match &node.action {
        Action::None => "nothing to do".into(),
        Action::Configure { why } => format!("to be configured ({})", why.join(", ")),
        Action::Start { why } => format!("to be started ({})", why.join(", ")),
        Action::Restart { why } => format!("to be restarted ({})", why.join(", ")),
    };
    match (&node.replaces, node.upload) {
        (Some(old), _) => format!("{what}; replaces release {old}"),
        (None, true) => format!("{what}; gets the program"),
        (None, false) => what,
    }
}

/// Whether a column is shown without `--wide`.
const COLUMNS: &[(&str, bool)] = &[
    ("NODE", false),
    ("ID", false),
    ("HOST", false),
    ("CLIENT", true),
    ("QUORUM", true),
    ("ELECTION", true),
    ("ROLE", false),
    ("MODE", false),
    ("STATE", false),
    ("WRITES", false),
    ("ZXID", false),
    ("CLIENTS", false),
    ("LATENCY", false),
    ("VERSION", false),
    ("UPTIME", false),
];

/// What a narrow terminal does without, in this order.
const SPARED: [&str; 6] = ["VERSION", "LATENCY", "CLIENTS", "UPTIME", "HOST", "ROLE"];

/// A status for people, no wider than `width` where columns can be spared for that.
pub(super) fn status(status: &Status, wide: bool, colour: bool, width: Option<u16>) -> String {
    let mut shown: Vec<usize> =
        COLUMNS.iter().enumerate().filter(|(_, (_, only_wide))| wide || !only_wide).map(|(i, _)| i).collect();
    let fits = |shown: &[usize]| {
        let widest = table(status, shown, false).lines().map(|line| line.trim_end().chars().count()).max();
        width.is_none_or(|width| widest.unwrap_or(0) <= usize::from(width))
    };
    for spared in SPARED.iter().filter(|_| !wide) {
        if fits(&shown) {
            break;
        }
        shown.retain(|i| COLUMNS[*i].0 != *spared);
    }
    let mut out: String =
        table(status, &shown, colour).lines().map(|line| format!("{}\n", line.trim_end())).collect();
    for row in status.nodes.iter().filter(|r| r.remark.is_some()) {
        out.push_str(&format!("{}: {}\n", row.node, row.remark.as_deref().unwrap_or("")));
    }
    out.push_str(&format!("{}\n", status.summary));
    out
}

/// The width of the terminal that stdout is.
pub(super) fn terminal_width() -> Option<u16> {
    Table::new().width()
}

fn table(status: &Status, shown: &[usize], colour: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(shown.iter().map(|i| COLUMNS[*i].0));
    for row in &status.nodes {
        let cells = cells(row);
        table.add_row(shown.iter().map(|i| {
            let cell = Cell::new(&cells[*i]);
            let cell = if matches!(COLUMNS[*i].0, "ID" | "CLIENTS") {
                cell.set_alignment(CellAlignment::Right)
            } else {
                cell
            };
            match COLUMNS[*i].0 {
                "STATE" if colour => cell.fg(tint(row.state)),
                _ => cell,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn tint(state: NodeState) -> Color {
    match state {
        NodeState::Serving => Color::Green,
        NodeState::Stopped | NodeState::NotDeployed => Color::Yellow,
        _ => Color::Red,
    }
}

/// A row's cells, in the order of `COLUMNS`.
fn cells(row: &Row) -> Vec<String> {
    let dash = || "-".to_owned();
    let writes = match (row.writes, row.write_ms) {
        (Some(true), Some(ms)) => format!("ok {ms}ms"),
        (Some(true), None) => "ok".into(),
        (Some(false), _) => "no".into(),
        (None, _) => dash(),
    };
    let latency = row.latency_ms.map(|[min, avg, max]| format!("{min}/{}/{max}", trimmed(avg)));
    // The revision behind the version is for --wide and JSON.
    let version = row.version.as_ref().map(|v| match v.split_once('-') {
        Some((number, rest)) if rest.len() >= 40 => number.to_owned(),
        _ => v.clone(),
    });
    vec![
        row.node.clone(),
        row.id.to_string(),
        row.host.clone(),
        row.client_port.to_string(),
        row.quorum_port.to_string(),
        row.election_port.to_string(),
        row.role.clone(),
        row.mode.clone().unwrap_or_else(dash),
        row.state.word().into(),
        writes,
        row.zxid.clone().unwrap_or_else(dash),
        row.clients.map(|n| n.to_string()).unwrap_or_else(dash),
        latency.unwrap_or_else(dash),
        version.unwrap_or_else(dash),
        row.uptime_ms.map(duration).unwrap_or_else(dash),
    ]
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Any result as JSON.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value)
        .map_or_else(|e| format!("{{\"error\":\"{e}\"}}\n"), |text| format!("{text}\n"))
}

/// What came of a change, as JSON; with why it was not made.
pub(super) fn outcome_json(
    plan: &impl Serialize,
    done: bool,
    status: Option<&Status>,
    refused: Option<&Failure>,
) -> String {
    let mut value = json!({ "schema": 1, "plan": plan, "done": done, "status": status });
    if let (Some(failure), Some(object)) = (refused, value.as_object_mut()) {
        object.insert("error".into(), error(failure));
    }
    json(&value)
}

/// What `start`, `stop` and `restart` would do.
pub(super) fn control_plan(plan: &ControlPlan) -> String {
    if plan.refusals.is_empty() && plan.is_empty() {
        return "nothing to do\n".into();
    }
    let mut out: String = plan.notes.iter().map(|note| format!("note: {note}\n")).collect();
    if plan.refusals.is_empty() {
        out.push_str("steps:\n");
        for (i, step) in plan.steps.iter().enumerate() {
            out.push_str(&format!("  {}. {}\n", i + 1, step.title()));
        }
    }
    out
}

/// Rendered files as JSON; `path` where they were written.
pub(super) fn files_json(files: &[Rendering], to: Option<&Path>) -> String {
    let file = |f: &Rendering| {
        let path = to.map(|to| to.join(&f.name).display().to_string());
        json!({ "name": f.name.display().to_string(), "path": path, "content": f.content })
    };
    json(&json!({ "schema": 1, "files": files.iter().map(file).collect::<Vec<_>>() }))
}

/// A failure as JSON.
pub(super) fn failure_json(failure: &Failure) -> String {
    json(&json!({ "schema": 1, "error": error(failure) }))
}

fn error(failure: &Failure) -> serde_json::Value {
    let at = failure.at.as_ref();
    json!({
        "exit": failure.exit,
        "what": failure.what,
        "node": at.map(|(node, _)| node),
        "host": at.map(|(_, host)| host),
        "step": failure.step,
        "answer": failure.answer,
        "log": failure.log,
        "state": failure.state,
        "next": failure.next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::status::Health;

    #[test]
    fn a_narrow_terminal_gets_fewer_columns_and_no_broken_lines() {
        let row = |node: &str| Row {
            node: node.into(),
            id: 1,
            host: "192.168.10.126".into(),
            role: "participant".into(),
            mode: Some("follower".into()),
            state: NodeState::Serving,
            writes: Some(true),
            write_ms: Some(1),
            zxid: Some("0x100000006".into()),
            clients: Some(1),
            latency_ms: Some([0.0, 1.5, 3.0]),
            version: Some("3.9.5-zkctl.0.1.0".into()),
            uptime_ms: Some(1000),
            client_port: 2181,
            quorum_port: 2182,
            election_port: 2183,
            remark: None,
        };
        let all = Status {
            schema: 1,
            cluster: "c".into(),
            health: Health::Healthy,
            summary: "healthy".into(),
            nodes: vec![row("zk1"), row("zk2")],
        };
        let header = |width: Option<u16>| {
            let text = status(&all, false, false, width);
            let widest = text.lines().map(|l| l.chars().count()).max().unwrap();
            assert!(width.is_none_or(|w| widest <= w.into()), "{text}");
            text.lines().next().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        let whole = "NODE ID HOST ROLE MODE STATE WRITES ZXID CLIENTS LATENCY VERSION UPTIME";
        assert_eq!((header(None).as_str(), header(Some(200)).as_str()), (whole, whole));
        assert_eq!(header(Some(110)), "NODE ID HOST ROLE MODE STATE WRITES ZXID CLIENTS LATENCY UPTIME");
        assert_eq!(header(Some(80)), "NODE ID HOST ROLE MODE STATE WRITES ZXID");
        assert_eq!(header(Some(60)), "NODE ID MODE STATE WRITES ZXID");
        assert!(status(&all, true, false, Some(80)).starts_with("NODE  ID  HOST            CLIENT"));
    }
}
