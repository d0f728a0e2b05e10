//! The collector: the central half.
//!
//! ```text
//!  sidecar ══▶ session ─ ToDriver ─▶ driver ─▶ engine (PURE)
//!     ▲           ▲                    │  ▲       │ Effect
//!     ║           └── ToSidecar ──── route ◀──────┘
//!     ╚═══ command, ack                │ journal, streams, waiters
//!                                Write ▼  ▲ Then
//!                                    store (one thread)       query, http ◀─ views ─ driver
//! ```
//!
//! The driver owns the fleet. Whatever may be slow (store, readers, streams) stands behind a
//! bounded queue that the driver never waits on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lubdub_shared::id::StoreId;
use lubdub_shared::pb::query_service_server::QueryServiceServer;
use lubdub_shared::pb::sidecar_service_server::SidecarServiceServer;
use lubdub_shared::session::{DOWN_LEN_MAX, UP_LEN_MAX};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tonic::transport::Server;
use tracing::info;

pub mod config;
mod driver;
mod http;
mod journal;
mod listen;
mod local;
mod metrics;
mod query;
mod record;
mod reload;
mod route;
mod session;
mod snapshot;
mod store;
mod streams;
mod views;
mod waiters;

pub use config::Config;
pub use local::{Gone, Local, LocalStream};
pub use store::examine::{Examined, Hole, Spoilt};
/// What people do with a store whose files are at hand.
pub mod maintain {
    pub use crate::store::maintain::{Backup, Failed, Restored, backup, restore, verify};
}
use driver::{Driver, Opened, ToDriver};
use listen::{Counted, Names, Shares};
use metrics::Counters;
use query::Query;
use record::Recorder;
use reload::Hangups;
use session::service::Sidecars;
use views::Views;

/// Messages that may wait for the driver: streams wait then, and sidecars coalesce behind them.
const DRIVER_DEPTH: usize = 4096;
/// Changes of status that a slow reader may lag behind before it is told what it missed.
const TRANSITIONS_DEPTH: usize = 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Flow-control windows; they cost no memory until they are used.
const WINDOW: u32 = 1 << 20;
/// How long streams may take to end when the collector leaves.
const DRAIN_PATIENCE: Duration = Duration::from_secs(3);

/// A change of an agent's status or lifecycle, as it is told to readers.
pub type Transitions = broadcast::Receiver<Arc<lubdub_shared::view::TransitionView>>;

/// A collector whose ports are bound and whose store is open.
#[derive(Debug)]
pub struct Collector {
    grpc: TcpListener,
    http: TcpListener,
    driver: Driver,
    to_driver: mpsc::Sender<ToDriver>,
    transitions: broadcast::Sender<Arc<lubdub_shared::view::TransitionView>>,
    watched: Watched,
    shares: Shares,
    names: Names,
    local: Local,
}

/// What people look at, and how they ask for another policy.
#[derive(Debug)]
struct Watched {
    reader: store::Reader,
    counters: Arc<Counters>,
    hangups: Option<Hangups>,
    views: Views,
    store: StoreId,
}

impl Collector {
    /// Opens the store and binds the ports.
    ///
    /// # Errors
    /// Which of them failed, and why.
    pub async fn begin(config: Config) -> anyhow::Result<Self> {
        let bind = async |address| {
            TcpListener::bind(address).await.with_context(|| {
                format!(
                    "cannot listen on {address}; is another collector there? Choose another \
                         port with --listen and --http, or add an agent to the one that is there \
                         with lubdub-sidecar run"
                )
            })
        };
        let grpc = bind(config.listen).await?;
        let http = bind(config.http).await?;
        let (to_driver, inbox) = mpsc::channel(DRIVER_DEPTH);
        let (transitions, _) = broadcast::channel(TRANSITIONS_DEPTH);
        let (store, contents, from_store) = store::Store::open(&config.data_dir)?;
        let counters = Arc::new(Counters::new());
        let (shares, names) = (Shares::of_this_process(), Names::new(&config.http_names));
        shares.check(contents.agents.len());
        let id = contents.id;
        let reader = store.reader();
        let told = transitions.clone();
        // Before the ports are bound: from then on somebody may send it.
        let hangups = config.source.clone().map(Hangups::listen).transpose()?.flatten();
        let recorder = match &config.record {
            None => None,
            Some(path) => Some(
                Recorder::start(path, driver::identity(&contents, &config))
                    .with_context(|| format!("cannot record into {}", path.display()))?,
            ),
        };
        let opened = Opened { store: Box::new(store), from_store, contents, recorder };
        let driver = Driver::new(config, opened, inbox, told, Arc::clone(&counters));
        let views = driver.views();
        let watched = Watched { reader, counters, hangups, views, store: id };
        let local = Local::new(to_driver.clone());
        Ok(Self { grpc, http, driver, to_driver, transitions, watched, shares, names, local })
    }

    /// Where sidecars and the command line connect.
    ///
    /// # Errors
    /// The system does not say.
    pub fn grpc_address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.grpc.local_addr()
    }

    /// Where HTTP is served.
    ///
    /// # Errors
    /// The system does not say.
    pub fn http_address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.http.local_addr()
    }

    /// Streams within this process.
    pub fn local(&self) -> Local {
        self.local.clone()
    }

    /// Changes of status from now on.
    pub fn transitions(&self) -> Transitions {
        self.transitions.subscribe()
    }

    /// Serves until `shutdown` turns true, or the store fails.
    ///
    /// # Errors
    /// What made it stop.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
        let Self { grpc, http, driver, to_driver, transitions, watched, shares, names, local } =
            self;
        // Who wants streams of this process has a copy.
        drop(local);
        let Watched { reader, counters, hangups, views, store: watched_store } = watched;
        let again = hangups.map(|hangups| tokio::spawn(hangups.run(to_driver.clone())));
        info!(grpc = %grpc.local_addr()?, http = %http.local_addr()?, "listening");
        let sidecars = Sidecars::new(to_driver.clone(), shares.sidecars);
        let query =
            Query::new(to_driver, transitions, reader.clone(), views.clone(), watched_store);
        let sidecars = SidecarServiceServer::new(sidecars).max_decoding_message_size(UP_LEN_MAX);
        let people = QueryServiceServer::new(query)
            .max_decoding_message_size(UP_LEN_MAX)
            .max_encoding_message_size(DOWN_LEN_MAX);
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .layer(tower::layer::layer_fn(Counted))
            .add_service(sidecars)
            .add_service(people);
        let mut stop = shutdown.clone();
        let incoming = listen::grpc(grpc, shares.grpc);
        let serve = server.serve_with_incoming_shutdown(incoming, async move {
            // An error means that nobody can ask any more: then it is time as well.
            let (Ok(_) | Err(_)) = stop.wait_for(|stop| *stop).await;
        });
        let pages = http::Pages { views, reader, counters, names };
        let pages = tokio::spawn(listen::http(http, shares.http, http::router(pages)));
        let serve = tokio::spawn(serve);
        let ended = driver.run(&mut shutdown).await;
        if tokio::time::timeout(DRAIN_PATIENCE, serve).await.is_err() {
            info!("some streams did not end in time");
        }
        pages.abort();
        again.inspect(|again| again.abort());
        ended
    }
}
