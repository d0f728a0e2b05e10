//! Work that may block for long, or for ever: on a thread of its own, beside the runtime.

use tokio::sync::oneshot;

/// Does something on a thread of its own, which may hang there for ever. `None`: there is none.
pub(crate) async fn beside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody may wait for it any more.
        drop(done.send(work()));
    });
    thread.ok()?;
    answer.await.ok()
}
