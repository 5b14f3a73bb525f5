//! What to tell people about a connection that did not come about.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;

use super::ssh_config::{checking, whole_seconds};
use crate::ops::inventory::Ssh;

/// One attempt to reach a host.
pub(super) struct Attempt<'a> {
    pub(super) host: &'a str,
    pub(super) ssh: &'a Ssh,
    pub(super) config: &'a Path,
    pub(super) limit: Duration,
}

impl Attempt<'_> {
    /// Nothing came in time.
    pub(super) fn silence(&self) -> String {
        let seconds = self.limit.as_secs_f64();
        format!("no answer within {seconds} s; is the host up and reachable{}?", self.way())
    }

    /// The jump hosts, where there are any.
    fn way(&self) -> String {
        match self.ssh.jump.join(", ") {
            none if none.is_empty() => none,
            jumps => format!(" through {jumps}"),
        }
    }

    /// Why it failed. ssh's own words are worth more than the library's, so where the host does answer it is
    /// asked once more, for as long as `patience` lasts.
    pub(super) async fn explain(&self, error: &openssh::Error, patience: Duration) -> String {
        let (openssh::Error::Connect(cause) | openssh::Error::Master(cause)) = error else {
            return error.to_string();
        };
        match cause.kind() {
            io::ErrorKind::ConnectionRefused => return "connection refused; is sshd running there?".into(),
            io::ErrorKind::TimedOut => return self.silence(),
            io::ErrorKind::NotFound => {
                return "there is no `ssh` program on this machine; install openssh-client".into();
            }
            _ => {}
        }
        let said = timeout(patience, self.said_by_ssh()).await.ok().flatten();
        self.words(&said.unwrap_or_else(|| cause.to_string()))
    }

    fn words(&self, said: &str) -> String {
        let telling = telling(said);
        if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
            let changed =
                said.lines().find_map(|l| l.strip_prefix("Host key for ")?.split(" has changed").next());
            let host = changed.unwrap_or(self.host);
            let file =
                self.ssh.known_hosts.as_ref().map(|f| format!("-f {} ", f.display())).unwrap_or_default();
            let whose =
                if host == self.host { "its host key".into() } else { format!("the host key of {host}") };
            return format!(
                "{whose} has CHANGED: either the machine was reinstalled, or somebody is in between. Nothing was \
                 sent. If you know why, remove the old key: ssh-keygen {file}-R {host}"
            );
        }
        if said.contains("Host key verification failed") {
            return format!(
                "its host key is not known; add it to known_hosts, or set ssh.host_keys: accept-new ({telling})"
            );
        }
        if said.contains("Permission denied") {
            return format!(
                "the login was refused: no key of yours is accepted there. Check ssh.user and ssh.key, or load the key \
                 into your agent ({telling})"
            );
        }
        format!("ssh says{}: {telling}", self.way())
    }

    async fn said_by_ssh(&self) -> Option<String> {
        let ssh = self.ssh;
        let mut command = tokio::process::Command::new("ssh");
        command.arg("-F").arg(self.config).args(["-o", "BatchMode=yes"]);
        let mut option = |name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        option("ConnectTimeout", &whole_seconds(self.limit).as_secs().to_string());
        option("StrictHostKeyChecking", checking(ssh.host_keys));
        if let Some(file) = &ssh.known_hosts {
            option("UserKnownHostsFile", &file.display().to_string());
        }
        if let Some(user) = &ssh.user {
            command.args(["-l", user]);
        }
        if let Some(port) = ssh.port {
            command.args(["-p", &port.to_string()]);
        }
        if let Some(key) = &ssh.key {
            command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(key);
        }
        if !ssh.jump.is_empty() {
            command.args(["-J", &ssh.jump.join(",")]);
        }
        command.args(["--", self.host, "true"]).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.ok()?;
        Some(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The last line that says why; behind a jump host others follow it, which only say that it is over.
fn telling(said: &str) -> &str {
    const EMPTY: [&str; 4] = [
        "Connection closed by UNKNOWN",
        "kex_exchange_identification",
        "stdio forwarding failed",
        "Warning: ",
    ];
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let tells = |line: &&str| !EMPTY.iter().any(|start| line.starts_with(start));
    lines().rfind(tells).or_else(|| lines().next_back()).unwrap_or("nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(jump: &[&str], said: &str) -> String {
        let jump = jump.iter().map(|j| (*j).to_owned()).collect();
        let ssh = Ssh { jump, known_hosts: Some("/kh".into()), ..Ssh::default() };
        let limit = Duration::from_millis(1800);
        Attempt { host: "10.0.0.1", ssh: &ssh, config: Path::new("/c"), limit }.words(said)
    }

    #[test]
    fn what_ends_behind_a_jump_host_is_told_by_the_line_that_says_why() {
        let refused =
            "me@bastion: Permission denied (publickey).\r\nConnection closed by UNKNOWN port 65535\r\n";
        let text = words(&["bastion"], refused);
        assert!(text.starts_with("the login was refused") && text.contains("(me@bastion: "), "{text}");
        let closed = "channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed\r\n\
            Connection closed by UNKNOWN port 65535\r\n";
        let expected = "ssh says through bastion: channel 0: open failed: connect failed: Connection refused";
        assert_eq!(words(&["bastion"], closed), expected);
        assert_eq!(
            words(&[], "kex_exchange_identification: x\n"),
            "ssh says: kex_exchange_identification: x"
        );
        assert_eq!(words(&[], ""), "ssh says: nothing");
    }

    #[test]
    fn a_changed_key_names_whose_it_is_and_the_file_it_is_in() {
        let said = |host: &str| {
            format!(
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key for {host} has changed and you have\n"
            )
        };
        let text = words(&["bastion"], &said("bastion"));
        assert!(text.starts_with("the host key of bastion has CHANGED"), "{text}");
        assert!(text.ends_with("ssh-keygen -f /kh -R bastion"), "{text}");
        assert!(words(&[], &said("10.0.0.1")).starts_with("its host key has CHANGED"));
    }

    #[test]
    fn silence_names_the_way() {
        let ssh = Ssh { jump: vec!["b".into()], ..Ssh::default() };
        let limit = Duration::from_millis(1800);
        let attempt = Attempt { host: "h", ssh: &ssh, config: Path::new("/c"), limit };
        assert_eq!(attempt.silence(), "no answer within 1.8 s; is the host up and reachable through b?");
    }
}
