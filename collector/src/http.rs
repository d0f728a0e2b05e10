//! HTTP for probes and scripts: read only, loopback by default.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use lubdub_shared::id::AgentId;
use lubdub_shared::time;
use lubdub_shared::view::StatusJson;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::error;

use crate::driver::{Listed, ToDriver};
use crate::query::ask;

type Driver = State<mpsc::Sender<ToDriver>>;

/// Serves until `shutdown` turns true.
pub(crate) async fn serve(
    listener: TcpListener,
    to_driver: mpsc::Sender<ToDriver>,
    mut shutdown: watch::Receiver<bool>,
) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/api/status", get(status))
        .route("/api/status/{agent}", get(status_of))
        .with_state(to_driver);
    let stop = async move {
        let (Ok(_) | Err(_)) = shutdown.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        error!(%error, "HTTP is gone");
    }
}

/// All agents, page after page.
async fn status(State(driver): Driver) -> Response {
    let mut agents = Vec::new();
    let mut after = None;
    loop {
        let from = after.take();
        let Some(page) = list(&driver, from, None).await else { return unavailable() };
        agents.extend(page.agents.unwrap_or_default());
        if !page.more {
            let status = StatusJson::new(&page.collector, &agents, time::now().wall);
            return Json(status).into_response();
        }
        after = agents.last().map(|view| view.agent.clone());
    }
}

async fn status_of(State(driver): Driver, Path(agent): Path<String>) -> Response {
    let Ok(id) = agent.parse::<AgentId>() else { return problem(&agent, &[]) };
    let Some(page) = list(&driver, None, Some(id)).await else { return unavailable() };
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
