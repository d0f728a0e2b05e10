//! A collector that says what it is told to say: for what a good one never sends.

use std::net::SocketAddr;
use std::sync::mpsc as sync_mpsc;
use std::time::Duration;

use lubdub_shared::pb;
use lubdub_shared::pb::sidecar_service_server::{SidecarService, SidecarServiceServer};
use lubdub_shared::session::{FromSidecar, Hello, ToSidecar};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status, Streaming};

/// Beyond the longest pause between two attempts.
const SOON: Duration = Duration::from_secs(45);

/// One stream of a sidecar.
#[derive(Debug)]
pub struct Stream {
    down: mpsc::Sender<Result<pb::ToSidecar, Status>>,
    up: sync_mpsc::Receiver<FromSidecar>,
}

impl Stream {
    /// Says something.
    pub fn say(&self, message: ToSidecar) {
        self.down.blocking_send(Ok(message.into())).expect("the stream stands");
    }

    /// What the sidecar says next, of what is asked for.
    #[track_caller]
    pub fn hear<T>(&self, what: &str, mut wanted: impl FnMut(FromSidecar) -> Option<T>) -> T {
        loop {
            let message = self.up.recv_timeout(SOON);
            let message = message.unwrap_or_else(|error| panic!("{what}: {error}"));
            if let Some(found) = wanted(message) {
                return found;
            }
        }
    }

    /// Its Hello, which comes first.
    #[track_caller]
    pub fn hello(&self) -> Hello {
        self.hear("Hello", |message| match message {
            FromSidecar::Hello(hello) => Some(*hello),
            FromSidecar::Report(_)
            | FromSidecar::Events { .. }
            | FromSidecar::Goodbye { .. }
            | FromSidecar::Other => panic!("Hello comes first"),
        })
    }

    /// The sidecar has ended the stream.
    pub fn is_over(&self) -> bool {
        matches!(self.up.try_recv(), Err(sync_mpsc::TryRecvError::Disconnected))
    }
}

/// Serves on a port of its own, for as long as the runtime is there.
pub(crate) fn serve(router: Router) -> (SocketAddr, tokio::runtime::Runtime) {
    let runtime = runtime();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, runtime)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().expect("a runtime")
}

/// The false collector.
#[derive(Debug)]
pub struct Impostor {
    address: SocketAddr,
    streams: sync_mpsc::Receiver<Stream>,
    _runtime: tokio::runtime::Runtime,
}

struct Door(sync_mpsc::SyncSender<Stream>);

#[tonic::async_trait]
impl SidecarService for Door {
    type AttachStream = ReceiverStream<Result<pb::ToSidecar, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<pb::FromSidecar>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (down, answers) = mpsc::channel(64);
        let (heard, up) = sync_mpsc::sync_channel(4096);
        let mut inbound = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let message = FromSidecar::try_from(message).expect("a sidecar is well-formed");
                if heard.try_send(message).is_err() {
                    return;
                }
            }
        });
        self.0.try_send(Stream { down, up }).expect("room for streams");
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl Impostor {
    /// Listens on a port of its own.
    pub fn new() -> Self {
        let (knocked, streams) = sync_mpsc::sync_channel(64);
        let door = SidecarServiceServer::new(Door(knocked));
        let (address, runtime) = serve(Server::builder().add_service(door));
        Self { address, streams, _runtime: runtime }
    }

    /// Where sidecars connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next stream of a sidecar.
    #[track_caller]
    pub fn stream(&self) -> Stream {
        self.streams.recv_timeout(SOON).expect("a sidecar connects")
    }
}

impl Default for Impostor {
    fn default() -> Self {
        Self::new()
    }
}
