//! Making a node's directories, files and links so; what is so already is left alone.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use super::protocol::{ApplyRequest, FileSpec, NodeSpec};
use super::{owner, units};

pub(super) type Done<T> = Result<T, String>;

pub(super) fn at<T>(path: &str, what: &str, result: io::Result<T>) -> Done<T> {
    result.map_err(|error| format!("{what} {path}: {error}"))
}

/// A user's numbers.
#[derive(Clone, Copy)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Looks a user up in /etc/passwd.
pub(super) fn account(name: &str) -> Done<Account> {
    let text = at("/etc/passwd", "reading", fs::read_to_string("/etc/passwd"))?;
    text.lines()
        .find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [user, _, uid, gid, ..] = fields[..] else { return None };
            (user == name).then(|| Some(Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))?
        })
        .ok_or_else(|| format!("there is no user `{name}` on this host; create it, or change service.user"))
}

/// The account a node runs as, when one is named. Only root can make it another than its own.
pub(super) fn account_of(node: &NodeSpec) -> Done<Option<Account>> {
    let Some(name) = node.user.as_deref() else { return Ok(None) };
    let account = account(name)?;
    let me = rustix::process::geteuid();
    if !me.is_root() && me.as_raw() != account.uid {
        return Err(format!(
            "service.user is `{name}`, but commands run here as user {} without root; set ssh.become: sudo, or \
             leave service.user out",
            me.as_raw()
        ));
    }
    Ok(Some(account))
}

/// Makes everything so; says what was changed.
pub(super) fn apply(wanted: &ApplyRequest) -> Done<Vec<String>> {
    let node = &wanted.node;
    let owner = account_of(node)?;
    let mut changed = Vec::new();
    // Directories above are for everybody's eyes, whatever the caller's umask.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // What root executes and believes stays root's; the server's user gets what the server writes.
    for (sub, owner) in [("", None), ("/conf", None), ("/releases", None), ("/run", owner)] {
        directory(&format!("{}{sub}", node.dir), 0o755, 0o755, owner, &mut changed)?;
    }
    for (dir, mode) in [(&node.data, 0o750), (&node.txlog, 0o750), (&node.logs, 0o755)] {
        directory(dir, mode, 0o700, owner, &mut changed)?;
    }
    for spec in &wanted.files {
        if file(spec, owner.filter(|_| Path::new(&spec.path).starts_with(&node.data)))? {
            changed.push(format!("wrote {}", spec.path));
        }
    }
    link(node, &wanted.release, &mut changed)?;
    let path = format!("{}/initialize", node.data);
    if wanted.initialize && !Path::new(&path).exists() {
        file(&FileSpec { path: path.clone(), content: String::new(), mode: 0o640 }, owner)?;
        changed.push(format!("wrote {path}"));
    }
    units::settle(node, wanted.unit.as_deref(), &mut changed)?;
    let content = node.to_node_file(wanted.unit.is_some());
    let node_file = FileSpec { path: node.node_file(), content, mode: 0o644 };
    if file(&node_file, None)? {
        changed.push(format!("wrote {}", node_file.path));
    }
    let given = owner::settle(node)?;
    if given > 0 {
        let user = node.user.as_deref().unwrap_or_default();
        changed.push(format!("gave {given} files and directories to {user}"));
    }
    Ok(changed)
}

/// Makes a directory with `mode`; one that is there must have what is `needed`. Who keeps others out of data
/// and logs may.
fn directory(
    path: &str,
    mode: u32,
    needed: u32,
    owner: Option<Account>,
    changed: &mut Vec<String>,
) -> Done<()> {
    if Path::new(path).is_dir() {
        if owner::open_up(path, needed)? {
            changed.push(format!("opened {path} to the server"));
        }
        return Ok(());
    }
    at(path, "creating", fs::create_dir_all(path))?;
    at(path, "setting the mode of", fs::set_permissions(path, fs::Permissions::from_mode(mode)))?;
    give(path, owner)?;
    changed.push(format!("created {path}"));
    Ok(())
}

fn give(path: &str, owner: Option<Account>) -> Done<()> {
    match owner {
        Some(owner) if rustix::process::geteuid().is_root() => {
            at(path, "changing the owner of", chown(path, Some(owner.uid), Some(owner.gid)))
        }
        _ => Ok(()),
    }
}

/// Writes a file beside its place, syncs and renames it; whether it was different.
pub(super) fn file(spec: &FileSpec, owner: Option<Account>) -> Done<bool> {
    let path = Path::new(&spec.path);
    if fs::read(path).is_ok_and(|old| old == spec.content.as_bytes()) {
        return Ok(false);
    }
    let part = format!("{}.part", spec.path);
    let parent = path.parent().unwrap_or(Path::new("/"));
    at(&parent.display().to_string(), "creating", fs::create_dir_all(parent))?;
    let _ = fs::remove_file(&part);
    let written = (|| {
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(spec.mode).open(&part)?;
        out.write_all(spec.content.as_bytes())?;
        out.set_permissions(fs::Permissions::from_mode(spec.mode))?;
        out.sync_all()
    })();
    if let Err(error) = written {
        let _ = fs::remove_file(&part);
        return Err(format!("writing {}: {error}", spec.path));
    }
    give(&part, owner)?;
    at(&spec.path, "renaming into", fs::rename(&part, path))?;
    at(&spec.path, "syncing the directory of", fs::File::open(parent).and_then(|d| d.sync_all()))?;
    Ok(true)
}

/// Points `bin` at a release, in one step.
fn link(node: &NodeSpec, release: &str, changed: &mut Vec<String>) -> Done<()> {
    let link = format!("{}/bin", node.dir);
    let target = format!("releases/{release}");
    if fs::read_link(&link).is_ok_and(|old| old == Path::new(&target)) {
        return Ok(());
    }
    if Path::new(&link).is_dir() && fs::read_link(&link).is_err() {
        return Err(format!("{link} is a directory that zkctl did not make; move it away"));
    }
    let part = format!("{link}.part");
    let _ = fs::remove_file(&part);
    at(&part, "linking", symlink(&target, &part))?;
    at(&link, "renaming into", fs::rename(&part, &link))?;
    changed.push(format!("{link} -> {target}"));
    Ok(())
}
