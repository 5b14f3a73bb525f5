//! Processes as /proc shows them, listeners, and what a server logged last.

use std::fs;
use std::path::{Path, PathBuf};

use super::protocol::{NodeSpec, TakenPort};
use super::state::State;

/// Field 3 and field 22 of /proc/PID/stat: state and start time.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let rest = &text[text.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// When a process started, in ticks since boot.
pub(super) fn start_ticks(pid: i32) -> Option<u64> {
    stat(pid).map(|(_, ticks)| ticks)
}

/// Names this boot.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Whether the very process that wrote this state still runs. A zombie does not.
pub(super) fn is_alive(state: &State) -> bool {
    state.pid > 1
        && state.boot_id == boot_id()
        && stat(state.pid)
            .is_some_and(|(kind, ticks)| ticks == state.start_ticks && !matches!(kind, 'Z' | 'X'))
}

/// How long a process has run.
pub(super) fn up_ms(state: &State) -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = uptime.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let started_ms = state.start_ticks.saturating_mul(1000) / per_second;
    ((seconds * 1000.0) as u64).saturating_sub(started_ms)
}

/// The release a program belongs to: `.../releases/RELEASE/zkctl`.
pub(super) fn release_of(program: &str) -> Option<String> {
    let parent = Path::new(program).parent()?;
    (parent.parent()?.file_name()? == "releases")
        .then(|| parent.file_name().map(|n| n.to_string_lossy().into()))?
}

/// Listening sockets: port and inode.
fn listeners() -> Vec<(u16, u64)> {
    const LISTEN: &str = "0A";
    let mut out = Vec::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(file) else { continue };
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (Some(local), Some(&LISTEN), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9))
            else {
                continue;
            };
            let port = local.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
            if let (Some(port), Ok(inode)) = (port, inode.parse()) {
                out.push((port, inode));
            }
        }
    }
    out
}

/// Which of a node's ports something else listens on.
pub(super) fn taken_ports(node: &NodeSpec, own: Option<i32>) -> Vec<TakenPort> {
    let mut out: Vec<TakenPort> = Vec::new();
    for (port, inode) in listeners() {
        if !node.ports.contains(&port) || out.iter().any(|t| t.port == port) {
            continue;
        }
        let holder = holder(inode);
        if own.is_some() && (holder.as_ref().map(|(pid, _)| *pid) == own || holder.is_none()) {
            continue;
        }
        let by = holder.map(|(pid, name)| format!("process {pid} ({name})"));
        out.push(TakenPort { port, by });
    }
    out
}

/// The process that holds a socket, as far as this user may see.
fn holder(inode: u64) -> Option<(i32, String)> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        if files.flatten().any(|f| fs::read_link(f.path()).is_ok_and(|l| l == wanted)) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

/// More of a log's end than this is not read.
const TAIL_BYTES: usize = 64 << 10;

/// The last lines of a node's newest log file, and of what it said before it could log.
pub(super) fn last_lines(node: &NodeSpec, lines: usize) -> Vec<String> {
    // File times are coarse; the console's word is a process's last, so it wins a tie.
    let mut files: Vec<(std::time::SystemTime, bool, PathBuf)> = fs::read_dir(&node.logs)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            let console = entry.file_name() == "console.log";
            (meta.is_file() && meta.len() > 0)
                .then(|| Some((meta.modified().ok()?, console, entry.path())))?
        })
        .collect();
    files.sort();
    let Some((_, _, newest)) = files.pop() else { return Vec::new() };
    let bytes = fs::read(newest).unwrap_or_default();
    let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
    let text = String::from_utf8_lossy(tail);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|l| (*l).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> State {
        let pid = std::process::id() as i32;
        State {
            pid,
            start_ticks: start_ticks(pid).unwrap(),
            boot_id: boot_id(),
            config: String::new(),
            config_sha256: String::new(),
            bind: None,
            client_port: None,
            members: String::new(),
            program: String::new(),
            unit: None,
            user_unit: None,
        }
    }

    #[test]
    fn only_the_very_process_counts_as_alive() {
        assert!(is_alive(&me()));
        assert!(!is_alive(&State { start_ticks: 1, ..me() }));
        assert!(!is_alive(&State { boot_id: "other".into(), ..me() }));
        assert!(!is_alive(&State { pid: 1, ..me() }));
        assert!(!is_alive(&State { pid: i32::MAX, ..me() }));
    }

    #[test]
    fn a_release_is_known_by_its_program_s_path() {
        assert_eq!(release_of("/d/releases/0.1.0-abc/zkctl").as_deref(), Some("0.1.0-abc"));
        assert_eq!(release_of("/usr/bin/zkctl"), None);
    }

    #[test]
    fn a_taken_port_is_seen_with_its_holder() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let node = NodeSpec {
            name: "a".into(),
            dir: String::new(),
            data: String::new(),
            txlog: String::new(),
            logs: String::new(),
            bind: None,
            ports: [port, 1, 2],
            unit: String::new(),
            user_unit: false,
            systemd: None,
            user: None,
        };
        let taken = taken_ports(&node, None);
        assert_eq!(taken.len(), 1);
        assert!(taken[0].by.as_ref().unwrap().contains(&std::process::id().to_string()), "{taken:?}");
        assert_eq!(taken_ports(&node, Some(std::process::id() as i32)), []);
    }
}
