//! A collector in a thread of this process, with a runtime of its own, as if it were a process.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use lubdub_collector::{Collector, Config, Transitions};
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};

use crate::client::Failed;

/// Where it listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// The thread's handle.
#[derive(Debug)]
pub(crate) struct Embedded {
    stop: watch::Sender<bool>,
    standing: Option<oneshot::Receiver<Standing>>,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// It ended before it stood.
#[derive(Debug)]
pub(crate) struct NotStanding;

impl Embedded {
    /// Starts the thread. `tell` is spawned there with the changes of status; `ended` hears why it
    /// ended by itself.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start<T: Future<Output = ()> + Send + 'static>(
        config: Config,
        tell: impl FnOnce(Transitions) -> T + Send + 'static,
        ended: impl FnOnce(&anyhow::Error) + Send + 'static,
    ) -> Result<Self, Failed> {
        let (stop, stopped) = watch::channel(false);
        let (stands, standing) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("lubdub-collector".to_owned())
            .spawn(move || {
                let done = collect(config, tell, stands, stopped);
                if let Err(error) = &done {
                    ended(error);
                }
                done
            })
            .map_err(|error| Failed::refused(format!("cannot start a thread: {error}")))?;
        Ok(Self { stop, standing: Some(standing), thread })
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// It ended instead; [`Embedded::stop`] says why.
    pub(crate) async fn stands(&mut self) -> Result<Standing, NotStanding> {
        self.standing.take().ok_or(NotStanding)?.await.map_err(|_| NotStanding)
    }

    /// Stops it; how it ended.
    ///
    /// # Errors
    /// It panicked.
    pub(crate) fn stop(self) -> Result<anyhow::Result<()>, Failed> {
        self.stop.send_replace(true);
        self.thread.join().map_err(|_| Failed::refused("the collector panicked"))
    }
}

fn collect<T: Future<Output = ()> + Send + 'static>(
    config: Config,
    tell: impl FnOnce(Transitions) -> T,
    stands: oneshot::Sender<Standing>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // A terminal that goes ends whoever started this, as ever.
    let config = Config { source: None, ..config };
    runtime.block_on(async {
        let collector = Collector::begin(config).await?;
        let addresses =
            Standing { grpc: collector.grpc_address()?, http: collector.http_address()? };
        tokio::spawn(tell(collector.transitions()));
        let gone = |_| anyhow::anyhow!("whoever started the collector is gone");
        stands.send(addresses).map_err(gone)?;
        collector.run(stopped).await
    })
}
