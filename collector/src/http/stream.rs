//! A body that is written by a thread while it is read: no more of it is in memory than a few
//! pieces, however large the fleet is and however slow the reader.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::views::{Turn, Views};

/// One piece.
const PIECE_LEN: usize = 32 * 1024;
/// Pieces that wait for a slow reader; then the writer waits.
const PIECES_MAX: usize = 4;

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
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.turn.wait(|| self.to_reader.blocking_send(Ok(piece))).map_err(gone)
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
pub(crate) fn streamed(
    views: Views,
    write: impl FnOnce(&Views, &mut Pieces) -> io::Result<()> + Send + 'static,
) -> Body {
    let (to_reader, pieces) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let cut = to_reader.clone();
        let written = views.walk(move |views, turn| {
            let mut out = Pieces { piece: Vec::new(), to_reader, turn };
            write(views, &mut out).and_then(|()| out.flush())
        });
        if let Some(Err(error)) = written.await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            // Whoever reads may have gone.
            let (Ok(()) | Err(_)) = cut.send(Err(error)).await;
        }
    });
    Body::from_stream(ReceiverStream::new(pieces).map(|piece| piece))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lubdub_engine::{Fleet, Identity};
    use lubdub_shared::id::StoreId;
    use lubdub_shared::time::now;

    use super::*;
    use crate::views::Publisher;

    /// Whoever reads nothing holds a thread and a few pieces, and no place among those who work.
    #[tokio::test]
    async fn readers_that_never_read_hold_up_nobody() {
        let store = StoreId::random(&mut fastrand::Rng::with_seed(1));
        let interval = Duration::from_secs(5);
        let identity = Identity { store, epoch: 1, interval, reports_per_second: 1000 };
        let now = now();
        let publisher = Publisher::new(&Fleet::new(identity, 1, now.mono), now.wall);
        let views = publisher.views();
        let (full, begun) = std::sync::mpsc::channel();
        let bodies: Vec<Body> = (0..8)
            .map(|_| {
                let full = full.clone();
                streamed(views.clone(), move |_, out| {
                    // More than waits for any reader.
                    for number in 0.. {
                        if number == PIECES_MAX {
                            full.send(()).expect("the test listens");
                        }
                        out.write_all(&[b'x'; PIECE_LEN])?;
                    }
                    Ok(())
                })
            })
            .collect();
        let all = bodies.len();
        let soon = Duration::from_secs(10);
        let each = move || (0..all).all(|_| begun.recv_timeout(soon).is_ok());
        let begun = tokio::task::spawn_blocking(each).await.expect("it ends");
        assert!(begun, "each has written what finds room");
        let read = tokio::time::timeout(soon, views.read(|_| 7)).await;
        assert_eq!(read, Ok(Some(7)), "a page is read beside them");
        drop(bodies);
    }
}
