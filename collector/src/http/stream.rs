//! A body that is written by a thread while it is read: no more of it is in memory than a few
//! pieces, however large the fleet is and however slow the reader.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::views::Views;

/// One piece.
const PIECE_LEN: usize = 32 * 1024;
/// Pieces that wait for a slow reader; then the writer waits.
const PIECES_MAX: usize = 4;

/// The writer's end.
pub(crate) struct Pieces {
    piece: Vec<u8>,
    to_reader: mpsc::Sender<io::Result<Bytes>>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let next = Vec::with_capacity(PIECE_LEN);
        let piece = Bytes::from(std::mem::replace(&mut self.piece, next));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.to_reader.blocking_send(Ok(piece)).map_err(gone)
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
        let (cut, mut out) = (to_reader.clone(), Pieces { piece: Vec::new(), to_reader });
        let written = views.read(move |views| write(views, &mut out).and_then(|()| out.flush()));
        if let Some(Err(error)) = written.await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            // Whoever reads may have gone.
            let (Ok(()) | Err(_)) = cut.send(Err(error)).await;
        }
    });
    Body::from_stream(ReceiverStream::new(pieces).map(|piece| piece))
}
