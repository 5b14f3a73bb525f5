//! Faults of system calls, by strace attached to a running server.

use crate::leftovers::signal;
use crate::state::until;
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// An attached strace; dropping it lets the server go on without faults.
#[derive(Debug)]
pub(crate) struct Strace {
    child: Child,
    log: PathBuf,
}

/// The threads of a process, by id.
fn threads(pid: u32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let ids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    let named = |tid: u32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
        Some((tid, comm.trim().to_owned()))
    };
    ids.filter_map(named).collect()
}

fn is_traced(tid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    status.lines().any(|l| l.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
}

impl Strace {
    /// Attaches to all threads of a process; `fault` is what strace calls an injection.
    #[track_caller]
    pub(crate) fn of_process(pid: u32, calls: &str, fault: &str, log: &Path) -> Strace {
        Strace::attach(&["-f"], pid, calls, fault, log, || {
            threads(pid).iter().all(|(tid, _)| is_traced(*tid))
        })
    }

    /// Attaches to the one thread of this name.
    #[track_caller]
    pub(crate) fn of_thread(pid: u32, name: &str, calls: &str, fault: &str, log: &Path) -> Strace {
        let found = threads(pid).into_iter().find(|(_, n)| n == name);
        let (tid, _) = found.unwrap_or_else(|| panic!("no thread {name} in {:?}", threads(pid)));
        Strace::attach(&[], tid, calls, fault, log, || is_traced(tid))
    }

    #[track_caller]
    fn attach(
        flags: &[&str],
        pid: u32,
        calls: &str,
        fault: &str,
        log: &Path,
        attached: impl Fn() -> bool,
    ) -> Strace {
        let child = Command::new("strace")
            .args(flags)
            .args(["-y", "-p", &pid.to_string()])
            .arg(format!("-etrace={calls}"))
            .arg(format!("-einject={calls}:{fault}"))
            .arg("-o")
            .arg(log)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("strace (tests/install-deps installs it): {e}"));
        let mut strace = Strace { child, log: log.to_path_buf() };
        until("strace is attached", || {
            let ended = strace.child.try_wait().unwrap();
            // A fault may have ended the server before all of its threads were seen.
            (attached() || ended.is_some_and(|s| s.success())).then_some(())
        });
        strace
    }

    /// The calls that were made to fail, as strace writes them.
    pub(crate) fn injected(&self) -> Vec<String> {
        self.lines().into_iter().filter(|l| l.contains("(INJECTED)")).collect()
    }

    /// Every call that it saw.
    pub(crate) fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.child.id(), Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
