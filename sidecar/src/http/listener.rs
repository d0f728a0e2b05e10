//! Connections at the door: so many at a time, none idle for long. Each is known by the process
//! that made it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use lubdub_shared::time::now;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::speaker::Speaker;

/// A connection on which nothing moves for so long ends: longer than any poll.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// Who made a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Speaker);

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self(stream.io().peer)
    }
}

/// Takes connections, so many at a time.
pub(super) struct Listener {
    pub(super) socket: UnixListener,
    pub(super) places: Arc<Semaphore>,
    /// Bytes that came through it.
    pub(super) read: Arc<AtomicUsize>,
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.expect("it is never closed");
            let (stream, address) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: those that are open go on.
                    warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let Ok(peer) = stream.peer_cred() else { continue };
            let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
            let peer = Speaker { pid, uid: peer.uid() };
            let idle = Box::pin(tokio::time::sleep(IDLE_MAX));
            let read = Arc::clone(&self.read);
            return (Connection { stream, peer, idle, read, _place: place }, address);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.socket.local_addr()
    }
}

/// A connection that holds its place, counts what comes, and ends when nothing moves for long.
pub(super) struct Connection {
    stream: UnixStream,
    peer: Speaker,
    idle: Pin<Box<tokio::time::Sleep>>,
    read: Arc<AtomicUsize>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn moved(&mut self) {
        let deadline = lubdub_shared::time::instant_at(now().mono.after(IDLE_MAX));
        self.idle.as_mut().reset(deadline.into());
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream).poll_read(context, buffer)?.is_ready() {
            self.read.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
            self.moved();
            return Poll::Ready(Ok(()));
        }
        // Nothing more is read from who says nothing: the connection ends.
        self.idle.as_mut().poll(context).map(Ok)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.moved();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
