//! Signals to the sidecar: they end it, have its file read anew, or go on to its agent.

use lubdub_shared::time::Now;
use tokio::signal::unix::SignalKind;
use tracing::{error, info};

use super::{Config, Driver, Event};

impl Driver {
    pub(super) fn on_signal(&mut self, number: i32, now: Now) {
        let kind = SignalKind::from_raw(number);
        let ends = [SignalKind::terminate(), SignalKind::interrupt()].contains(&kind);
        if kind == SignalKind::hangup() && self.config.origin.is_some() {
            return self.reload();
        }
        if ends || kind == SignalKind::hangup() {
            self.asked_to_end = true;
            if let Some(upward) = &mut self.upward {
                upward.stopping(true);
            }
            self.events.push_back(Event::Shutdown(number));
            return self.abandon_start();
        }
        info!(number, at = %now.wall, "the signal goes on to the agent");
        self.process.signal_main(number);
    }

    /// Reads the sidecar's file anew. What only a new sidecar can change stays, and is named.
    fn reload(&mut self) {
        let Some(origin) = &self.config.origin else { return };
        if let Some(upward) = &self.upward {
            upward.reloading();
        }
        match origin.config() {
            Ok(config) => self.put(config),
            Err(why) => error!("not reloaded, what held still holds: {why:#}"),
        }
        if let Some(upward) = &self.upward {
            upward.reloaded();
        }
    }

    fn put(&mut self, config: Config) {
        let old = &self.config;
        let stays = [
            ("collectors", old.collectors != config.collectors),
            ("http", old.http != config.http),
            ("heartbeat_directory", old.heartbeat_file != config.heartbeat_file),
            ("labels", old.labels != config.labels),
            ("type, pidfile", old.kind != config.kind),
            ("[output]", old.capture != config.capture),
            ("die_with_sidecar", old.die_with_sidecar != config.die_with_sidecar),
        ];
        let stays: Vec<&str> =
            stays.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect();
        self.supervisor.set_local(config.local);
        self.notices.set_hook(config.hooks.nudge.clone());
        self.process.set_limits(config.limits);
        self.config = Config {
            collectors: old.collectors.clone(),
            http: old.http,
            state: old.state.clone(),
            door: old.door.clone(),
            heartbeat_file: old.heartbeat_file.clone(),
            labels: old.labels.clone(),
            attach: old.attach.clone(),
            kind: old.kind.clone(),
            capture: old.capture.clone(),
            die_with_sidecar: old.die_with_sidecar,
            interactive: old.interactive,
            ..config
        };
        match stays.as_slice() {
            [] => info!("reloaded"),
            keys => info!("reloaded, but for what needs a new sidecar: {}", keys.join(", ")),
        }
    }
}
