//! Where a run keeps its files, and how what earlier runs left behind is ended.
//!
//! A run's directory holds the pid of the test process and, per server, the server's. A process is
//! signalled only when its executable is the one it was started from and its command line names this
//! very directory: a pid may long belong to somebody else.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const RUNNER: &str = "runner.pid";
/// The file that holds a server's pid, beside its zoo.cfg.
pub(crate) const SERVER_PID: &str = "server.pid";

/// All runs' directories.
fn root() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("processes")
}

/// A fresh directory of this run.
pub(crate) fn fresh_dir(name: &str) -> PathBuf {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let run = RUN.get_or_init(|| {
        reap();
        let dir = root().join(format!("run-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(RUNNER), std::process::id().to_string()).unwrap();
        dir
    });
    let dir = run.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Ends what runs that are over left behind.
fn reap() {
    for run in entries(&root()) {
        let runner = read_pid(&run.join(RUNNER));
        let me = std::env::current_exe().unwrap();
        if runner.is_some_and(|pid| executable(pid).is_some_and(|exe| exe.parent() == me.parent())) {
            continue;
        }
        for test in entries(&run) {
            for server in entries(&test) {
                end(&server);
            }
        }
        unmount_below(&run);
        let _ = fs::remove_dir_all(&run);
    }
}

/// Unmounts what a run mounted in its directory. A loop device goes with its last mount.
fn unmount_below(run: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for place in places.filter(|place| place.starts_with(run)) {
        let _ = Command::new("umount").arg("-l").arg(place).stderr(Stdio::null()).status();
    }
}

/// Kills the server of `dir`, if it is still the one whose pid was written there.
fn end(dir: &Path) {
    let Some(pid) = read_pid(&dir.join(SERVER_PID)) else { return };
    let ours = Path::new(env!("CARGO_BIN_EXE_zkctl"));
    let same_program = executable(pid).is_some_and(|exe| exe == ours);
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let names_dir = String::from_utf8_lossy(&line).contains(&dir.display().to_string());
    if same_program && names_dir {
        signal(pid, Signal::KILL);
    }
}

/// Signals one process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, signal);
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect()
}

fn read_pid(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// What a process runs, a file that has been built anew since included.
fn executable(pid: u32) -> Option<PathBuf> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let text = exe.to_str()?;
    Some(text.strip_suffix(" (deleted)").unwrap_or(text).into())
}
