//! A body that is written by a thread while it is read: no more of it is in memory than a few
//! pieces, however large the fleet is and however slow the reader.

use std::io::{self, Write};

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::views::{Turn, Views, WALKS_MAX};

/// One piece.
const PIECE_LEN: usize = 32 * 1024;
/// Pieces that wait for a slow reader; then the writer waits.
const PIECES_MAX: usize = 4;
/// A reader that takes no piece for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(10);

/// The writer's end.
pub(crate) struct Pieces {
    piece: Vec<u8>,
    to_reader: mpsc::Sender<io::Result<Bytes>>,
    turn: Turn,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let next = Vec::with_capacity(PIECE_LEN);
        let piece = Bytes::from(std::mem::replace(&mut self.piece, next));
        let slow = || io::Error::new(io::ErrorKind::TimedOut, "its reader reads nothing");
        let failed = |error| match error {
            SendTimeoutError::Closed(_) => io::ErrorKind::BrokenPipe.into(),
            SendTimeoutError::Timeout(_) => slow(),
        };
        let sent = self.to_reader.send_timeout(Ok(piece), PATIENCE);
        self.turn.wait(sent).map_err(failed)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(PIECE_LEN - self.piece.len())];
        self.piece.extend_from_slice(part);
        if self.piece.len() == PIECE_LEN {
            self.send()?;
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.send() }
    }
}

/// A body of what `write` writes. Where that fails the body is cut off, and its reader sees so.
/// Where as many are written as may be there is none.
pub(crate) fn streamed(
    views: Views,
    kind: &'static str,
    write: impl FnOnce(&Views, &mut Pieces) -> io::Result<()> + Send + 'static,
) -> Response {
    let Some(walk) = views.begin_walk() else {
        let why = format!("{WALKS_MAX} answers are being written already; come again\n");
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], why).into_response();
    };
    let (to_reader, pieces) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let cut = to_reader.clone();
        let written = views.walk(walk, move |views, turn| {
            let mut out = Pieces { piece: Vec::new(), to_reader, turn };
            write(views, &mut out).and_then(|()| out.flush())
        });
        let error = match written.await {
            Some(Ok(())) => return,
            Some(Err(error)) => error,
            None => io::Error::other("whoever wrote it panicked"),
        };
        // Whoever reads may have gone. Who reads on finds this behind what was written.
        let (Ok(()) | Err(_)) = cut.send(Err(error)).await;
    });
    let body = Body::from_stream(ReceiverStream::new(pieces).map(|piece| piece));
    ([("content-type", kind)], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, TryRecvError, channel};

    use lubdub_engine::{Fleet, Identity};
    use lubdub_shared::id::StoreId;
    use lubdub_shared::time::now;

    use super::*;
    use crate::views::Publisher;

    fn views() -> Views {
        let store = StoreId::random(&mut fastrand::Rng::with_seed(1));
        let interval = Duration::from_secs(5);
        let identity = Identity { store, epoch: 1, interval, reports_per_second: 1000 };
        let now = now();
        Publisher::new(&Fleet::new(identity, 1, now.mono), now.wall).views()
    }

    /// A body without end, and word of it when it has written what waits for a reader.
    fn endless(views: &Views) -> (Response, Receiver<()>) {
        let (full, filled) = channel();
        let body = streamed(views.clone(), "text/plain", move |_, out| {
            for number in 0.. {
                if number == PIECES_MAX {
                    full.send(()).expect("the test listens");
                }
                out.write_all(&[b'x'; PIECE_LEN])?;
            }
            Ok(())
        });
        (body, filled)
    }

    async fn wait_for(filled: &Receiver<()>) {
        while filled.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    }

    /// Whoever reads nothing holds a thread and a few pieces, and no place among those who work.
    #[tokio::test(start_paused = true)]
    async fn readers_that_never_read_hold_up_nobody() {
        let views = views();
        let bodies: Vec<_> = (0..WALKS_MAX).map(|_| endless(&views)).collect();
        for (_, filled) in &bodies {
            wait_for(filled).await;
        }
        assert_eq!(views.read(|_| 7).await, Some(7), "a page is read beside them");
        let (refused, _) = endless(&views);
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "as many as may");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_reads_or_whose_writer_panics_is_cut_off() {
        let views = views();
        let (body, filled) = endless(&views);
        wait_for(&filled).await;
        // When the writer has given up it drops its end.
        while filled.try_recv() != Err(TryRecvError::Disconnected) {
            tokio::time::advance(PATIENCE).await;
        }
        let mut pieces = body.into_body().into_data_stream();
        for _ in 0..PIECES_MAX {
            let piece = pieces.next().await.expect("what was written");
            assert_eq!(piece.expect("whole").len(), PIECE_LEN);
        }
        assert!(pieces.next().await.expect("no end").is_err(), "a body that is cut off");
        let panics = streamed(views.clone(), "text/plain", |_, _| panic!("a test's"));
        let mut pieces = panics.into_body().into_data_stream();
        assert!(pieces.next().await.expect("no end").is_err(), "nor does a panic end it well");
    }
}
