//! What a service manager above the sidecar is told, where `NOTIFY_SOCKET` names one (systemd, or
//! another sidecar): sd_notify(3).
//!
//! `MAINPID` is the sidecar's own pid and `WATCHDOG` its own liveness: a manager that took the
//! agent for the main process would end the unit at each restart, and one that heard the agent's
//! beats would kill on silence alone.

use std::ffi::OsStr;
use std::io::ErrorKind;
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
        Some(Self { socket, address, watchdog, beaten: None, ready: false, told: String::new() })
    }

    /// Tells what has changed.
    pub(crate) fn tell(&mut self, standing: Standing, now: Mono) {
        let mut news = Vec::new();
        let up = standing.up.is_some_and(|up| standing.ready || up >= UP_AFTER);
        if up && !std::mem::replace(&mut self.ready, true) {
            news.push(NotifyState::MainPid(std::process::id()));
            news.push(NotifyState::Ready);
        }
        if standing.line != self.told {
            self.told = standing.line;
            news.push(NotifyState::Status(&self.told));
        }
        let due = |every| self.beaten.is_none_or(|beaten| now.since(beaten) >= every);
        if self.watchdog.is_some_and(due) {
            self.beaten = Some(now);
            news.push(NotifyState::Watchdog);
        }
        send(&self.socket, &self.address, &news);
    }

    fn send(&self, news: &[NotifyState<'_>]) {
        send(&self.socket, &self.address, news);
    }

    /// The file is read anew.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => warn!(%error, "the service manager is not told of the reload"),
        }
    }

    /// It was.
    pub(crate) fn reloaded(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// The sidecar ends.
    pub(crate) fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }
}

/// Never blocks: a manager that is frozen is told later, or not at all.
fn send(socket: &UnixDatagram, address: &SocketAddr, news: &[NotifyState<'_>]) {
    if news.is_empty() {
        return;
    }
    let lines: Vec<String> = news.iter().map(ToString::to_string).collect();
    match socket.send_to_addr(lines.join("\n").as_bytes(), address) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => debug!(%error, "the service manager cannot be told"),
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
