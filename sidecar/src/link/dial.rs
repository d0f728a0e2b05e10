//! A connection to a collector. Names are resolved on a thread of their own: a nameserver that does
//! not answer holds up neither the agent nor the end of the sidecar.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::beside::beside;

/// Between one address and the next, as RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);
/// One thread hangs there at a time, however often it is tried again.
static RESOLVING: AtomicBool = AtomicBool::new(false);

/// Connects, within the endpoint's own time.
///
/// # Errors
/// The name leads nowhere, or nobody answers there.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    endpoint.connect_with_connector(tower::service_fn(dial)).await
}

async fn dial(uri: Uri) -> io::Result<TokioIo<TcpStream>> {
    let host = uri.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = uri.port_u16().unwrap_or(80);
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => resolve(host.to_owned(), port).await?,
    };
    let stream = race(addresses).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// The first that answers, each a moment after the one before (RFC 8305): an address whose packets
/// are lost does not use up the time of the others.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut tries = tokio::task::JoinSet::new();
    for (nth, address) in (0..).zip(addresses) {
        tries.spawn(async move {
            tokio::time::sleep(STAGGER * nth).await;
            TcpStream::connect(address).await
        });
    }
    let mut failed = io::Error::other("the name has no address");
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(ended) => failed = io::Error::other(ended),
        }
    }
    Err(failed)
}

async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    if RESOLVING.swap(true, Ordering::AcqRel) {
        return Err(io::Error::other(format!("the name {host} is still being looked up")));
    }
    let work = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        RESOLVING.store(false, Ordering::Release);
        found
    };
    let found = beside("lubdub-resolve", work).await;
    found.unwrap_or_else(|| {
        RESOLVING.store(false, Ordering::Release);
        Err(io::Error::other("the system gives no thread to look a name up"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_addresses_lead_to_a_listener() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        for host in ["127.0.0.1", "localhost"] {
            let uri: Uri = format!("http://{host}:{port}").parse().expect("a URI");
            dial(uri).await.unwrap_or_else(|error| panic!("{host}: {error}"));
        }
        let refused = dial("http://127.0.0.1:1".parse().expect("a URI")).await;
        assert!(refused.is_err());
    }
}
