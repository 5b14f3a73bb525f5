//! A node's systemd unit: written and enabled, the one it had before taken away, and a user's units kept
//! alive when that user has logged out.

use std::fs;
use std::process::Command;

use super::apply::{Done, at, file};
use super::control::systemctl;
use super::probe::{file_of_unit, unit_file};
use super::protocol::{FileSpec, NodeSpec};
use super::state::{self, Unit};

/// Makes the node's unit so; the unit that it had under another name or scope goes.
pub(super) fn settle(node: &NodeSpec, content: Option<&str>, changed: &mut Vec<String>) -> Done<()> {
    let before = units_before(node);
    if let Some(content) = content {
        install(node, content, changed)?;
    }
    // Last: whatever fails above leaves the old one to start the server at boot.
    for old in before {
        let same = content.is_some() && old.name == node.unit && old.of_user == node.user_unit;
        if !same && retire(node, &old)? {
            changed.push(format!("disabled and removed {}", old.name));
        }
    }
    Ok(())
}

fn install(node: &NodeSpec, content: &str, changed: &mut Vec<String>) -> Done<()> {
    if node.user_unit && linger()? {
        changed.push("enabled lingering, so that it runs when nobody is logged in".into());
    }
    let unit = FileSpec { path: unit_file(node), content: content.to_owned(), mode: 0o644 };
    let written = file(&unit, None)?;
    if written {
        systemctl(node.user_unit, &["daemon-reload"])?;
    }
    // An earlier run may have ended between the two.
    if written || systemctl(node.user_unit, &["is-enabled", &node.unit]).is_err() {
        systemctl(node.user_unit, &["enable", &node.unit])?;
        changed.push(format!("wrote and enabled {}", unit.path));
    }
    Ok(())
}

/// The units that this node was deployed with and runs in.
fn units_before(node: &NodeSpec) -> Vec<Unit> {
    let deployed = fs::read_to_string(node.node_file()).ok().and_then(|text| NodeSpec::from_node_file(&text));
    let deployed =
        deployed.filter(|d| d.systemd == Some(true)).map(|d| Unit { name: d.unit, of_user: d.user_unit });
    // Earlier releases left only what the server believed itself.
    let running = state::running(&node.state_file()).and_then(|s| {
        let of_user = s.user_unit.unwrap_or(node.user_unit);
        s.unit.map(|name| Unit { name, of_user })
    });
    let mut out: Vec<Unit> = deployed.into_iter().chain(running).collect();
    out.dedup();
    out
}

/// Disables a unit and removes its file, if that starts this node's server; what runs in it goes on.
fn retire(node: &NodeSpec, old: &Unit) -> Done<bool> {
    let path = file_of_unit(&old.name, old.of_user);
    let program = format!("{}/bin/zkctl", node.dir).replace('%', "%%");
    let ours = old.name.starts_with("zkctl-")
        && fs::read_to_string(&path).is_ok_and(|text| {
            text.lines().any(|line| line.starts_with("ExecStart=") && line.contains(&program))
        });
    if !ours {
        return Ok(false);
    }
    systemctl(old.of_user, &["disable", &old.name])?;
    at(&path, "removing", fs::remove_file(&path))?;
    systemctl(old.of_user, &["daemon-reload"])?;
    Ok(true)
}

/// Without lingering, systemd ends a user's servers with that user's last session, which is ours. Whether it
/// had to be enabled.
fn linger() -> Done<bool> {
    let me = rustix::process::geteuid().as_raw().to_string();
    let shown = Command::new("loginctl").args(["show-user", &me, "--property=Linger"]).output();
    if shown.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).trim() == "Linger=yes") {
        return Ok(false);
    }
    let why = match Command::new("loginctl").args(["enable-linger", &me]).output() {
        Ok(output) if output.status.success() => return Ok(true),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!(
        "service.scope is user, but user {me} does not linger here: its servers would end when it logs out. \
         Enabling that failed: {why}; run `loginctl enable-linger {me}` as root on this host"
    ))
}
