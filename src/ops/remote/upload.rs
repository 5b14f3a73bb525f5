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
    /// The machine kind it is built for, as `uname -m` says it; that of this program where the file does not tell.
    pub arch: String,
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
        let mut head = Vec::new();
        loop {
            let n = file.read(&mut buffer).map_err(fail)?;
            if n == 0 {
                break;
            }
            bytes += n as u64;
            head.extend(&buffer[..n.min(HEAD.saturating_sub(head.len()))]);
            hash.update(&buffer[..n]);
        }
        let sha256: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let name = format!("{}-{}", env!("CARGO_PKG_VERSION"), &sha256[..12]);
        let arch = machine(&head).unwrap_or(std::env::consts::ARCH).to_owned();
        Ok(Release { name, program: named, sha256, bytes, arch })
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

/// An ELF header as far as the machine.
const HEAD: usize = 20;

/// The machine that a program is built for, from the beginning of its file.
fn machine(head: &[u8]) -> Option<&'static str> {
    let (magic, rest) = head.split_first_chunk::<4>()?;
    let field: [u8; 2] = head.get(18..HEAD)?.try_into().ok()?;
    let number = match (magic, rest.get(1)?) {
        (b"\x7fELF", 1) => u16::from_le_bytes(field),
        (b"\x7fELF", 2) => u16::from_be_bytes(field),
        _ => return None,
    };
    Some(match number {
        3 => "x86",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        _ => return None,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_which_machine_it_is_for() {
        let own = Release::of(None).unwrap();
        assert_eq!(own.arch, std::env::consts::ARCH);
        let mut elf = fs::read("/proc/self/exe").unwrap();
        elf.truncate(4096);
        elf[18..20].copy_from_slice(&183u16.to_le_bytes());
        let path = std::env::temp_dir().join(format!("zkctl-elf-{}", std::process::id()));
        fs::write(&path, &elf).unwrap();
        assert_eq!(Release::of(Some(&path)).unwrap().arch, "aarch64");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        assert_eq!(Release::of(Some(&path)).unwrap().arch, std::env::consts::ARCH);
        fs::remove_file(path).unwrap();
    }
}
