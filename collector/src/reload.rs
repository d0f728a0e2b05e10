//! SIGHUP: the policies are read again from their file.

use std::io;

use lubdub_shared::inherited;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use crate::config::PolicySource;
use crate::driver::{NewPolicy, NotApplied, ToDriver};

/// Listens for the signal.
#[derive(Debug)]
pub(crate) struct Hangups {
    source: PolicySource,
    signal: Signal,
}

impl Hangups {
    /// From now on the signal does not end this process; `None` where it was ignored at the start
    /// (nohup), and stays so. Must be called within a runtime.
    ///
    /// # Errors
    /// The system does not deliver it.
    pub(crate) fn listen(source: PolicySource) -> io::Result<Option<Self>> {
        if inherited::take().hup_ignored {
            return Ok(None);
        }
        Ok(Some(Self { source, signal: signal(SignalKind::hangup())? }))
    }

    /// Reads the policies again each time. What holds a mistake changes nothing, and is told.
    pub(crate) async fn run(mut self, to_driver: mpsc::Sender<ToDriver>) {
        while self.signal.recv().await.is_some() {
            let policies = match self.source.read() {
                Ok(policies) => policies,
                Err(why) => {
                    error!("the policies that hold go on, the file holds a mistake: {why}");
                    continue;
                }
            };
            let (reply, applied) = oneshot::channel();
            let new = NewPolicy::File(policies);
            if to_driver.send(ToDriver::Policy { new, reply }).await.is_err() {
                return;
            }
            match applied.await {
                Ok(Ok(applied)) => {
                    info!(changed = applied.changed, "the policies were read again");
                }
                Ok(Err(NotApplied::Unrecorded(why))) => {
                    error!("the policies that hold go on: {why}");
                }
                Ok(Err(NotApplied::Mistake(why))) => error!("the policies that hold go on: {why}"),
                Err(_) => return,
            }
        }
    }
}
