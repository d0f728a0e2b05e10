//! Bytes that the tree's TCP connections carried: an agent that reads a long answer of a model by
//! recv(2) shows in no other counter.
//!
//! The kernel is asked about all connections of our network namespace (sock_diag(7)); those of the
//! tree are told by the inodes behind its descriptors. Where the tree has a namespace of its own,
//! the bytes of that one's devices are taken.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use lubdub_shared::time::Mono;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

use super::procfs::Stat;

/// Descriptors of one process that are looked at.
const FDS_MAX: usize = 1024;
/// No socket has this inode: the devices of another namespace.
const DEVICES: u32 = 0;
/// Answers of the kernel that are read for one look.
const ANSWERS_MAX: usize = 4096;

/// Bytes carried so far; it only grows.
#[derive(Debug, Default)]
pub struct Network {
    /// Of each connection when it was last seen.
    seen: HashMap<u32, u64>,
    total: u64,
    looked: Option<Mono>,
}

impl Network {
    /// What was carried so far, by the newest look.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Looks, unless that was done of late: the kernel tells of all connections that there are.
    pub fn look_if_due(&mut self, members: &[Stat], every: Duration, now: Mono) {
        if self.looked.is_none_or(|looked| now.since(looked) >= every) {
            self.looked = Some(now);
            let pids: Vec<u32> = members.iter().map(|member| member.pid).collect();
            self.look(&pids);
        }
    }

    /// Looks at the connections of these processes. The total of what they carried since the first
    /// look; what cannot be asked counts as nothing.
    fn look(&mut self, pids: &[u32]) -> u64 {
        let own = fs::read_link("/proc/self/ns/net").ok();
        let elsewhere = pids.iter().find(|pid| {
            let theirs = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
            theirs.is_some() && theirs != own
        });
        let mut now = carried(&Sockets::of(pids)).unwrap_or_default();
        now.extend(elsewhere.and_then(|pid| Some((DEVICES, devices(*pid)?))));
        for (inode, bytes) in &now {
            let before = self.seen.get(inode).copied();
            // The first sight of a connection is a baseline: it may be older than this look.
            self.total += before.map_or(0, |before| bytes.saturating_sub(before));
        }
        self.seen = now;
        self.total
    }
}

/// Sockets that may be connections, by the family that the kernel is to be asked for.
#[derive(Debug, Default)]
struct Sockets {
    v4: HashSet<u32>,
    v6: HashSet<u32>,
}

impl Sockets {
    /// Those among the descriptors of these processes.
    fn of(pids: &[u32]) -> Self {
        let mut sockets = Self::default();
        for pid in pids {
            let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            entries.take(FDS_MAX).for_each(|entry| sockets.add(&entry.path()));
        }
        sockets
    }

    fn add(&mut self, descriptor: &Path) {
        let Some(inode) = fs::read_link(descriptor).ok().as_deref().and_then(inode) else { return };
        let mut protocol = [0; 16];
        let told = rustix::fs::getxattr(descriptor, "system.sockprotoname", &mut protocol);
        let (v4, v6) = match told.map(|length| &protocol[..length]) {
            Ok(b"TCP\0") => (true, false),
            Ok(b"TCPv6\0") => (false, true),
            // Of both families.
            Ok(b"MPTCP\0" | b"MPTCPv6\0") | Err(_) => (true, true),
            Ok(_) => (false, false),
        };
        self.v4.extend(v4.then_some(inode));
        self.v6.extend(v6.then_some(inode));
    }
}

fn inode(link: &Path) -> Option<u32> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Bytes received and acknowledged by the devices of a process's namespace, but for its loopback.
fn devices(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    let bytes = text.lines().filter_map(|line| {
        let (name, counters) = line.split_once(':')?;
        let mut counters = counters.split_ascii_whitespace();
        let received: u64 = counters.next()?.parse().ok()?;
        let sent: u64 = counters.nth(7)?.parse().ok()?;
        (name.trim() != "lo").then_some(received + sent)
    });
    Some(bytes.sum())
}

/// What each of these connections carried, both ways.
fn carried(sockets: &Sockets) -> io::Result<HashMap<u32, u64>> {
    let mut found = HashMap::new();
    for (inodes, family, socket_id) in
        [(&sockets.v4, AF_INET, SocketId::new_v4()), (&sockets.v6, AF_INET6, SocketId::new_v6())]
    {
        // The kernel walks through its whole table for an answer, however few there are.
        if inodes.is_empty() {
            continue;
        }
        ask(family, socket_id, |inode, bytes| {
            if inodes.contains(&inode) {
                found.insert(inode, bytes);
            }
        })?;
    }
    Ok(found)
}

/// `tcpi_bytes_acked` and `tcpi_bytes_received` of `struct tcp_info` (Linux 4.1), in sum.
fn both_ways(info: &[u8]) -> Option<u64> {
    let word = |at: usize| info.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    Some(word(120)? + word(128)?)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum may grow")]
fn ask(family: u8, socket_id: SocketId, mut hear: impl FnMut(u32, u64)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // The kernel answers at once or never.
    socket.set_non_blocking(true)?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states: StateFlags::ESTABLISHED,
        socket_id,
    });
    let mut packet = NetlinkMessage::new(header, request.into());
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    for _ in 0..ANSWERS_MAX {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = usize::try_from(message.header.length).unwrap_or(0);
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    let info = response.nlas.iter().find_map(|nla| {
                        if let Nla::TcpInfo(info) = nla { both_ways(info) } else { None }
                    });
                    hear(response.header.inode, info.unwrap_or_default());
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(refused) => return Err(refused.to_io()),
                _ => return Err(io::Error::other("the kernel said something else")),
            }
            if length == 0 || length > rest.len() {
                break;
            }
            rest = &rest[length..];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_a_connection_carries_is_counted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("up");
            let (mut far, _) = listener.accept().expect("a connection");
            let mut network = Network::default();
            let own = [std::process::id()];
            let before = network.look(&own);
            near.write_all(&[7; 10_000]).expect("sent");
            let mut heard = [0; 10_000];
            far.read_exact(&mut heard).expect("received");
            // Both ends are ours: one received them, the other had them acknowledged.
            let grown = network.look(&own) - before;
            assert!((10_000..=20_100).contains(&grown), "{address}: {grown}");
        }
    }
}
