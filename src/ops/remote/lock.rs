//! One operator at a time per node directory: an flock held by a process on the host for as long as
//! this side keeps its standard input open. It cannot outlive the connection.

use super::command::Command;
use super::ssh::{Held, Remote, RemoteError};

/// What the script says when it has the lock.
pub(super) const HELD: &str = "zkctl: locked";

/// `$1` directory, `$2` who.
const SCRIPT: &str = r#"
mkdir -p "$1" || exit 73
file="$1/.zkctl.lock"
exec 9>>"$file" || exit 73
if ! flock -n 9; then
  printf 'held by %s\n' "$(cat "$file")"
  exit 75
fi
printf '%s\n' "$2" >"$file"
echo 'zkctl: locked'
cat >/dev/null
"#;

/// A lock that is held until this is dropped.
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
    /// Takes the lock of a node's directory.
    pub async fn take(remote: &Remote, dir: &str, who: &str) -> Result<HostLock, LockError> {
        let held = remote
            .hold(&Command::script(SCRIPT, [dir, who]))
            .await
            .map_err(|e: RemoteError| LockError::Failed(e.to_string()))?;
        match &held.ended {
            None => Ok(HostLock { _held: held }),
            Some(_) if held.said.starts_with("held by") => Err(LockError::Taken(held.said.clone())),
            Some(err) => {
                Err(LockError::Failed(format!("{} {}", held.said.trim(), err.trim()).trim().to_owned()))
            }
        }
    }
}
