//! Connections at the door: so many at a time, none idle for long, and always a place for a beat.
//! Each is known by the process that made it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use lubdub_shared::guests::{Guarded, Guests, Patience};
use lubdub_shared::http1;
use lubdub_shared::time::now;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use crate::speaker::Speaker;

/// A head that is not there whole within the first ends its connection; an answered one may stay
/// for the second; no question takes as long as the third, a poll neither.
const PATIENCE: Patience = Patience {
    first: Duration::from_secs(5),
    idle: Duration::from_secs(90),
    busy: Some(Duration::from_secs(120)),
};
/// After the system gave no connection, or all places were busy.
const PAUSE: Duration = Duration::from_millis(100);

/// Who made a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Speaker);

/// Serves connections, so many at a time, until it is dropped.
pub(super) async fn serve(
    socket: UnixListener,
    places: usize,
    read: Arc<AtomicUsize>,
    router: Router,
) {
    let guests = Guests::new(places, PATIENCE);
    let mut told = false;
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: those that are open go on.
                if !std::mem::replace(&mut told, true) {
                    warn!(%error, "could not accept a connection");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        told = false;
        let Ok(peer) = stream.peer_cred() else { continue };
        let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        let peer = Peer(Speaker { pid, uid: peer.uid() });
        // Every place is busy: whoever comes waits at the socket.
        let guest = loop {
            match guests.enter(now().mono) {
                Some(guest) => break guest,
                None => tokio::time::sleep(PAUSE).await,
            }
        };
        let stream = Counting { stream, read: Arc::clone(&read) };
        let prepare = move |request: &mut axum::extract::Request| {
            request.extensions_mut().insert(ConnectInfo(peer));
        };
        tokio::spawn(http1::serve(Guarded::new(stream, guest), router.clone(), prepare));
    }
}

/// Counts what comes.
struct Counting {
    stream: UnixStream,
    read: Arc<AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.read.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
