//! The configuration that our ssh reads: the user's own files, and what the inventory says where an option
//! on the command line would not get through, which is to the jump hosts.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ops::inventory::{HostKeys, Ssh};

/// ssh counts in seconds.
pub(super) fn whole_seconds(limit: Duration) -> Duration {
    Duration::from_secs(limit.as_secs() + u64::from(limit.subsec_nanos() > 0)).max(Duration::from_secs(1))
}

/// The word of `StrictHostKeyChecking`.
pub(super) fn checking(host_keys: HostKeys) -> &'static str {
    match host_keys {
        HostKeys::Strict => "yes",
        HostKeys::AcceptNew => "accept-new",
        HostKeys::Off => "no",
    }
}

/// Writes it; the program named with -F reads no other file, so that one includes the user's.
pub(super) fn write(dir: &Path, ssh: &Ssh, limit: Duration) -> io::Result<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh/config"));
    let own = [ssh.config.clone(), home, Some("/etc/ssh/ssh_config".into())];
    let included: Vec<PathBuf> = own.into_iter().flatten().filter(|path| path.exists()).collect();
    let path = dir.join("config");
    std::fs::write(&path, text(ssh, limit, &included))?;
    Ok(path)
}

fn text(ssh: &Ssh, limit: Duration, included: &[PathBuf]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for jump in &ssh.jump {
        let _ = writeln!(out, "Host \"{}\"", host_of(jump));
        let _ = writeln!(out, "  BatchMode yes");
        let _ = writeln!(out, "  ConnectTimeout {}", whole_seconds(limit).as_secs());
        let _ = writeln!(out, "  StrictHostKeyChecking {}", checking(ssh.host_keys));
        if let Some(file) = &ssh.known_hosts {
            let _ = writeln!(out, "  UserKnownHostsFile \"{}\"", file.display());
        }
        if let Some(key) = &ssh.key {
            let _ = writeln!(out, "  IdentityFile \"{}\"", key.display());
        }
    }
    let _ = writeln!(out, "Host *");
    for path in included {
        let _ = writeln!(out, "  Include \"{}\"", path.display());
    }
    out
}

/// The host of `[USER@]HOST[:PORT]`, as `Host` lines match it.
fn host_of(jump: &str) -> &str {
    let host = jump.rsplit_once('@').map_or(jump, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_jump() {
        for (jump, host) in [
            ("bastion", "bastion"),
            ("me@b.example:2222", "b.example"),
            ("[::1]:22", "::1"),
            ("u@[fe80::1]", "fe80::1"),
        ] {
            assert_eq!(host_of(jump), host);
        }
    }

    #[test]
    fn what_the_inventory_says_reaches_the_jump_hosts_before_the_user_s_files() {
        let ssh = Ssh {
            jump: vec!["me@bastion:22".into()],
            key: Some("/k".into()),
            known_hosts: Some("/kn own".into()),
            ..Ssh::default()
        };
        assert_eq!(
            text(&ssh, Duration::from_millis(1800), &["/c".into()]),
            "Host \"bastion\"\n  BatchMode yes\n  ConnectTimeout 2\n  StrictHostKeyChecking accept-new\n  \
             UserKnownHostsFile \"/kn own\"\n  IdentityFile \"/k\"\nHost *\n  Include \"/c\"\n"
        );
        assert_eq!(text(&Ssh::default(), Duration::from_secs(5), &[]), "Host *\n");
    }
}
