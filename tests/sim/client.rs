//! Simulated clients: real client bytes, one session each, and a memory of what was acknowledged.
//!
//! A client creates znodes under its own parent, sets and reads them, and checks what it is owed:
//! replies in order, zxids that never go back, its own acknowledged writes visible.

use crate::invariants::{client_fifo, own_writes};
use std::collections::BTreeMap;
use zkctl::jute::{self, Reader};
use zkctl::prng::Prng;
use zkctl::wire::connect::{ConnectRequest, ConnectResponse};
use zkctl::wire::frame;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::reply::{ReplyHeader, Stat};

/// What a client did and has not heard of yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doing {
    Create(String, u64),
    Set(String, u64),
    Get(String),
    Ephemeral,
    Sync,
    Ping,
}

#[derive(Debug)]
pub(crate) struct SimClient {
    pub(crate) id: u64,
    pub(crate) session: i64,
    password: [u8; 16],
    pub(crate) last_zxid: i64,
    pub(crate) connected: bool,
    inbound: Vec<u8>,
    doing: Vec<(i32, Doing)>,
    next_xid: i32,
    next_value: u64,
    /// Acknowledged content: path to value.
    pub(crate) acked: BTreeMap<String, u64>,
    /// Values whose fate is unknown, by path.
    pub(crate) unknown: BTreeMap<String, Vec<u64>>,
    pub(crate) operations: u64,
    pub(crate) expiries: u64,
    prng: Prng,
}

impl SimClient {
    pub(crate) fn new(id: u64, prng: Prng) -> SimClient {
        SimClient {
            id,
            session: 0,
            password: [0; 16],
            last_zxid: 0,
            connected: false,
            inbound: Vec::new(),
            doing: Vec::new(),
            next_xid: 1,
            next_value: 1,
            acked: BTreeMap::new(),
            unknown: BTreeMap::new(),
            operations: 0,
            expiries: 0,
            prng,
        }
    }

    /// What it says first on a new connection.
    pub(crate) fn hello(&mut self) -> Vec<u8> {
        self.connected = false;
        self.inbound.clear();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: 4000,
            session: self.session,
            password: &self.password,
            read_only: Some(false),
        };
        framed(|out| request.encode(out))
    }

    /// The connection is gone: what was under way has an unknown fate.
    pub(crate) fn lost(&mut self) {
        self.connected = false;
        for (_, doing) in std::mem::take(&mut self.doing) {
            if let Doing::Create(path, value) | Doing::Set(path, value) = doing {
                self.unknown.entry(path).or_default().push(value);
            }
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.connected && self.doing.is_empty()
    }

    /// Up to a few requests in one piece.
    pub(crate) fn act(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..self.prng.between(1, 4) {
            let xid = self.next_xid;
            self.next_xid += 1;
            let path = format!("/c{}-{}", self.id, self.prng.below(4));
            let value = self.next_value;
            let known = self.acked.contains_key(&path) && !self.unknown.contains_key(&path);
            let doing = match self.prng.below(12) {
                0 => Doing::Ping,
                1 => Doing::Sync,
                2 => Doing::Ephemeral,
                3..=5 => Doing::Get(path),
                _ if known && !self.is_touched(&path) => Doing::Set(path, value),
                _ => Doing::Create(path, value),
            };
            self.next_value += 1;
            out.extend(request(xid, &doing, self.id, value));
            self.doing.push((xid, doing));
        }
        out
    }

    fn is_touched(&self, path: &str) -> bool {
        self.doing.iter().any(|(_, d)| matches!(d, Doing::Create(p, _) | Doing::Set(p, _) if p == path))
    }

    /// Takes in bytes; says what is wrong with them, if anything.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.inbound.extend_from_slice(bytes);
        loop {
            let inbound = self.inbound.clone();
            let Ok((payload, used)) = frame::next(&inbound, 1 << 20) else { return Ok(()) };
            self.inbound.drain(..used);
            if self.connected {
                self.on_reply(payload)?;
            } else {
                self.on_connected(payload)?;
            }
        }
    }

    fn on_connected(&mut self, payload: &[u8]) -> Result<(), String> {
        let response = ConnectResponse::decode(payload).map_err(|e| e.to_string())?;
        if response.session == 0 {
            self.expiries += 1;
            self.session = 0;
            self.password = [0; 16];
            return Ok(());
        }
        if self.session != 0 && self.session != response.session {
            return Err(format!("client {}: asked for session {:#x}, got another", self.id, self.session));
        }
        self.session = response.session;
        self.password = response.password;
        self.connected = true;
        Ok(())
    }

    fn on_reply(&mut self, payload: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(payload);
        let header = ReplyHeader::read(&mut reader).map_err(|e| e.to_string())?;
        if header.xid == -1 {
            return Ok(());
        }
        let due = self.doing.first().map(|(xid, doing)| if *doing == Doing::Ping { -2 } else { *xid });
        client_fifo::check(self.id, &header, due, self.last_zxid)?;
        let (_, doing) = self.doing.remove(0);
        self.last_zxid = header.zxid;
        self.operations += 1;
        match doing {
            Doing::Create(path, value) if header.err.0 == 0 => self.wrote(path, value),
            Doing::Set(path, value) if header.err.0 == 0 => self.wrote(path, value),
            Doing::Set(path, _) => own_writes::finds(self.id, &path, header.err.0)?,
            Doing::Get(path) => self.read(&path, header.err.0, &mut reader)?,
            Doing::Create(..) | Doing::Ephemeral | Doing::Sync | Doing::Ping => {}
        }
        Ok(())
    }

    fn wrote(&mut self, path: String, value: u64) {
        self.unknown.remove(&path);
        self.acked.insert(path, value);
    }

    fn read(&mut self, path: &str, err: i32, reader: &mut Reader<'_>) -> Result<(), String> {
        if !self.acked.contains_key(path) {
            return Ok(());
        }
        own_writes::finds(self.id, path, err)?;
        let data = reader.buffer().map_err(|e| e.to_string())?.unwrap_or_default();
        Stat::read(reader).map_err(|e| e.to_string())?;
        let value = u64::from_be_bytes(data.try_into().map_err(|_| "a value of another length".to_owned())?);
        own_writes::reads(self, path, value)
    }
}

fn framed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let open = frame::begin(&mut out);
    write(&mut out);
    open.end(&mut out);
    out
}

fn request(xid: i32, doing: &Doing, id: u64, value: u64) -> Vec<u8> {
    framed(|out| {
        let header = |out: &mut Vec<u8>, xid: i32, op: OpCode| {
            jute::put_i32(out, xid);
            jute::put_i32(out, op.wire());
        };
        let create = |out: &mut Vec<u8>, path: &str, flags: i32| {
            jute::put_string(out, path);
            jute::put_buffer(out, &value.to_be_bytes());
            jute::put_i32(out, 1);
            jute::put_i32(out, 31);
            jute::put_string(out, "world");
            jute::put_string(out, "anyone");
            jute::put_i32(out, flags);
        };
        match doing {
            Doing::Create(path, _) => {
                header(out, xid, OpCode::Create);
                create(out, path, 0);
            }
            Doing::Ephemeral => {
                header(out, xid, OpCode::Create);
                create(out, &format!("/e{id}-"), 3);
            }
            Doing::Set(path, _) => {
                header(out, xid, OpCode::SetData);
                jute::put_string(out, path);
                jute::put_buffer(out, &value.to_be_bytes());
                jute::put_i32(out, -1);
            }
            Doing::Get(path) => {
                header(out, xid, OpCode::GetData);
                jute::put_string(out, path);
                jute::put_bool(out, false);
            }
            Doing::Sync => {
                header(out, xid, OpCode::Sync);
                jute::put_string(out, "/");
            }
            Doing::Ping => header(out, -2, OpCode::Ping),
        }
    })
}
