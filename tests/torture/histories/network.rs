//! The network between the servers, and between clients and servers: TCP through this process, byte by byte.
//!
//! Place 0 is the clients', place N is server N's. Every server's member list names, for the others, doors of
//! this network; behind a door stands the real port. For each direction between two places there is a pipe,
//! which holds bytes back, delays them, or is cut after so many of them. Held bytes come later, in order, as
//! TCP repeats what was lost; connections delayed differently overtake each other.

use rustix::net::sockopt::set_socket_linger;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a pump rests when its pipe is held, and the porter when nobody knocks.
const REST: Duration = Duration::from_millis(2);
/// How long a pump reads before it looks whether its connection is over.
const LOOK: Duration = Duration::from_millis(50);
const DIAL: Duration = Duration::from_secs(1);
/// No cut is due.
const NEVER: i64 = i64::MAX;

/// One direction between two places.
#[derive(Debug)]
struct Pipe {
    held: AtomicBool,
    delay_ms: AtomicU64,
    /// Bytes until the connection that carries them is reset.
    fuse: AtomicI64,
    blown: AtomicU64,
}

impl Default for Pipe {
    fn default() -> Pipe {
        Pipe {
            held: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            fuse: AtomicI64::new(NEVER),
            blown: AtomicU64::new(0),
        }
    }
}

#[derive(Debug)]
struct Door {
    from: usize,
    to: usize,
    listener: TcpListener,
    behind: SocketAddr,
}

#[derive(Debug)]
struct Connection {
    places: (usize, usize),
    over: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    pipes: BTreeMap<(usize, usize), Arc<Pipe>>,
    live: Mutex<Vec<Connection>>,
}

/// The network; its doors close when it goes.
#[derive(Debug)]
pub(crate) struct Network {
    shared: Arc<Shared>,
    porter: Option<JoinHandle<()>>,
}

/// Doors before the network begins.
#[derive(Debug, Default)]
pub(crate) struct Doors(Vec<Door>);

impl Doors {
    /// A door for `from`, behind which stands `port` of `to`; returns the door's port.
    pub(crate) fn open(&mut self, from: usize, to: usize, port: u16) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let door = listener.local_addr().unwrap().port();
        self.0.push(Door { from, to, listener, behind: SocketAddr::from(([127, 0, 0, 1], port)) });
        door
    }
}

impl Network {
    pub(crate) fn begin(doors: Doors) -> Network {
        let mut shared = Shared::default();
        for door in &doors.0 {
            shared.pipes.entry((door.from, door.to)).or_default();
            shared.pipes.entry((door.to, door.from)).or_default();
        }
        let shared = Arc::new(shared);
        let porter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || attend(&doors.0, &shared))
        };
        Network { shared, porter: Some(porter) }
    }

    fn pipe(&self, from: usize, to: usize) -> Option<&Arc<Pipe>> {
        self.shared.pipes.get(&(from, to))
    }

    /// From now on nothing goes that way.
    pub(crate) fn hold(&self, from: usize, to: usize) {
        if let Some(pipe) = self.pipe(from, to) {
            pipe.held.store(true, Ordering::SeqCst);
        }
    }

    /// Every piece of bytes that goes that way takes this long.
    pub(crate) fn delay(&self, from: usize, to: usize, ms: u64) {
        if let Some(pipe) = self.pipe(from, to) {
            pipe.delay_ms.store(ms, Ordering::SeqCst);
        }
    }

    /// After this many bytes the connection that carries the last of them is reset.
    pub(crate) fn cut_after(&self, from: usize, to: usize, bytes: u64) {
        if let Some(pipe) = self.pipe(from, to) {
            pipe.fuse.store(bytes as i64, Ordering::SeqCst);
        }
    }

    /// Connections that were cut at a byte so far.
    pub(crate) fn cuts(&self) -> u64 {
        self.shared.pipes.values().map(|p| p.blown.load(Ordering::SeqCst)).sum()
    }

    /// Resets all connections between two places; returns how many.
    pub(crate) fn reset(&self, a: usize, b: usize) -> u64 {
        let live = self.shared.live.lock().unwrap();
        let between = live.iter().filter(|c| c.places == (a, b) || c.places == (b, a));
        between.map(|c| u64::from(!c.over.swap(true, Ordering::SeqCst))).sum()
    }

    /// Everything flows again.
    pub(crate) fn heal(&self) {
        for pipe in self.shared.pipes.values() {
            pipe.held.store(false, Ordering::SeqCst);
            pipe.delay_ms.store(0, Ordering::SeqCst);
            pipe.fuse.store(NEVER, Ordering::SeqCst);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for connection in self.shared.live.lock().unwrap().iter() {
            connection.over.store(true, Ordering::SeqCst);
        }
        let _ = self.porter.take().map(JoinHandle::join);
    }
}

/// Opens to whoever knocks, unless the way is cut: then they wait outside, as behind a lost SYN.
fn attend(doors: &[Door], shared: &Arc<Shared>) {
    while !shared.over.load(Ordering::SeqCst) {
        let mut idle = true;
        for door in doors {
            let held = |a, b| shared.pipes[&(a, b)].held.load(Ordering::SeqCst);
            if held(door.from, door.to) || held(door.to, door.from) {
                continue;
            }
            if let Ok((stream, _)) = door.listener.accept() {
                idle = false;
                // Who is not there refuses: the knocker's connection just ends.
                let _ = join(door, stream, shared);
            }
        }
        if idle {
            thread::sleep(REST);
        }
    }
}

fn join(door: &Door, near: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let far = TcpStream::connect_timeout(&door.behind, DIAL)?;
    let over = Arc::new(AtomicBool::new(false));
    for stream in [&near, &far] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    }
    let places = (door.from, door.to);
    let mut live = shared.live.lock().unwrap();
    live.retain(|c| !c.over.load(Ordering::SeqCst));
    live.push(Connection { places, over: Arc::clone(&over) });
    drop(live);
    let ways =
        [(near.try_clone()?, far.try_clone()?, (door.from, door.to)), (far, near, (door.to, door.from))];
    for (from, to, way) in ways {
        let (pipe, over) = (Arc::clone(&shared.pipes[&way]), Arc::clone(&over));
        thread::spawn(move || {
            pump(from, to, &pipe, &over);
            over.store(true, Ordering::SeqCst);
        });
    }
    Ok(())
}

/// Carries bytes until the connection is over. It ends by a reset, unless its sender ended it.
fn pump(mut from: TcpStream, mut to: TcpStream, pipe: &Pipe, over: &AtomicBool) {
    let mut buffer = vec![0; 16 << 10];
    while !over.load(Ordering::SeqCst) {
        let count = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        let delay = pipe.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            thread::sleep(Duration::from_millis(delay));
        }
        while pipe.held.load(Ordering::SeqCst) && !over.load(Ordering::SeqCst) {
            thread::sleep(REST);
        }
        let passes = burn(pipe, count);
        if over.load(Ordering::SeqCst) || to.write_all(&buffer[..passes]).is_err() || passes < count {
            break;
        }
    }
    for stream in [&from, &to] {
        let _ = set_socket_linger(stream, Some(Duration::ZERO));
    }
}

/// How many of the bytes pass before the cut, if one is due.
fn burn(pipe: &Pipe, count: usize) -> usize {
    let fuse = pipe.fuse.load(Ordering::SeqCst);
    if fuse == NEVER {
        return count;
    }
    if fuse >= count as i64 {
        pipe.fuse.store(fuse - count as i64, Ordering::SeqCst);
        return count;
    }
    pipe.fuse.store(NEVER, Ordering::SeqCst);
    pipe.blown.fetch_add(1, Ordering::SeqCst);
    fuse.max(0) as usize
}

#[cfg(test)]
mod tests {
    use super::{Doors, Network};
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// The two ends of a connection from place 1 to place 2.
    fn ends() -> (Network, TcpStream, TcpStream) {
        let behind = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut doors = Doors::default();
        let door = doors.open(1, 2, behind.local_addr().unwrap().port());
        let network = Network::begin(doors);
        let near = TcpStream::connect(("127.0.0.1", door)).unwrap();
        let far = behind.accept().unwrap().0;
        let known = || (!network.shared.live.lock().unwrap().is_empty()).then_some(());
        crate::state::until("the porter has joined the two ends", known);
        (network, near, far)
    }

    #[test]
    fn a_pipe_that_is_held_carries_later_and_the_other_way_still() {
        let (network, mut near, mut far) = ends();
        network.hold(1, 2);
        near.write_all(b"late").unwrap();
        far.write_all(b"back").unwrap();
        let mut word = [0; 4];
        near.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"back");
        far.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert_eq!(far.read(&mut word).unwrap_err().kind(), ErrorKind::WouldBlock);
        network.heal();
        far.set_read_timeout(None).unwrap();
        far.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"late");
    }

    #[test]
    fn a_pipe_is_cut_at_its_byte_and_a_reset_ends_both_ways() {
        let (network, mut near, mut far) = ends();
        network.cut_after(1, 2, 3);
        near.write_all(b"abcdef").unwrap();
        let mut word = Vec::new();
        let ended = far.read_to_end(&mut word);
        // A reset may overtake what stands before it.
        assert!(b"abc".starts_with(&word) && (ended.is_err() || word == b"abc"), "{word:?} {ended:?}");
        assert!(near.read(&mut [0]).is_err(), "the sender sees a reset");
        assert_eq!(network.cuts(), 1);
        let (network, mut near, mut far) = ends();
        assert_eq!(network.reset(2, 1), 1);
        assert!(near.read(&mut [0]).is_err() && far.read(&mut [0]).is_err(), "both see a reset");
    }
}
