//! Streams within this process: what a sidecar says goes to the driver without a wire. For programs
//! that hold a collector, and for benchmarks of fleets larger than the descriptors of one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lubdub_engine::AgentIndex;
use lubdub_shared::session::{FromSidecar, Hello, ToSidecar};
use lubdub_shared::time;
use tokio::sync::{mpsc, oneshot};

use crate::driver::ToDriver;

/// Numbers of local streams; those of the wire count up from 1.
const FIRST: u64 = 1 << 63;
/// Messages that may wait for one stream.
const DEPTH: usize = 4;

/// Makes local streams.
#[derive(Debug, Clone)]
pub struct Local {
    to_driver: mpsc::Sender<ToDriver>,
    sessions: Arc<AtomicU64>,
}

/// One local stream. Dropped without a Goodbye it is as a sidecar that fell silent.
#[derive(Debug)]
pub struct LocalStream {
    to_driver: mpsc::Sender<ToDriver>,
    session: u64,
    agent: AgentIndex,
    answers: mpsc::Receiver<ToSidecar>,
}

/// The collector has ended, or does not admit the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the collector has ended, or does not admit the agent")]
pub struct Gone;

impl Local {
    pub(crate) fn new(to_driver: mpsc::Sender<ToDriver>) -> Self {
        Self { to_driver, sessions: Arc::new(AtomicU64::new(FIRST)) }
    }

    /// A stream begins.
    ///
    /// # Errors
    /// The collector has ended, or does not admit the agent.
    pub async fn attach(&self, hello: Hello) -> Result<LocalStream, Gone> {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let (outbound, answers) = mpsc::channel(DEPTH);
        let (reply, answer) = oneshot::channel();
        let message = ToDriver::Hello { session, hello: Box::new(hello), outbound, reply };
        self.to_driver.send(message).await.map_err(|_| Gone)?;
        let agent = answer.await.map_err(|_| Gone)?.map_err(|_| Gone)?;
        Ok(LocalStream { to_driver: self.to_driver.clone(), session, agent, answers })
    }

    /// How long a message that comes now waits until the driver has dealt with it.
    ///
    /// # Errors
    /// The collector has ended.
    pub async fn delay(&self) -> Result<Duration, Gone> {
        let (reply, answer) = oneshot::channel();
        let begin = time::now().mono;
        self.to_driver.send(ToDriver::Ping { reply }).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)?;
        Ok(time::now().mono.since(begin))
    }
}

impl LocalStream {
    /// The sidecar says something.
    ///
    /// # Errors
    /// The collector has ended.
    pub async fn say(&self, message: FromSidecar) -> Result<(), Gone> {
        let (session, agent) = (self.session, self.agent);
        let message = ToDriver::Message { session, agent, message };
        self.to_driver.send(message).await.map_err(|_| Gone)
    }

    /// What the collector says next; `None` when another stream has taken its place.
    pub async fn hear(&mut self) -> Option<ToSidecar> {
        self.answers.recv().await
    }
}
