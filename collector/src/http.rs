//! HTTP for probes and scripts: read only, loopback by default. What is long is streamed: it is
//! nowhere whole.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use lubdub_shared::id::AgentId;
use lubdub_shared::time;
use lubdub_shared::view::StatusJson;
use serde_json::json;

use crate::listen::Names;
use crate::metrics::{self, Counters};
use crate::snapshot::agent_view;
use crate::store::Reader;
use crate::views::Views;

mod stream;

use stream::streamed;

/// What the pages are made of.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    pub(crate) views: Views,
    pub(crate) reader: Reader,
    pub(crate) counters: Arc<Counters>,
    pub(crate) names: Names,
}

type From = State<Pages>;

/// All paths.
pub(crate) fn router(pages: Pages) -> Router {
    let names = pages.names.clone();
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .route("/api/status", get(status))
        .route("/api/status/{agent}", get(status_of))
        .with_state(pages)
        .layer(from_fn(move |request: Request, next: Next| {
            let checked = names.check(&request);
            async move {
                match checked {
                    Ok(()) => next.run(request).await,
                    Err(refused) => refused,
                }
            }
        }))
}

/// Whether it can take up agents and write down what it does.
async fn ready(State(pages): From) -> Response {
    let collector = pages.views.collector();
    let still = collector.surroundings.stands_still(time::now().mono);
    let still = still.map(|span| format!("it has stood still for {}", time::words(span)));
    match collector.store.clone().or(still) {
        None => "ready\n".into_response(),
        Some(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}

/// For Prometheus.
async fn scrape(State(pages): From) -> Response {
    let open = match pages.reader.read(Reader::open_by_cause).await {
        Ok(open) => open,
        Err(error) => {
            let why = format!("the store cannot be read: {error}\n");
            return (StatusCode::INTERNAL_SERVER_ERROR, why).into_response();
        }
    };
    streamed(pages.views.clone(), metrics::CONTENT_TYPE, move |views, out| {
        let store = pages.reader.bytes();
        pages.counters.render(views, &open, store, out)
    })
}

async fn status(State(pages): From) -> Response {
    streamed(pages.views.clone(), "application/json", |views, out| {
        let (collector, now) = (views.collector(), time::now());
        let agents = views.each(None);
        let agents = agents.map(|agent| agent_view(&agent, &collector.surroundings, now));
        StatusJson::write(&collector.view(now), agents, now.wall, out)
    })
}

async fn status_of(State(pages): From, Path(agent): Path<String>) -> Response {
    let Ok(id) = agent.parse::<AgentId>() else { return problem(&agent, &[]) };
    let (collector, now) = (pages.views.collector(), time::now());
    match pages.views.find(&id) {
        Ok(agent) => {
            let view = agent_view(&agent, &collector.surroundings, now);
            Json(StatusJson::new(&collector.view(now), &[view], now.wall)).into_response()
        }
        Err(unknown) => problem(&unknown.agent, &unknown.near),
    }
}

/// RFC 9457.
fn problem(agent: &str, near: &[String]) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": "no such agent",
        "status": 404,
        "detail": format!("no agent {agent:?}"),
        "nearest": near,
    });
    let kind = [("content-type", "application/problem+json")];
    (StatusCode::NOT_FOUND, kind, body.to_string()).into_response()
}
