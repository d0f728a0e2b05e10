//! HTTP for probes and scripts: read only, loopback by default.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use lubdub_shared::id::AgentId;
use lubdub_shared::time;
use lubdub_shared::view::{AgentView, CollectorView, StatusJson};
use serde_json::json;
use tokio::sync::mpsc;

use crate::driver::{Health, Listed, ToDriver};
use crate::listen::Names;
use crate::metrics::{self, Counters};
use crate::query::ask;
use crate::store::Reader;

/// What the pages are made of.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    pub(crate) to_driver: mpsc::Sender<ToDriver>,
    pub(crate) reader: Reader,
    pub(crate) counters: Arc<Counters>,
    pub(crate) names: Names,
}

type Driver = State<Pages>;

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
async fn ready(State(pages): Driver) -> Response {
    match ask(&pages.to_driver, |reply| ToDriver::Health { reply }).await {
        None => unavailable(),
        Some(Health { store: Some(why), .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
        Some(Health { store: None, .. }) => "ready\n".into_response(),
    }
}

/// For Prometheus.
async fn scrape(State(pages): Driver) -> Response {
    let health = ask(&pages.to_driver, |reply| ToDriver::Health { reply }).await;
    let (Some(health), Some((_, agents))) = (health, all(&pages).await) else {
        return unavailable();
    };
    let open = pages.reader.read(Reader::open_by_cause).await;
    let open = match open {
        Ok(open) => open,
        Err(error) => {
            let why = format!("the store cannot be read: {error}\n");
            return (StatusCode::INTERNAL_SERVER_ERROR, why).into_response();
        }
    };
    let text = pages.counters.render(&health, &agents, &open);
    ([("content-type", metrics::CONTENT_TYPE)], text).into_response()
}

/// All agents, page after page.
async fn all(pages: &Pages) -> Option<(CollectorView, Vec<AgentView>)> {
    let mut agents = Vec::new();
    let mut after = None;
    loop {
        let from = after.take();
        let page = list(&pages.to_driver, from, None).await?;
        agents.extend(page.agents.unwrap_or_default());
        if !page.more {
            return Some((page.collector, agents));
        }
        after = agents.last().map(|view: &AgentView| view.agent.clone());
    }
}

async fn status(State(pages): Driver) -> Response {
    let Some((collector, agents)) = all(&pages).await else { return unavailable() };
    Json(StatusJson::new(&collector, &agents, time::now().wall)).into_response()
}

async fn status_of(State(pages): Driver, Path(agent): Path<String>) -> Response {
    let Ok(id) = agent.parse::<AgentId>() else { return problem(&agent, &[]) };
    let Some(page) = list(&pages.to_driver, None, Some(id)).await else { return unavailable() };
    match page.agents {
        Ok(agents) => {
            Json(StatusJson::new(&page.collector, &agents, time::now().wall)).into_response()
        }
        Err(unknown) => problem(&unknown.agent, &unknown.near),
    }
}

async fn list(
    driver: &mpsc::Sender<ToDriver>,
    after: Option<AgentId>,
    only: Option<AgentId>,
) -> Option<Listed> {
    ask(driver, |reply| ToDriver::List { after, only, reply }).await
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

fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the collector is stopping\n").into_response()
}
