//! Servers as on machines of their own: a network namespace each, on one bridge, without a way out. What is
//! dropped there is dropped by the kernel (iptables): packets are gone, TCP tries again ever more slowly, and
//! neither side learns of it.
//!
//! Place 0 is the clients', and the calling thread's; place N is server N's. Named after this process, so that a
//! later run removes what a killed one left.

use crate::server::enter;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "zkl";

/// The namespaces; they go with it.
#[derive(Debug)]
pub(crate) struct Lan {
    /// Of which process, and which of its lans: the beginning of its namespaces' names.
    name: String,
    places: usize,
}

#[track_caller]
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said} (run as root, after tests/install-deps)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A place's address.
pub(crate) fn address(place: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100 + place as u8))
}

/// Removes the namespaces of runs that are over.
fn sweep() {
    for line in ip("netns list").lines() {
        let Some(name) = line.split(' ').next().filter(|n| n.starts_with(PREFIX)) else { continue };
        let pid = name.trim_start_matches(PREFIX).split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            ip(&format!("netns del {name}"));
        }
    }
}

impl Lan {
    /// Makes places 0 to `servers`, and moves the calling thread (and those that it begins) to place 0.
    #[track_caller]
    pub(crate) fn begin(servers: usize) -> Lan {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let lan = Lan { name: format!("{PREFIX}{}-{nth}", std::process::id()), places: servers + 1 };
        let hub = lan.host(0);
        for place in 0..lan.places {
            ip(&format!("netns add {}", lan.host(place)));
            ip(&format!("-n {} link set lo up", lan.host(place)));
        }
        ip(&format!("-n {hub} link add bridge type bridge"));
        ip(&format!("-n {hub} addr add {}/24 dev bridge", address(0)));
        ip(&format!("-n {hub} link set bridge up"));
        for place in 1..lan.places {
            let host = lan.host(place);
            ip(&format!("-n {hub} link add port{place} type veth peer name eth0 netns {host}"));
            ip(&format!("-n {hub} link set port{place} master bridge up"));
            ip(&format!("-n {host} addr add {}/24 dev eth0", address(place)));
            ip(&format!("-n {host} link set eth0 up"));
        }
        enter(&lan.namespace(0));
        lan
    }

    fn host(&self, place: usize) -> String {
        format!("{}-{place}", self.name)
    }

    /// What names a place's namespace.
    pub(crate) fn namespace(&self, place: usize) -> PathBuf {
        Path::new("/run/netns").join(self.host(place))
    }

    /// From now on nothing of `from` arrives at `to`.
    pub(crate) fn hold(&self, from: usize, to: usize) {
        self.filter(to, &format!("-A INPUT -s {} -j DROP", address(from)));
    }

    /// Everything arrives again.
    pub(crate) fn heal(&self) {
        (0..self.places).for_each(|place| self.filter(place, "-F INPUT"));
    }

    #[track_caller]
    fn filter(&self, place: usize, rule: &str) {
        ip(&format!("netns exec {} iptables -w {rule}", self.host(place)));
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for place in 0..self.places {
            let _ = Command::new("ip").args(["netns", "del", &self.host(place)]).status();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lan, address};
    use crate::server::enter;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// A datagram from place 1 to place 2, or none within a moment.
    fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
        from.send_to(b"x", to.local_addr().unwrap()).unwrap();
        to.recv(&mut [0; 1]).is_ok()
    }

    #[test]
    fn what_is_held_does_not_arrive_and_the_other_way_does() {
        let lan = Lan::begin(2);
        let socket = |place| {
            enter(&lan.namespace(place));
            let socket = UdpSocket::bind((address(place), 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            socket
        };
        let (one, two) = (socket(1), socket(2));
        enter(&lan.namespace(0));
        assert!(arrives(&one, &two) && arrives(&two, &one));
        lan.hold(1, 2);
        two.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(!arrives(&one, &two) && arrives(&two, &one));
        lan.heal();
        two.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        assert!(arrives(&one, &two));
    }
}
