//! Servers that belong together: one alone, or three voters. With `KEEP_DIRS` set their files stay.

use crate::leftovers::fresh_dir;
use crate::server::{Server, free_port};
use crate::state::until;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use zkctl::wire::words::Mode;

/// What every zoo.cfg says here: quick to start, all words allowed.
pub(crate) const COMMON: &str = "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\n\
                                 preAllocSize=1024\n4lw.commands.whitelist=*\n";
/// How often other ports are tried when one was taken between choosing and binding it.
const CLASHES_MAX: usize = 5;
const CLIENT_PORT_TAKEN: i32 = zkctl::runtime::exit_code::CLIENT_PORT as i32;
const PEER_PORT_TAKEN: i32 = zkctl::runtime::exit_code::PEER_PORT as i32;

/// A running ensemble; a standalone server is one of size 1. Its directory goes with it, unless a test
/// failed.
#[derive(Debug)]
pub(crate) struct Ensemble {
    dir: PathBuf,
    pub(crate) servers: Vec<Server>,
}

impl Ensemble {
    /// Starts a server that belongs to none.
    pub(crate) fn standalone(name: &str, lines: &str) -> Ensemble {
        Ensemble::start(name, |dir| {
            vec![Server::new(dir.join("1"), free_port(), &format!("{COMMON}{lines}"))]
        })
    }

    /// Starts three voters, and waits until all serve.
    pub(crate) fn three(name: &str, lines: &str) -> Ensemble {
        Ensemble::start(name, |dir| three_servers(dir, lines))
    }

    /// Starts what `make` makes in a directory, elsewhere again when a port was taken, and waits until all serve.
    #[track_caller]
    pub(crate) fn start(name: &str, make: impl Fn(&PathBuf) -> Vec<Server>) -> Ensemble {
        for _ in 0..CLASHES_MAX {
            let dir = fresh_dir(name);
            let mut servers = make(&dir);
            servers.iter_mut().for_each(Server::start);
            let mut ensemble = Ensemble { dir, servers };
            if ensemble.came_up() {
                return ensemble;
            }
        }
        panic!("{name}: the chosen ports were taken {CLASHES_MAX} times");
    }

    /// Starts one more server, which its own member list names and the others' do not; returns its index.
    pub(crate) fn join_unlisted(&mut self, role: &str) -> usize {
        let sid = self.servers.len() + 1;
        let known = fs::read_to_string(self.dir.join("1/zoo.cfg")).unwrap();
        let listed: String =
            known.lines().filter(|l| l.starts_with("server.")).map(|l| format!("{l}\n")).collect();
        let own = format!("server.{sid}=127.0.0.1:{}:{}:{role}\n", free_port(), free_port());
        let dir = self.dir.join(sid.to_string());
        let mut server = Server::new(dir, free_port(), &format!("{COMMON}{listed}{own}"));
        server.identify(sid);
        server.start();
        self.servers.push(server);
        sid - 1
    }

    /// Waits until all serve; false when a port was taken.
    fn came_up(&mut self) -> bool {
        until("all servers serve", || {
            for server in &mut self.servers {
                match server.ended().map(|status| status.code()) {
                    None => {}
                    Some(Some(CLIENT_PORT_TAKEN | PEER_PORT_TAKEN)) => return Some(false),
                    Some(code) => panic!("a server ended with {code:?}: {}", server.said()),
                }
            }
            self.all_serve().then_some(true)
        })
    }

    /// Whether every running server serves, one of them as leader.
    pub(crate) fn all_serve(&self) -> bool {
        let running = self.servers.iter().filter(|s| s.is_running());
        let modes: Vec<_> = running.map(Server::mode).collect();
        let leads = |m: &&Option<Mode>| matches!(m, Some(Mode::Leader | Mode::Standalone));
        modes.iter().all(Option::is_some) && modes.iter().filter(leads).count() == 1
    }

    /// Waits until every running server serves.
    #[track_caller]
    pub(crate) fn wait_serving(&self) {
        until("all running servers serve, one of them as leader", || self.all_serve().then_some(()));
    }

    /// Where each server takes clients.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    /// The same as a connect string.
    pub(crate) fn connect_string(&self) -> String {
        self.addresses().iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
    }

    /// Which server leads.
    #[track_caller]
    pub(crate) fn leader(&self) -> usize {
        until("a server leads", || self.servers.iter().position(|s| s.mode() == Some(Mode::Leader)))
    }

    /// A server that follows.
    #[track_caller]
    pub(crate) fn follower(&self) -> usize {
        until("a server follows", || self.servers.iter().position(|s| s.mode() == Some(Mode::Follower)))
    }
}

/// Three voters in `dir`, not started.
pub(crate) fn three_servers(dir: &std::path::Path, lines: &str) -> Vec<Server> {
    let ports: Vec<_> = (0..3).map(|_| (free_port(), free_port(), free_port())).collect();
    let members: String = (1..)
        .zip(&ports)
        .map(|(sid, (_, quorum, election))| format!("server.{sid}=127.0.0.1:{quorum}:{election}\n"))
        .collect();
    let make = |(sid, (client, _, _)): (usize, &(u16, u16, u16))| {
        let server = Server::new(dir.join(sid.to_string()), *client, &format!("{COMMON}{lines}{members}"));
        server.identify(sid);
        server
    };
    (1..).zip(&ports).map(make).collect()
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        self.servers.iter_mut().filter(|_| !std::thread::panicking()).for_each(Server::kill);
        if !std::thread::panicking() && std::env::var_os("KEEP_DIRS").is_none() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
