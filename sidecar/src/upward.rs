//! What a service manager above the sidecar is told, where `NOTIFY_SOCKET` names one (systemd, or
//! another sidecar): sd_notify(3).
//!
//! `MAINPID` is the sidecar's own pid and `WATCHDOG` its own liveness: a manager that took the
//! agent for the main process would end the unit at each restart, and one that heard the agent's
//! beats would kill on silence alone.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use lubdub_shared::time::Mono;
use rustix::process::{Pid, getppid};
use sd_notify::NotifyState;
use tracing::{debug, warn};

use crate::supervisor::Standing;

/// An agent that says nothing is up after this time.
const UP_AFTER: Duration = Duration::from_secs(10);

/// What the manager was told.
#[derive(Debug)]
pub(crate) struct Upward {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    beaten: Option<Mono>,
    ready: bool,
    stopping: bool,
    told: String,
}

impl Upward {
    /// `None` where no manager asked to be told. An agent has the socket of its own sidecar in its
    /// environment, and may start others: those are its tools, and speak for nobody but themselves.
    pub(crate) fn new() -> Option<Self> {
        let address = address(&std::env::var_os("NOTIFY_SOCKET")?)?;
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        if std::env::var_os("LUBDUB_LIFE").is_some() && !is_started_by_the_manager() {
            return None;
        }
        // Twice as often as asked, as sd_watchdog_enabled(3) advises.
        let watchdog = sd_notify::watchdog_enabled().map(|every| every / 2);
        let (ready, stopping, told) = (false, false, String::new());
        Some(Self { socket, address, watchdog, beaten: None, ready, stopping, told })
    }

    /// Tells what has changed. What could not be told is told the next time.
    pub(crate) fn tell(&mut self, standing: Standing, now: Mono) {
        let mut news = Vec::new();
        let ready = standing.ready || standing.up.is_some_and(|up| up >= UP_AFTER);
        if ready && !self.ready {
            news.push(NotifyState::MainPid(std::process::id()));
            news.push(NotifyState::Ready);
        }
        if standing.line != self.told {
            news.push(NotifyState::Status(&standing.line));
        }
        let due = |every| self.beaten.is_none_or(|beaten| now.since(beaten) >= every);
        let beats = self.watchdog.is_some_and(due);
        if beats {
            news.push(NotifyState::Watchdog);
        }
        if news.is_empty() || !self.send(&news) {
            return;
        }
        self.ready |= ready;
        self.told = standing.line;
        self.beaten = if beats { Some(now) } else { self.beaten };
    }

    /// Never blocks; false when a manager that is frozen, or gone, did not take it.
    fn send(&self, news: &[NotifyState<'_>]) -> bool {
        let lines: Vec<String> = news.iter().map(ToString::to_string).collect();
        let sent = self.socket.send_to_addr(lines.join("\n").as_bytes(), &self.address);
        if let Err(error) = &sent {
            debug!(%error, "the service manager cannot be told");
        }
        sent.is_ok()
    }

    /// The file is read anew.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => {
                self.send(&[NotifyState::Reloading, now]);
            }
            Err(error) => warn!(%error, "the service manager is not told of the reload"),
        }
    }

    /// It was.
    pub(crate) fn reloaded(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// The sidecar ends; told once. To systemd who ends by itself before it was ready has failed,
    /// whatever its code: an agent that was quick is told to have been.
    pub(crate) fn stopping(&mut self, asked: bool) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        if !asked && !self.ready {
            self.send(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
        }
        self.send(&[NotifyState::Stopping]);
    }
}

/// The process above is the manager itself, and no agent of its.
fn is_started_by_the_manager() -> bool {
    let manager = std::env::var("MANAGERPID").ok().and_then(|pid| pid.parse().ok());
    manager.is_some() && manager == getppid().map(Pid::as_raw_pid)
}

/// A path, or behind `@` an abstract name.
fn address(socket: &OsStr) -> Option<SocketAddr> {
    let bytes = socket.as_bytes();
    match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(socket).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_frozen_manager_did_not_take_is_told_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        manager.set_nonblocking(true).expect("a socket");
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let address = SocketAddr::from_pathname(&path).expect("a path");
        // Its queue is full.
        while socket.send_to_addr(b"X=1", &address).is_ok() {}
        let (ready, stopping, told) = (false, false, String::new());
        let mut upward =
            Upward { socket, address, watchdog: None, beaten: None, ready, stopping, told };
        let standing =
            || Standing { ready: true, up: Some(Duration::ZERO), line: "running".to_owned() };
        upward.tell(standing(), Mono(0));
        let mut buffer = [0; 256];
        let mut heard = || {
            let mut all = String::new();
            while let Ok(count) = manager.recv(&mut buffer) {
                all.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            all
        };
        assert!(!heard().contains("READY"), "there was no room");
        upward.tell(standing(), Mono(1));
        let said = heard();
        assert!(said.contains("READY=1") && said.contains("STATUS=running"), "{said}");
        upward.tell(standing(), Mono(2));
        assert_eq!(heard(), "", "once");
        upward.stopping(false);
        upward.stopping(true);
        assert_eq!(heard().trim(), "STOPPING=1", "once, and it was ready");
        for (asked, ready) in [(false, true), (true, false)] {
            (upward.ready, upward.stopping) = (false, false);
            upward.stopping(asked);
            let said = heard();
            assert_eq!(said.contains("READY=1"), ready, "ended before it was ready: {said}");
            assert!(said.contains("STOPPING=1"), "{said}");
        }
    }
}
