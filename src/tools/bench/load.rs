//! The loop: when which request leaves, and what its answer counts for.
//!
//! One thread, one readiness queue. Replies of one read are counted with one look at the clock, requests
//! of one turn leave in one write per connection.

use super::connection::{Connection, Got, Issued, Kind};
use super::replies::Head;
use super::report::{Counted, Usage};
use super::requests::{Templates, close, ping};
use super::{BenchError, BenchOptions, BenchReport, Length, Mix};
use crate::prng::Prng;
use crate::wire::opcode::xid;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const TIMER: Token = Token(usize::MAX);
/// Bytes read at once.
const BUFFER: usize = 256 << 10;
/// Between two attempts at a server that does not take us.
const RETRY_NS: u64 = 5_000_000;
/// How long sessions may take to open, and answers to come in at the end.
const OPEN_SECONDS: u64 = 30;
const DRAIN_NS: u64 = 10_000_000_000;
/// How often quiet sessions are looked after.
const SWEEP_NS: u64 = 1_000_000_000;
/// A session that sent nothing for so long pings.
const QUIET_NS: u64 = 8_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Sessions are opened.
    Opening,
    /// Load that does not count.
    WarmUp,
    /// Load that counts.
    Measuring,
    /// Nothing new is sent; answers come in.
    Draining,
}

/// A run.
pub(super) struct Load<'a> {
    options: &'a BenchOptions,
    templates: Templates,
    poll: Poll,
    timer: OwnedFd,
    connections: Vec<Connection>,
    /// Servers in order, for a connection that has to go elsewhere.
    servers: Vec<SocketAddr>,
    began: Instant,
    phase: Phase,
    phase_until: u64,
    measuring_since: u64,
    next_sweep: u64,
    /// Requests that may still be sent in this phase.
    left: u64,
    /// When the next request of a fixed rate is due, and whose it is.
    next_due: u64,
    next_connection: usize,
    prng: Prng,
    counted: Counted,
    usage: Option<Usage>,
    buffer: Vec<u8>,
}

impl<'a> Load<'a> {
    /// A run against these servers below `root`.
    pub(super) fn new(
        options: &'a BenchOptions,
        servers: &[SocketAddr],
        root: &str,
    ) -> Result<Load<'a>, BenchError> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer =
            rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).map_err(std::io::Error::from)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let connections = (0..options.connections).map(|n| Connection::new(servers[n % servers.len()]));
        Ok(Load {
            options,
            templates: Templates::new(options, root),
            poll,
            timer,
            connections: connections.collect(),
            servers: servers.to_vec(),
            began: Instant::now(),
            phase: Phase::Opening,
            phase_until: OPEN_SECONDS * 1_000_000_000,
            measuring_since: 0,
            next_sweep: 0,
            left: 0,
            next_due: 0,
            next_connection: 0,
            prng: Prng::new(options.seed),
            counted: Counted::new(),
            usage: None,
            buffer: vec![0; BUFFER],
        })
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Runs it to its end.
    pub(super) fn run(mut self) -> Result<BenchReport, BenchError> {
        let mut events = Events::with_capacity(1024);
        let mut touched = Vec::new();
        let report = loop {
            let now = self.now();
            if now >= self.next_sweep {
                self.sweep(now)?;
                touched.extend(0..self.connections.len());
            }
            if let Some(report) = self.turn_phase(now, &mut touched)? {
                break report;
            }
            self.schedule(now, &mut touched);
            for n in touched.drain(..) {
                self.fill(n, now);
            }
            self.wait(&mut events)?;
            for event in &events {
                if let Token(n) = event.token()
                    && event.token() != TIMER
                {
                    self.on_event(n, event.is_writable())?;
                    touched.push(n);
                }
            }
        };
        self.say_goodbye();
        Ok(report)
    }

    /// Sleeps until something is readable, due or over.
    fn wait(&mut self, events: &mut Events) -> Result<(), BenchError> {
        let mut until = self.phase_until.min(self.next_sweep);
        if self.options.rate.is_some() && self.is_loading() {
            until = until.min(self.next_due);
        }
        let rest = until.saturating_sub(self.now());
        // The readiness queue's own timeout is in milliseconds; a rate of thousands needs better.
        let timeout = if rest < 20_000_000 {
            let value = Timespec { tv_sec: 0, tv_nsec: rest.max(1) as i64 };
            let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let at = Itimerspec { it_interval: interval, it_value: value };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &at)
                .map_err(std::io::Error::from)?;
            None
        } else {
            Some(Duration::from_millis(10))
        };
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() != std::io::ErrorKind::Interrupted => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn is_loading(&self) -> bool {
        matches!(self.phase, Phase::WarmUp | Phase::Measuring)
    }

    /// Goes to the next phase when this one is over; the report when all are.
    fn turn_phase(&mut self, now: u64, touched: &mut Vec<usize>) -> Result<Option<BenchReport>, BenchError> {
        let stopped = self.options.stop.load(Ordering::Relaxed);
        match self.phase {
            Phase::Opening => {
                let waiting = self.connections.iter().find(|c| !c.is_open());
                match waiting {
                    None => {
                        self.enter(Phase::WarmUp, now, now + self.options.warm_up.as_nanos() as u64);
                        self.left = u64::MAX;
                        self.next_due = now;
                        touched.extend(0..self.connections.len());
                    }
                    Some(_) if stopped => return Err(BenchError::Interrupted),
                    Some(c) if now >= self.phase_until => {
                        return Err(BenchError::NoSession {
                            server: c.server,
                            seconds: OPEN_SECONDS,
                            reason: c.trouble.clone(),
                        });
                    }
                    Some(_) => {}
                }
            }
            Phase::WarmUp if now >= self.phase_until || stopped => {
                let end = match self.options.length {
                    Length::Time(time) => now + time.as_nanos() as u64,
                    Length::Operations(count) => {
                        self.left = count;
                        u64::MAX
                    }
                };
                self.usage = Some(Usage::read(self.options)?);
                self.counted.begin(now);
                self.measuring_since = now;
                self.enter(Phase::Measuring, now, end);
            }
            Phase::Measuring => {
                let all = self.left == 0 && self.connections.iter().all(Connection::is_idle);
                if now >= self.phase_until || stopped || all {
                    let report = self.report(now)?;
                    self.enter(Phase::Draining, now, now + DRAIN_NS);
                    self.drain()?;
                    return Ok(Some(report));
                }
            }
            Phase::WarmUp | Phase::Draining => {}
        }
        Ok(None)
    }

    fn enter(&mut self, phase: Phase, now: u64, until: u64) {
        self.phase = phase;
        self.phase_until = until;
        self.next_sweep = self.next_sweep.min(now + SWEEP_NS);
    }

    fn report(&mut self, now: u64) -> Result<BenchReport, BenchError> {
        let before = self.usage.take().unwrap_or_default();
        let used = Usage::read(self.options)?.since(&before);
        let seconds = (now - self.measuring_since) as f64 / 1e9;
        self.counted.end(now);
        Ok(BenchReport::new(self.options, &self.counted, seconds, &used))
    }

    /// Lets the answers that are under way come in, so that no server is left with them.
    fn drain(&mut self) -> Result<(), BenchError> {
        let mut events = Events::with_capacity(1024);
        while self.connections.iter().any(|c| !c.under_way.is_empty()) && self.now() < self.phase_until {
            self.poll.poll(&mut events, Some(Duration::from_millis(10)))?;
            for event in &events {
                if let Token(n) = event.token()
                    && event.token() != TIMER
                {
                    self.on_event(n, event.is_writable())?;
                }
            }
        }
        Ok(())
    }

    /// Ends the sessions; nobody waits for the answers.
    fn say_goodbye(&mut self) {
        for connection in self.connections.iter_mut().filter(|c| c.is_open()) {
            let request_xid = connection.take_xid();
            close(&mut connection.out, request_xid);
            let _ = connection.flush();
        }
    }

    /// Dials what is down, pings what is quiet.
    fn sweep(&mut self, now: u64) -> Result<(), BenchError> {
        self.next_sweep = now + SWEEP_NS;
        for n in 0..self.connections.len() {
            let connection = &mut self.connections[n];
            match connection.down_until() {
                Some(until) if until <= now => {
                    if let Err(error) = connection.dial(self.poll.registry(), Token(n)) {
                        connection.drop_link(now + RETRY_NS, error.to_string());
                    }
                }
                Some(_) => {}
                None if connection.is_open() && now > connection.last_sent + QUIET_NS => {
                    ping(&mut connection.out);
                    connection.last_sent = now;
                }
                None => {}
            }
            if let Some(until) = self.connections[n].down_until() {
                self.next_sweep = self.next_sweep.min(until.max(now + RETRY_NS));
            }
        }
        Ok(())
    }

    fn on_event(&mut self, n: usize, writable: bool) -> Result<(), BenchError> {
        if writable && let Err(error) = self.connections[n].on_writable() {
            self.lost(n, error.to_string());
            return Ok(());
        }
        let now = self.now();
        let connection = &mut self.connections[n];
        let mut under_way = std::mem::take(&mut connection.under_way);
        let (counted, measuring) = (&mut self.counted, self.phase == Phase::Measuring);
        let mut out_of_order = None;
        let got = connection.read(&mut self.buffer, |head: Head| {
            if head.xid == xid::PING || head.xid == xid::NOTIFICATION {
                return;
            }
            match under_way.pop_front() {
                Some(issued) if issued.xid == head.xid => {
                    if measuring {
                        counted.answer(issued, head.err, now);
                    }
                }
                other => out_of_order = Some((head.xid, other.map(|i| i.xid))),
            }
        });
        connection.under_way = under_way;
        let server = connection.server;
        let nonsense = |reason| Err(BenchError::Protocol { server, reason });
        if let Some((got, wanted)) = out_of_order {
            return nonsense(format!("it answered xid {got} where {wanted:?} was asked"));
        }
        match got {
            Got::All => Ok(()),
            Got::Nonsense(reason) => nonsense(reason),
            Got::End(reason) => {
                self.lost(n, reason);
                Ok(())
            }
        }
    }

    /// A connection ended: what was under way is lost, and another server is tried.
    fn lost(&mut self, n: usize, reason: String) {
        let now = self.now();
        let connection = &mut self.connections[n];
        let lost = connection.drop_link(now + RETRY_NS, reason);
        let at = self.servers.iter().position(|s| *s == connection.server).unwrap_or(0);
        connection.server = self.servers[(at + 1) % self.servers.len()];
        if self.phase == Phase::Measuring {
            self.counted.lost(lost as u64);
        }
        self.next_sweep = self.next_sweep.min(now + RETRY_NS);
    }

    /// Hands requests that are due to connections in turn.
    fn schedule(&mut self, now: u64, touched: &mut Vec<usize>) {
        let Some(rate) = self.options.rate.filter(|_| self.is_loading()) else { return };
        while self.next_due <= now && self.left > 0 {
            let n = self.next_connection;
            self.next_connection = (n + 1) % self.connections.len();
            self.connections[n].due.push_back(self.next_due);
            if self.phase == Phase::Measuring {
                self.left -= 1;
            }
            touched.push(n);
            self.next_due += (1_000_000_000 / rate).max(1);
        }
    }

    /// Fills a connection's pipeline and sends.
    fn fill(&mut self, n: usize, now: u64) {
        let loading = self.is_loading();
        while loading && self.connections[n].is_open() {
            let connection = &mut self.connections[n];
            if connection.under_way.len() >= self.options.pipeline {
                break;
            }
            let at = if self.options.rate.is_some() {
                let Some(due) = connection.due.pop_front() else { break };
                due
            } else if self.left > 0 {
                if self.phase == Phase::Measuring {
                    self.left -= 1;
                }
                now
            } else {
                break;
            };
            self.issue(n, at);
        }
        let connection = &mut self.connections[n];
        if !connection.out.is_empty() {
            connection.last_sent = now;
            if let Err(error) = connection.flush() {
                self.lost(n, error.to_string());
            }
        }
    }

    fn issue(&mut self, n: usize, at: u64) {
        let connection = &mut self.connections[n];
        let request_xid = connection.take_xid();
        let reads = match self.options.mix {
            Mix::Get => true,
            Mix::Set | Mix::Create => false,
            Mix::Mixed => self.prng.chance(9, 10),
        };
        if self.options.mix == Mix::Create {
            let key = connection.made;
            connection.made += 1;
            self.templates.create(&mut connection.out, request_xid, n, key);
        } else {
            let key = self.prng.below(self.options.keys);
            if reads {
                self.templates.get(&mut connection.out, request_xid, key);
            } else {
                self.templates.set(&mut connection.out, request_xid, key);
            }
        }
        let kind = if reads { Kind::Read } else { Kind::Write };
        connection.under_way.push_back(Issued { kind, at, xid: request_xid });
    }
}
