//! The member list: who is in the ensemble, who votes, and the text that peers exchange.

use std::fmt::Write as _;

use super::error::Problem;
use super::properties::Properties;
use super::server_line::{Member, Role};
use crate::ids::Sid;

/// The members of an ensemble and the version of that list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberList {
    /// Ascending by id, each id once.
    pub members: Vec<Member>,
    /// The zxid of the reconfiguration that made it; 0 for a static list.
    pub version: u64,
}

impl MemberList {
    /// Reads a dynamic file's or a peer's text: `server.N=` lines and perhaps `version=<hex>`.
    pub fn from_dynamic_text(file: &str, text: &str) -> Result<MemberList, Vec<Problem>> {
        let properties = Properties::parse(file, text).map_err(|e| vec![e])?;
        let mut errors = Vec::new();
        let mut list = MemberList::from_properties(file, &properties, &mut errors);
        for entry in &properties.entries {
            if entry.key == "version" {
                match u64::from_str_radix(&entry.value, 16) {
                    Ok(version) => list.version = version,
                    Err(_) => errors.push(
                        Problem::in_file(file, format!("`{}` is no hexadecimal number", entry.value))
                            .at(entry.line)
                            .key("version"),
                    ),
                }
            } else if !is_membership_key(&entry.key) {
                errors.push(
                    Problem::in_file(file, "only server.N lines belong in a dynamic file")
                        .at(entry.line)
                        .key(&entry.key)
                        .fix("move it to zoo.cfg"),
                );
            }
        }
        if errors.is_empty() { Ok(list) } else { Err(errors) }
    }

    /// Collects the `server.N` entries; what is wrong goes to `errors`.
    pub(super) fn from_properties(
        file: &str,
        properties: &Properties,
        errors: &mut Vec<Problem>,
    ) -> MemberList {
        let mut list = MemberList::default();
        for entry in &properties.entries {
            let problem = |reason: String| Problem::in_file(file, reason).at(entry.line).key(&entry.key);
            if entry.key.starts_with("group") || entry.key.starts_with("weight") {
                errors.push(
                    problem("hierarchical quorums are not supported".into())
                        .fix("remove the group and weight lines: every voter counts once"),
                );
                continue;
            }
            let Some(id) = entry.key.strip_prefix("server.") else { continue };
            let Ok(id) = id.trim().parse::<i64>() else {
                errors.push(problem(format!("`{id}` is no server id")).fix(format!(
                    "replace `{id}` by the server's id, the number in its myid file: server.3={}",
                    entry.value
                )));
                continue;
            };
            match Member::parse(Sid(id), &entry.value) {
                Ok(member) if list.get(member.sid).is_some() => {
                    errors.push(problem(format!("server {id} is listed twice under different spellings")));
                }
                Ok(member) => list.members.push(member),
                Err(refused) => errors.push(problem(refused.reason).fix(refused.fix)),
            }
        }
        list.members.sort_by_key(|m| m.sid);
        list
    }

    /// The member of an id.
    pub fn get(&self, sid: Sid) -> Option<&Member> {
        self.members.iter().find(|m| m.sid == sid)
    }

    /// Those who vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.votes())
    }

    /// Those who do not.
    pub fn observers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.role == Role::Observer)
    }

    /// How many voters make a majority.
    pub fn majority(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    /// The text that the original calls `QuorumVerifier.toString()`: a line per member, then the version
    /// without a line end. Peers compare and store it.
    pub fn to_dynamic_text(&self) -> String {
        let mut out = String::new();
        for member in self.in_hash_order() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "server.{}={member}", member.sid);
        }
        let _ = write!(out, "version={:x}", self.version);
        out
    }

    /// The order in which the original's `HashMap<Long, _>` yields them: by bucket, and by id within one.
    fn in_hash_order(&self) -> Vec<&Member> {
        let mut buckets: u32 = 16;
        while self.members.len() * 4 > buckets as usize * 3 {
            buckets *= 2;
        }
        let bucket = |sid: Sid| {
            let folded = (sid.0 ^ ((sid.0 as u64) >> 32) as i64) as u32;
            (folded ^ (folded >> 16)) & (buckets - 1)
        };
        let mut out: Vec<&Member> = self.members.iter().collect();
        out.sort_by_key(|m| (bucket(m.sid), m.sid));
        out
    }
}

/// Whether a key describes membership, so that it belongs in a dynamic file if there is one.
pub(super) fn is_membership_key(key: &str) -> bool {
    key.starts_with("server.") || key.starts_with("group") || key.starts_with("weight")
}

/// The version in a dynamic file's name (`zoo.cfg.dynamic.100000003`); 0 without one.
pub fn version_of_file_name(name: &str) -> u64 {
    name.rsplit_once('.').and_then(|(_, hex)| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
}
