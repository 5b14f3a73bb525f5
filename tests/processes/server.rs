//! One `zkctl serve` process: its directory, its configuration, its life.

use crate::leftovers::{SERVER_PID, signal};
use crate::state::{until, within};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use zkctl::wire::words::{Mode, ServerReport};

/// The first port, and how many follow: below the range from which the system takes the ports of
/// outgoing connections, so that a killed server finds its own again.
const PORTS: (u32, u32) = (12_000, 20_000);

/// A port that nobody has. It is free when it is given out; who binds it later may have to ask again.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    loop {
        let n = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.0 + n % PORTS.1) as u16;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// A server that may or may not run.
#[derive(Debug)]
pub(crate) struct Server {
    dir: PathBuf,
    pub(crate) port: u16,
    /// Its network namespace and its address there, when it is not on this machine's loopback.
    place: Option<(PathBuf, IpAddr)>,
    child: Option<Child>,
}

/// Moves the calling thread to a network namespace: what it connects and what it starts is there.
#[track_caller]
pub(crate) fn enter(namespace: &Path) {
    let file = File::open(namespace).unwrap_or_else(|e| panic!("{}: {e}", namespace.display()));
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may do this");
}

/// What a process that ended by itself left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Everything it wrote to stderr.
    pub(crate) said: String,
}

impl Ended {
    /// The one line with which `serve` refuses, without the log lines before it.
    #[track_caller]
    pub(crate) fn refusal(&self) -> &str {
        match self.said.find("zkctl serve: ") {
            Some(at) => self.said[at..].trim_end(),
            None => panic!("exit code {:?} without a refusal: {}", self.code, self.said),
        }
    }
}

impl Server {
    /// A server in `dir`, which is made, with these lines in its zoo.cfg beside `dataDir`.
    pub(crate) fn new(dir: PathBuf, port: u16, lines: &str) -> Server {
        fs::create_dir_all(dir.join("data")).unwrap();
        let server = Server { dir, port, place: None, child: None };
        server.configure(&format!("clientPort={port}\ndataDir={}\n{lines}", server.data().display()));
        server
    }

    /// It runs in another network namespace, at this address.
    #[allow(dead_code, reason = "tests/processes need none")]
    pub(crate) fn move_to(&mut self, namespace: PathBuf, address: IpAddr) {
        self.place = Some((namespace, address));
    }

    /// Writes zoo.cfg anew, whole.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.dir.join("zoo.cfg"), text).unwrap();
    }

    /// Writes myid.
    pub(crate) fn identify(&self, sid: usize) {
        fs::write(self.data().join("myid"), format!("{sid}\n")).unwrap();
    }

    /// `dataDir`.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where logs and snapshots are.
    pub(crate) fn database(&self) -> PathBuf {
        self.data().join("version-2")
    }

    fn said_path(&self) -> PathBuf {
        self.dir.join("stderr")
    }

    /// Everything it wrote to stderr in all its lives.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.said_path()).unwrap_or_default()
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.dir.display());
        let said = File::options().create(true).append(true).open(self.said_path()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_zkctl"));
        command
            .arg("serve")
            .arg(self.dir.join("zoo.cfg"))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said);
        let place = self.place.as_ref();
        let there = || {
            place.into_iter().for_each(|(namespace, _)| enter(namespace));
            command.spawn().unwrap()
        };
        let child = thread::scope(|scope| scope.spawn(there).join().unwrap());
        fs::write(self.dir.join(SERVER_PID), child.id().to_string()).unwrap();
        self.child = Some(child);
    }

    /// Starts it and waits for it to end by itself.
    #[track_caller]
    pub(crate) fn start_in_vain(&mut self) -> Ended {
        let before = self.said().len();
        self.start();
        let code = until("the server ends by itself", || self.ended()).code();
        Ended { code, said: self.said()[before..].to_owned() }
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// Whether the process was started and not ended by us.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// kill -9; the process is gone when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; returns how long the process took to end, and how it ended.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> (Duration, ExitStatus) {
        let began = std::time::Instant::now();
        signal(self.pid(), Signal::TERM);
        let status = until("SIGTERM ends the server", || self.ended());
        (began.elapsed(), status)
    }

    /// Removes logs, snapshots and epochs, as a lost disk would.
    pub(crate) fn wipe(&self) {
        fs::remove_dir_all(self.database()).unwrap();
    }

    /// Where it serves clients.
    pub(crate) fn address(&self) -> SocketAddr {
        let ip = self.place.as_ref().map_or(IpAddr::from([127, 0, 0, 1]), |(_, ip)| *ip);
        SocketAddr::new(ip, self.port)
    }

    /// Its answer to a word; `None` when it gives none.
    pub(crate) fn word(&self, word: &str) -> Option<String> {
        let limit = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&self.address(), limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        stream.write_all(word.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// What `srvr` reports, when it serves.
    pub(crate) fn report(&self) -> Option<ServerReport> {
        ServerReport::parse(&self.word("srvr")?).ok()
    }

    /// Its mode, when it serves.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.report().map(|r| r.mode)
    }

    /// A value of `mntr`.
    pub(crate) fn metric(&self, key: &str) -> Option<String> {
        let answer = self.word("mntr")?;
        answer.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('\t')).map(str::to_owned)
    }

    /// Waits until it serves; fails early when it ends instead.
    #[track_caller]
    pub(crate) fn wait_serving(&mut self) -> Mode {
        let found = within(crate::state::DEADLINE, || match self.ended() {
            Some(status) => Some(Err(status)),
            None => self.mode().map(Ok),
        });
        match found {
            Some(Ok(mode)) => mode,
            Some(Err(status)) => panic!("{} ended: {status}\n{}", self.dir.display(), self.said()),
            None => panic!("{} does not serve\n{}", self.dir.display(), self.said()),
        }
    }

    /// The files of the database that are named so and by a zxid, the newest last.
    pub(crate) fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let zxid = |p: &Path| {
            let name = p.file_name()?.to_string_lossy().into_owned();
            u64::from_str_radix(name.strip_prefix(prefix)?, 16).ok()
        };
        let entries = fs::read_dir(self.database()).into_iter().flatten();
        let paths = entries.filter_map(|e| Some(e.ok()?.path()));
        let mut files: Vec<_> = paths.filter_map(|p| Some((zxid(&p)?, p))).collect();
        files.sort();
        files.into_iter().map(|(_, path)| path).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let said = self.said();
            let lines: Vec<_> = said.lines().collect();
            eprintln!("--- {}, its last words:", self.dir.display());
            for line in &lines[lines.len().saturating_sub(25)..] {
                eprintln!("    {line}");
            }
        }
    }
}
