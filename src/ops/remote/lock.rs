//! One operator at a time per node directory: an flock held by a process on the host for as long as
//! this side keeps its standard input open. It cannot outlive the connection.

use std::time::Duration;

use super::command::Command;
use super::ssh::{Held, Remote, RemoteError};

/// What the script says when it has the lock.
pub(super) const HELD: &str = "zkctl: locked";

/// `$1` who, then the directories: each is locked by a shell of its own, the innermost says when all are. The
/// first line names the directory, by its place, that could not be locked.
const SCRIPT: &str = r#"
umask 022
who=$1
shift
all=$#
take() (
  [ $# -gt 0 ] || { echo 'zkctl: locked'; exec cat >/dev/null; }
  at=$((all - $#))
  file="$1/.zkctl.lock"
  mkdir -p "$1" && exec 9>>"$file" || { echo "failed $at"; exit 73; }
  if ! flock -n 9; then
    printf 'held %s by %s\n' "$at" "$(cat "$file")"
    exit 75
  fi
  printf '%s\n' "$who" >"$file"
  shift
  take "$@"
)
take "$@"
"#;

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(15);

/// The locks of one host's nodes, held until this is dropped.
pub struct HostLock {
    _held: Held,
}

/// Why a lock was not taken.
pub enum LockError {
    /// Somebody else has it: who, since when.
    Taken(String),
    /// It could not be tried.
    Failed(String),
}

impl HostLock {
    /// Takes the locks of these directories, all or none; a failure comes with the place of its directory.
    /// One process holds them all: a host allows few sessions on a connection.
    pub async fn take(remote: &Remote, dirs: &[&str], who: &str) -> Result<HostLock, (usize, LockError)> {
        HostLock::take_within(remote, dirs, who, WITHIN).await
    }

    async fn take_within(
        remote: &Remote,
        dirs: &[&str],
        who: &str,
        within: Duration,
    ) -> Result<HostLock, (usize, LockError)> {
        let words = std::iter::once(who).chain(dirs.iter().copied());
        let held = remote
            .hold(&Command::script(SCRIPT, words).timeout(within))
            .await
            .map_err(|e: RemoteError| (0, LockError::Failed(e.to_string())))?;
        let Some(err) = &held.ended else { return Ok(HostLock { _held: held }) };
        let mut words = held.said.splitn(3, ' ');
        let (first, at, rest) = (words.next(), words.next(), words.next());
        let at = at.and_then(|at| at.parse().ok()).unwrap_or(0);
        Err(match (first, rest) {
            (Some("held"), Some(by)) => (at, LockError::Taken(format!("held {by}"))),
            (Some("failed"), _) => (at, LockError::Failed(err.trim().to_owned())),
            _ => (at, LockError::Failed(format!("{} {}", held.said.trim(), err.trim()).trim().to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::remote::ssh::Target;
    use std::fs;
    use std::time::Instant;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn place(name: &str) -> String {
        let path = std::env::temp_dir().join(format!("zkctl-lock-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path.display().to_string()
    }

    /// Process groups of the processes whose command line has this in it.
    fn groups(with: &str) -> Vec<String> {
        let mut out = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(with)
                && let Some((_, rest)) = stat.rsplit_once(") ")
            {
                out.push(rest.split(' ').nth(2).unwrap().to_owned());
            }
        }
        out
    }

    #[test]
    fn one_process_holds_all_locks_of_a_host_out_of_reach_of_ctrl_c() {
        let base = place("all");
        let dirs: Vec<String> = (0..12).map(|i| format!("{base}/n{i}")).collect();
        let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
        block_on(async {
            let remote = Remote::connect(&Target::Local, None).await.unwrap();
            let lock = HostLock::take(&remote, &dirs, "me since now").await.ok().unwrap();
            let own = rustix::process::getpgrp().as_raw_nonzero().to_string();
            let groups = groups(&base);
            assert!(!groups.is_empty() && !groups.contains(&own), "{groups:?} and {own}");
            let (at, error) = HostLock::take(&remote, &["/proc/no", dirs[11]], "x").await.err().unwrap();
            assert!(matches!((at, &error), (0, LockError::Failed(why)) if why.contains("/proc/no")));
            let mine = format!("{base}/mine");
            let (at, error) = HostLock::take(&remote, &[&mine, dirs[11]], "you").await.err().unwrap();
            assert!(matches!((at, &error), (1, LockError::Taken(who)) if who == "held by me since now"));
            drop(lock);
            let begun = Instant::now();
            while HostLock::take(&remote, &[&mine, dirs[0], dirs[11]], "you").await.is_err() {
                assert!(begun.elapsed() < Duration::from_secs(5));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_host_that_hangs_is_not_waited_for() {
        let base = place("hangs");
        fs::create_dir_all(&base).unwrap();
        let fifo = format!("{base}/.zkctl.lock");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        block_on(async {
            let remote = Remote::connect(&Target::Local, None).await.unwrap();
            let short = Duration::from_secs(1);
            let (_, error) = HostLock::take_within(&remote, &[&base], "x", short).await.err().unwrap();
            assert!(matches!(&error, LockError::Failed(why) if why.contains("within 1 s")));
        });
        // Lets the shell that opens it for writing go on, and end.
        drop(fs::File::open(&fifo).unwrap());
        fs::remove_dir_all(base).unwrap();
    }
}
