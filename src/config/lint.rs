//! Several zoo.cfg files checked as the one ensemble they are meant to be.
//!
//! Deliberately absent: reading the files, and anything that needs a host.

use std::collections::BTreeMap;

use super::error::Problem;
use super::server::{MyId, ServerConfig};
use super::{Draft, DynamicFile};
use crate::ids::Sid;

/// One file with what was found beside it.
#[derive(Clone, Debug)]
pub struct LintInput {
    /// The file's name.
    pub file: String,
    /// Its text.
    pub text: String,
    /// The text of `dataDir/myid`, when it could be read.
    pub my_id: Option<String>,
    /// Name and text of the dynamic file, when it could be read.
    pub dynamic: Option<(String, String)>,
}

/// What was found over all files.
#[derive(Clone, Debug, Default)]
pub struct LintReport {
    /// What keeps a server from starting, or the ensemble from forming.
    pub errors: Vec<Problem>,
    /// What is worth a second look.
    pub warnings: Vec<Problem>,
}

/// Checks each file alone, then all together.
pub fn lint(inputs: &[LintInput]) -> LintReport {
    let mut report = LintReport::default();
    let mut good: Vec<ServerConfig> = Vec::new();
    for input in inputs {
        let my_id = input.my_id.as_deref().map_or(MyId::Unchecked, MyId::Text);
        let dynamic = input.dynamic.as_ref().map(|(file, text)| DynamicFile { file, text });
        match Draft::read(&input.file, &input.text, &[]).finish(my_id, dynamic) {
            Ok((config, warnings)) => {
                report.warnings.extend(warnings);
                good.push(config);
            }
            Err(bad) => {
                report.errors.extend(bad.errors);
                report.warnings.extend(bad.warnings);
            }
        }
    }
    if let [first, rest @ ..] = good.as_slice() {
        for other in rest {
            compare(first, other, &mut report);
        }
    }
    same_places(&good, &mut report);
    dedup(&mut report.errors);
    dedup(&mut report.warnings);
    report
}

fn dedup(problems: &mut Vec<Problem>) {
    let mut seen = Vec::new();
    problems.retain(|p| {
        let new = !seen.contains(p);
        if new {
            seen.push(p.clone());
        }
        new
    });
}

/// The members of two files must be the same; times and limits should be.
fn compare(first: &ServerConfig, other: &ServerConfig, report: &mut LintReport) {
    for member in &first.members.members {
        let key = format!("server.{}", member.sid);
        match other.members.get(member.sid) {
            None => report.errors.push(
                Problem::in_file(&other.file, format!("is not listed here, but in {}", first.file))
                    .key(&key)
                    .fix(format!("add {key}={member}")),
            ),
            Some(same) if same == member => {}
            Some(same) => report.errors.push(
                Problem::in_file(&other.file, format!("is `{same}` here, but `{member}` in {}", first.file))
                    .key(&key)
                    .fix("every server must have the same list"),
            ),
        }
    }
    for member in &other.members.members {
        if first.members.get(member.sid).is_none() {
            let key = format!("server.{}", member.sid);
            report.errors.push(
                Problem::in_file(&first.file, format!("is not listed here, but in {}", other.file))
                    .key(&key)
                    .fix(format!("add {key}={member}")),
            );
        }
    }
    let values = |c: &ServerConfig| {
        [
            ("tickTime", c.tick_ms.to_string()),
            ("initLimit", c.init_limit.to_string()),
            ("syncLimit", c.sync_limit.to_string()),
            ("minSessionTimeout", c.min_session_ms.to_string()),
            ("maxSessionTimeout", c.max_session_ms.to_string()),
            ("jute.maxbuffer", c.jute_max_buffer.to_string()),
            ("DigestAuthenticationProvider.enabled", c.digest_auth.to_string()),
        ]
    };
    for ((key, a), (_, b)) in values(first).into_iter().zip(values(other)) {
        if a != b {
            report.warnings.push(
                Problem::in_file(&other.file, format!("is {b} here, but {a} in {}", first.file))
                    .key(key)
                    .fix("make it the same on every server"),
            );
        }
    }
}

/// Two servers must not share an id, nor, on one host, a port or a directory.
fn same_places(all: &[ServerConfig], report: &mut LintReport) {
    let mut ids: BTreeMap<Sid, &str> = BTreeMap::new();
    let mut ports: BTreeMap<(String, u16), &str> = BTreeMap::new();
    let mut dirs: BTreeMap<(String, String), &str> = BTreeMap::new();
    for config in all {
        let Some(sid) = config.my_sid else { continue };
        if let Some(other) = ids.insert(sid, &config.file) {
            let reason = format!("id {sid} is also the id of {other}");
            report.errors.push(Problem::in_file(&config.file, reason).fix("give each server its own myid"));
            continue;
        }
        let Some(me) = config.me() else { continue };
        let host = me.address().host.clone();
        if let Some(client) = &config.client
            && client.port != 0
            && let Some(other) = ports.insert((host.clone(), client.port), &config.file)
        {
            let reason = format!("port {} of {host} is also the client port of {other}", client.port);
            report.errors.push(
                Problem::in_file(&config.file, reason).key("clientPort").fix("give each server its own port"),
            );
        }
        if let Some(other) = dirs.insert((host.clone(), config.data_dir.clone()), &config.file) {
            let reason = format!("`{}` on {host} is also the directory of {other}", config.data_dir);
            report.errors.push(
                Problem::in_file(&config.file, reason)
                    .key("dataDir")
                    .fix("give each server its own directory"),
            );
        }
    }
}
