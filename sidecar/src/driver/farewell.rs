//! The end of a sidecar: its collector is told everything before it leaves.

use std::time::Duration;

use lubdub_shared::session::{FromSidecar, GoodbyeReason, Happening};
use lubdub_shared::time;
use tokio::time::timeout;
use tracing::warn;

use crate::supervisor::EVIDENCE_PATIENCE;

use super::{Driver, FromLink, LinkState};
use crate::beside::beside;
use crate::link::spool;

/// How long the end waits for the collector's acks.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

impl Driver {
    /// The agent has ended for good: what happened is handed over, then the sidecar leaves.
    pub(super) async fn finish(mut self, code: u8) -> u8 {
        if let Some(upward) = &mut self.upward {
            upward.stopping(self.asked_to_end);
        }
        if timeout(EVIDENCE_PATIENCE, self.finish_gathering()).await.is_err() {
            warn!("evidence of the end was not gathered in time");
        }
        self.flush().await;
        if self.pass_output_on().await {
            self.flush().await;
        }
        let reason =
            if self.asked_to_end { GoodbyeReason::Shutdown } else { GoodbyeReason::AgentEnded };
        let back_within = self.config.back_within.filter(|_| self.asked_to_end);
        let state = LinkState::Down { was_up: true };
        if let LinkState::Up(sender) = std::mem::replace(&mut self.link, state)
            && sender.send(FromSidecar::Goodbye { reason, back_within }).await.is_ok()
        {
            drop(sender);
            let gone = async {
                while !matches!(self.from_link.recv().await, Some(FromLink::Down) | None) {}
            };
            if timeout(Duration::from_secs(1), gone).await.is_err() {
                warn!("the collector did not answer the goodbye");
            }
        }
        code
    }

    /// What was captured comes out first, as long as somebody takes it; the link lives meanwhile.
    /// True when that left something to tell.
    async fn pass_output_on(&mut self) -> bool {
        let Some(output) = self.process.take_output() else { return false };
        let lost = beside("lubdub-drain", move || output.finish()).await.unwrap_or_default();
        if lost > 0 {
            let text = format!("nobody took the last {lost} bytes of its output");
            warn!("{text}");
            let (now, life) = (time::now(), self.supervisor.life());
            self.outbox.push(now.wall, life, Happening::Note { text });
        }
        lost > 0
    }

    /// Everything that happened is with the collector, or it does not take it.
    async fn flush(&mut self) {
        let patience = match self.link {
            LinkState::Up(_) | LinkState::Greeting(..) => FLUSH_PATIENCE,
            LinkState::Down { was_up: true } => FLUSH_PATIENCE / 2,
            LinkState::Down { was_up: false } => Duration::ZERO,
        };
        let late = timeout(patience, self.hand_over()).await.is_err();
        if late && !self.config.collectors.is_empty() {
            let spool = self.config.state.join(spool::FILE_NAME);
            let spool = spool.display();
            warn!(%spool, "no collector has stored everything: the next sidecar tells the rest");
        }
    }

    async fn hand_over(&mut self) {
        let now = time::now();
        let last = self.supervisor.report(now.mono);
        self.outbox.report(last);
        self.write_files(now);
        self.send(now);
        while !self.outbox.is_settled() {
            tokio::select! {
                heard = self.from_link.recv() => {
                    if heard.is_none() {
                        return;
                    }
                    self.on_link(heard, time::now());
                }
                () = self.disk.moved() => {}
            }
            // No command is carried out any more: there is nothing left to act on.
            self.events.clear();
            let now = time::now();
            self.write_files(now);
            self.send(now);
        }
    }
}
