//! Whose a node's files are. A server that runs as a user of its own must be able to use what root made, be
//! it an earlier server, an operator's lock or an archive unpacked there.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use super::apply::{Account, Done, account_of, at};
use super::protocol::NodeSpec;

/// What servers keep in `dataDir`, `dataLogDir` and `logs`, `version-2` with all it holds.
fn is_of_a_server(name: &str) -> bool {
    matches!(name, "myid" | "initialize" | "version-2" | "console.log" | "myid.part" | "initialize.part")
        || name.starts_with("zkctl.log")
        || name.starts_with("zookeeper_server.pid")
}

/// Gives a node's directories, and what servers keep in them, to the user it runs as; how many files and
/// directories were somebody else's. Only root can, and only where a user is named.
pub(super) fn settle(node: &NodeSpec) -> Done<usize> {
    let Some(account) = account_of(node)? else { return Ok(0) };
    if !rustix::process::geteuid().is_root() {
        return Ok(0);
    }
    let mut given = tree(Path::new(&format!("{}/run", node.dir)), account)?;
    for dir in [&node.data, &node.txlog, &node.logs] {
        given += place(node, Path::new(dir), account)?;
    }
    Ok(given)
}

/// One directory of a node. Outside of the node's own, one that holds other things as well is not touched:
/// it may be `/var/log`.
fn place(node: &NodeSpec, dir: &Path, account: Account) -> Done<usize> {
    let mut ours = Vec::new();
    let mut strange = false;
    for path in entries(dir)? {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if is_of_a_server(&name) {
            ours.push(path);
        } else if name != "lost+found" {
            strange = true;
        }
    }
    let inside = dir.starts_with(&node.dir) && dir != Path::new(&node.dir);
    let mut given = 0;
    if inside || !strange {
        given += usize::from(give(dir, account)?);
    }
    for path in ours {
        given += tree(&path, account)?;
    }
    Ok(given)
}

fn entries(dir: &Path) -> Done<Vec<PathBuf>> {
    let shown = dir.display().to_string();
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let all = at(&shown, "reading", fs::read_dir(dir))?;
    Ok(all.flatten().map(|entry| entry.path()).collect())
}

/// A file, or a directory with all below it; links are given, not followed.
fn tree(path: &Path, account: Account) -> Done<usize> {
    let mut given = usize::from(give(path, account)?);
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        for below in entries(path)? {
            given += tree(&below, account)?;
        }
    }
    Ok(given)
}

/// Whether it had to be given.
fn give(path: &Path, account: Account) -> Done<bool> {
    // What is gone meanwhile needs no owner.
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(false) };
    if meta.uid() == account.uid && meta.gid() == account.gid {
        return Ok(false);
    }
    // A server that runs may rename and purge under our feet.
    match lchown(path, Some(account.uid), Some(account.gid)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("changing the owner of {}: {error}", path.display()))
        }
        done => Ok(done.is_ok()),
    }
}

/// Adds what is missing of a mode where that is in our power; whether something was.
pub(super) fn open_up(path: &str, mode: u32) -> Done<bool> {
    let meta = at(path, "reading", fs::metadata(path))?;
    let (is, me) = (meta.permissions().mode(), rustix::process::geteuid());
    if is & mode == mode || !(me.is_root() || me.as_raw() == meta.uid()) {
        return Ok(false);
    }
    let wanted = fs::Permissions::from_mode((is | mode) & 0o7777);
    at(path, "setting the mode of", fs::set_permissions(path, wanted))?;
    Ok(true)
}
