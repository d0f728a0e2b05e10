//! What a service manager above the sidecar is told, where `NOTIFY_SOCKET` names one (systemd, or
//! another sidecar): sd_notify(3).
//!
//! `MAINPID` is the sidecar's own pid and `WATCHDOG` its own liveness: a manager that took the
//! agent for the main process would end the unit at each restart, and one that heard the agent's
//! beats would kill on silence alone.

use std::time::Duration;

use lubdub_shared::time::Mono;
use sd_notify::NotifyState;
use tracing::warn;

use crate::supervisor::Standing;

/// An agent that says nothing is up after this time.
const UP_AFTER: Duration = Duration::from_secs(10);

/// What the manager was told.
#[derive(Debug)]
pub(crate) struct Upward {
    watchdog: Option<Duration>,
    beaten: Option<Mono>,
    ready: bool,
    told: String,
}

impl Upward {
    /// `None` where no manager asked to be told.
    pub(crate) fn new() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        // Twice as often as asked, as sd_watchdog_enabled(3) advises.
        let watchdog = sd_notify::watchdog_enabled().map(|every| every / 2);
        Some(Self { watchdog, beaten: None, ready: false, told: String::new() })
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
        send(&news);
    }

    /// The file is read anew.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => warn!(%error, "the service manager is not told of the reload"),
        }
    }

    /// It was.
    pub(crate) fn reloaded(&self) {
        send(&[NotifyState::Ready]);
    }

    /// The sidecar ends.
    pub(crate) fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }
}

fn send(news: &[NotifyState<'_>]) {
    if news.is_empty() {
        return;
    }
    if let Err(error) = sd_notify::notify(news) {
        warn!(%error, "the service manager cannot be told");
    }
}
