//! The program on its way to a host: named by version and content, checked by SHA-256, tried on the
//! host, renamed into place only then.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::command::{Command, Input};
use super::ssh::Remote;

/// A program to be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Version and the first digits of the checksum: the release's directory.
    pub name: String,
    /// The file on this machine.
    pub program: PathBuf,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// Why a program could not be deployed.
#[derive(Debug, Error)]
#[error("{program}: {error}")]
pub struct ReleaseError {
    program: String,
    error: io::Error,
}

impl Release {
    /// From a file; this very program when none is named.
    pub fn of(program: Option<&Path>) -> Result<Release, ReleaseError> {
        let named = match program {
            Some(path) => path.to_owned(),
            None => PathBuf::from("/proc/self/exe"),
        };
        let fail = |error| ReleaseError { program: named.display().to_string(), error };
        let mut file = fs::File::open(&named).map_err(fail)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let n = file.read(&mut buffer).map_err(fail)?;
            if n == 0 {
                break;
            }
            bytes += n as u64;
            hash.update(&buffer[..n]);
        }
        let sha256: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let name = format!("{}-{}", env!("CARGO_PKG_VERSION"), &sha256[..12]);
        Ok(Release { name, program: named, sha256, bytes })
    }

    /// Puts it into a node's directory on its host; nothing is left behind when that fails.
    pub async fn upload(&self, remote: &Remote, dir: &str) -> Result<(), String> {
        let command = Command::script(SCRIPT, [dir, &self.name, &self.sha256])
            .input(Input::File(self.program.clone()))
            .timeout(Duration::from_secs(600));
        let output = remote.run(command).await.map_err(|e| e.to_string())?;
        if output.is_ok() { Ok(()) } else { Err(output.said()) }
    }
}

/// `$1` the node's directory, `$2` the release, `$3` its SHA-256; the program on standard input.
const SCRIPT: &str = r#"
umask 022
part="$1/releases/.$2.part"
fail() { echo "$1" >&2; rm -rf "$part"; exit 65; }
trap 'rm -rf "$part"' HUP INT TERM
mkdir -p "$1/releases" || exit 73
rm -rf "$part"
mkdir "$part" || exit 73
cat >"$part/zkctl" || fail "writing $part/zkctl failed"
sum=$(sha256sum <"$part/zkctl") || fail "sha256sum failed"
sum=${sum%% *}
[ "$sum" = "$3" ] || fail "the upload is damaged: its SHA-256 is $sum instead of $3"
chmod 755 "$part/zkctl" || fail "chmod failed"
"$part/zkctl" --version >/dev/null || fail "the program does not run on this host ($(uname -sm)): is it built for it?"
"$part/zkctl" host scripts "$part" || fail "the program could not write its scripts"
rm -rf "$1/releases/$2"
mv "$part" "$1/releases/$2" || fail "renaming $part failed"
"#;
