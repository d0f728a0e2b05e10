//! HTTP/1.1, and nothing else, on one connection: whoever begins with another protocol is told so.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt as _;
use tower_http::timeout::TimeoutBody;

use crate::guests::{Answer, Guarded};

/// The next piece of a request's body is there within this, or the request is refused.
pub const PIECE_WITHIN: Duration = Duration::from_secs(10);

/// Serves one connection until it ends. `prepare` sees each request first.
pub async fn serve<S>(
    connection: Guarded<S>,
    router: Router,
    prepare: impl Fn(&mut Request) + Clone + Send + Sync + 'static,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let requests = connection.requests();
    let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (router, prepare, flight) = (router.clone(), prepare.clone(), requests.begin());
        async move {
            let pieces = |body| Body::new(TimeoutBody::new(PIECE_WITHIN, body));
            let mut request = request.map(pieces);
            prepare(&mut request);
            let answer = router.oneshot(request).await;
            answer.map(|answer| answer.map(|body| Body::new(Answer::new(body, Some(flight)))))
        }
    });
    let service = TowerToHyperService::new(service);
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(connection), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
