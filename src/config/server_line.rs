//! One `server.N=` value: addresses, ports, role, client address; both ways.
//!
//! The text form is the original's `QuorumServer.toString`, since peers exchange it.
//! Deliberately absent: name resolution.

use std::fmt;
use std::net::IpAddr;

use crate::ids::Sid;

/// Whether a member votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Votes.
    #[default]
    Participant,
    /// Serves clients, forwards writes, has no vote.
    Observer,
}

impl Role {
    /// The word in files; any case, as the original.
    pub fn parse(word: &str) -> Option<Role> {
        match word.trim().to_ascii_lowercase().as_str() {
            "participant" => Some(Role::Participant),
            "observer" => Some(Role::Observer),
            _ => None,
        }
    }

    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Role::Participant => "participant",
            Role::Observer => "observer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A host, by name or address, and a port. Brackets of IPv6 are not part of `host`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Name or literal address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// One of a member's addresses, with both peer ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    /// Name or literal address, without brackets.
    pub host: String,
    /// Where the leader waits for learners.
    pub quorum_port: u16,
    /// Where elections are held.
    pub election_port: u16,
}

/// One member of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub sid: Sid,
    /// At least one; several only with `multiAddress.enabled`.
    pub addresses: Vec<PeerAddress>,
    /// Whether it votes.
    pub role: Role,
    /// The client listener behind the first `;`.
    pub client: Option<HostPort>,
    /// The TLS client listener behind the second `;`.
    pub secure_client: Option<HostPort>,
}

/// Why a `server.N` value is refused, and what to write.
pub(super) struct Refused {
    pub(super) reason: String,
    pub(super) fix: String,
}

const FORM: &str = "write host:quorumPort:electionPort[:role][;[address:]clientPort]";

fn refused<T>(reason: impl Into<String>, fix: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { reason: reason.into(), fix: fix.into() })
}

impl Member {
    /// Reads the value of `server.<sid>`.
    pub(super) fn parse(sid: Sid, text: &str) -> Result<Member, Refused> {
        let parts: Vec<&str> = text.split(';').collect();
        if parts.len() > 3 {
            return refused(format!("`{text}` has more than two client parts behind `;`"), FORM);
        }
        let mut addresses: Vec<PeerAddress> = Vec::new();
        let mut role = None;
        for part in parts[0].split('|') {
            let (address, this) = peer_address(part.trim())?;
            if let (Some(a), Some(b)) = (role, this)
                && a != b
            {
                return refused("its addresses have different roles", "give every address the same role");
            }
            role = role.or(this);
            addresses.push(address);
        }
        let client = parts.get(1).map(|p| listener(p)).transpose()?.flatten();
        let secure_client = parts.get(2).map(|p| listener(p)).transpose()?.flatten();
        Ok(Member { sid, addresses, role: role.unwrap_or_default(), client, secure_client })
    }

    /// The first address, which is the only one without `multiAddress.enabled`.
    pub fn address(&self) -> &PeerAddress {
        &self.addresses[0]
    }

    /// Whether it votes.
    pub fn votes(&self) -> bool {
        self.role == Role::Participant
    }
}

impl fmt::Display for Member {
    /// The value as the original writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&PeerAddress> = self.addresses.iter().collect();
        sorted.sort_by_key(|a| java_host(&a.host));
        for (i, a) in sorted.iter().enumerate() {
            let bar = if i == 0 { "" } else { "|" };
            write!(f, "{bar}{}:{}:{}", bracketed(&a.host), a.quorum_port, a.election_port)?;
        }
        write!(f, ":{}", self.role)?;
        if let Some(client) = &self.client {
            write!(f, ";{client}")?;
        }
        if let Some(secure) = &self.secure_client {
            write!(f, "{};{secure}", if self.client.is_none() { ";" } else { "" })?;
        }
        Ok(())
    }
}

/// A literal address as Java prints it (IPv6 never shortened); a name as it is.
fn java_host(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => v6.segments().map(|s| format!("{s:x}")).join(":"),
        },
        _ => host.to_owned(),
    }
}

fn bracketed(host: &str) -> String {
    let host = java_host(host);
    if host.contains(':') { format!("[{host}]") } else { host }
}

/// Whether a host is this machine by its very name: what no other host can reach.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.eq_ignore_ascii_case("localhost.localdomain")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Host and what follows it at colons; brackets around IPv6 removed.
fn colon_parts(text: &str) -> Result<Vec<&str>, Refused> {
    let Some(inner) = text.strip_prefix('[') else {
        return Ok(text.split(':').map(str::trim).collect());
    };
    let Some((host, rest)) = inner.split_once(']') else {
        return refused(format!("`{text}` opens `[` and never closes it"), "write [address]:port");
    };
    let mut out = vec![host];
    if let Some(rest) = rest.strip_prefix(':') {
        out.extend(rest.split(':').map(str::trim));
    } else if !rest.is_empty() {
        return refused(format!("`{rest}` follows `]` without a colon"), "write [address]:port");
    }
    Ok(out)
}

fn port(text: &str, what: &str) -> Result<u16, Refused> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => refused(format!("`{text}` is no {what} port"), "a port is a number between 1 and 65535"),
    }
}

fn peer_address(text: &str) -> Result<(PeerAddress, Option<Role>), Refused> {
    if !text.starts_with('[') && text.matches(':').count() > 3 {
        return refused(
            format!("`{text}` has too many colons"),
            "an IPv6 address stands in brackets: [::1]:2182:2183",
        );
    }
    let parts = colon_parts(text)?;
    let (host, quorum, election, role) = match parts[..] {
        [host, q, e] => (host, q, e, None),
        [host, q, e, role] => (host, q, e, Some(role)),
        [_, _] => return refused(format!("`{text}` has no election port"), FORM),
        _ => return refused(format!("`{text}` is not host:quorumPort:electionPort"), FORM),
    };
    if host.is_empty() {
        return refused(format!("`{text}` names no host"), FORM);
    }
    let quorum_port = port(quorum, "quorum")?;
    let election_port = port(election, "election")?;
    if quorum_port == election_port {
        return refused(
            format!("port {quorum_port} is both quorum and election port"),
            "give the election its own port",
        );
    }
    let role = match role.map(|word| (word, Role::parse(word))) {
        None => None,
        Some((_, Some(role))) => Some(role),
        Some((word, None)) => {
            return refused(format!("`{word}` is no role"), "a role is `participant` or `observer`");
        }
    };
    Ok((PeerAddress { host: host.into(), quorum_port, election_port }, role))
}

/// `clientPort` or `address:clientPort`; nothing when empty.
fn listener(text: &str) -> Result<Option<HostPort>, Refused> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let parts = colon_parts(text)?;
    let (host, number) = match parts[..] {
        [number] => ("0.0.0.0", number),
        [host, number] => (host, number),
        _ => return refused(format!("`{text}` is not [address:]clientPort"), FORM),
    };
    Ok(Some(HostPort { host: host.into(), port: port(number, "client")? }))
}
