//! SIGHUP: the policies are read again from their file.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use crate::config::PolicySource;
use crate::driver::{NewPolicy, NotApplied, ToDriver};

/// Reads them again at each SIGHUP. What holds a mistake changes nothing, and is told.
pub(crate) async fn on_hangup(source: PolicySource, to_driver: mpsc::Sender<ToDriver>) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(why) => return error!(%why, "SIGHUP will not be heard"),
    };
    while hangups.recv().await.is_some() {
        let policies = match source.read() {
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
            Ok(Ok(applied)) => info!(changed = applied.changed, "the policies were read again"),
            Ok(Err(NotApplied::Unrecorded(why))) => error!("the policies that hold go on: {why}"),
            Ok(Err(NotApplied::Mistake(why))) => error!("the policies that hold go on: {why}"),
            Err(_) => return,
        }
    }
}
