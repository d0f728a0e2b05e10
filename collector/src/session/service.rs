//! The door that sidecars knock at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lubdub_shared::pb;
use lubdub_shared::pb::sidecar_service_server::SidecarService;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Session;
use crate::driver::ToDriver;

/// Messages that may wait for one sidecar. A command that finds it full is not sent, and expires.
pub(super) const STREAM_DEPTH: usize = 32;

/// Makes a session of each stream.
#[derive(Debug)]
pub(crate) struct Sidecars {
    to_driver: mpsc::Sender<ToDriver>,
    sessions: AtomicU64,
    /// Streams that may stand at one time.
    places: Arc<Semaphore>,
}

impl Sidecars {
    pub(crate) fn new(to_driver: mpsc::Sender<ToDriver>, places: usize) -> Self {
        let places = Arc::new(Semaphore::new(places));
        Self { to_driver, sessions: AtomicU64::new(0), places }
    }
}

#[tonic::async_trait]
impl SidecarService for Sidecars {
    type AttachStream = ReceiverStream<Result<pb::ToSidecar, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<pb::FromSidecar>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(
                "as many sidecars are connected as the limit on open files has room for",
            )
        })?;
        let (outbound, answers) = mpsc::channel(STREAM_DEPTH);
        let session = Session {
            number: self.sessions.fetch_add(1, Ordering::Relaxed) + 1,
            inbound: request.into_inner(),
            to_driver: self.to_driver.clone(),
            outbound,
        };
        tokio::spawn(async move {
            session.run().await;
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
