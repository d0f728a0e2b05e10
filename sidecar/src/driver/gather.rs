//! Evidence and the checkpoint hook: both run beside the driver.

use lubdub_shared::time::Now;

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
        self.report_back(async move { News::Gathered(Box::new(job.run().await)) });
    }

    pub(super) fn checkpoint(&mut self) {
        let Some(argv) = &self.config.hooks.checkpoint else { return };
        let patience = self.config.local.checkpoint.unwrap_or_default();
        let hook = self.hook(argv, patience);
        self.report_back(async move { News::Checkpointed(hook.run().await) });
    }
}
