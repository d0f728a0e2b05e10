//! Evidence and the checkpoint hook: both run beside the driver.

use lubdub_shared::session::Happening;
use lubdub_shared::time::{self, Now};

use super::Driver;
use super::notices::News;
use crate::evidence::Job;
use crate::supervisor::{EVIDENCE_PATIENCE, Gather, Purpose};

impl Driver {
    pub(super) fn gather(&mut self, order: Gather, now: Now) {
        if self.config.scratch.is_some() && order.purpose == Purpose::AfterEnd {
            // It would go with the directory that it lies in.
            return;
        }
        let argv = self.config.hooks.evidence.as_deref();
        let mut hook = argv.map(|argv| self.hook(argv, EVIDENCE_PATIENCE));
        if let Some(hook) = &mut hook {
            hook.environment.push(("LUBDUB_REASON", order.reason.clone()));
        }
        let job = Job {
            agent: self.config.agent.clone(),
            host: self.host.clone(),
            at: now.wall,
            order,
            whom: self.process.whom(),
            output: self.process.output_tail(),
            hook,
            shelf: self.config.shelf.clone(),
            send: self.supervisor.policy().send_evidence,
        };
        self.gathering += 1;
        self.report_back(async move { News::Gathered(Box::new(job.run().await)) });
    }

    /// The sidecar ends: what is being gathered is told before.
    pub(super) async fn finish_gathering(&mut self) {
        while self.gathering > 0 {
            if let News::Gathered(gathered) = self.notices.news().await {
                self.gathering -= 1;
                let now = time::now();
                if let Ok(bundle) = gathered.bundle {
                    self.outbox.push(now.wall, gathered.life, Happening::Evidence(bundle));
                }
            }
        }
    }

    pub(super) fn checkpoint(&mut self) {
        let Some(argv) = &self.config.hooks.checkpoint else { return };
        let patience = self.config.local.checkpoint.unwrap_or_default();
        let hook = self.hook(argv, patience);
        self.report_back(async move { News::Checkpointed(hook.run().await) });
    }
}
