//! What people and their tools ask, over gRPC.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::convert;
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::ActionOutcome;
use lubdub_shared::pb;
use lubdub_shared::pb::query_service_server::QueryService;
use lubdub_shared::view::TransitionView;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::driver::{Acted, Acting, Asked, ToDriver, Unknown};
use crate::store::Reader;

/// Longest time that one call may wait for an outcome.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Longest time until a command is written down.
const DURABLE_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Query {
    to_driver: mpsc::Sender<ToDriver>,
    transitions: broadcast::Sender<Arc<TransitionView>>,
    reader: Reader,
}

impl Query {
    pub(crate) fn new(
        to_driver: mpsc::Sender<ToDriver>,
        transitions: broadcast::Sender<Arc<TransitionView>>,
        reader: Reader,
    ) -> Self {
        Self { to_driver, transitions, reader }
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> ToDriver,
    ) -> Result<T, Status> {
        ask(&self.to_driver, question).await.ok_or_else(stopping)
    }
}

/// Puts a question to the driver. `None` when it is gone.
pub(crate) async fn ask<T>(
    to_driver: &mpsc::Sender<ToDriver>,
    question: impl FnOnce(oneshot::Sender<T>) -> ToDriver,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    to_driver.send(question(reply)).await.ok()?;
    answer.await.ok()
}

fn stopping() -> Status {
    Status::unavailable("the collector is stopping")
}

fn agent_id(text: &str) -> Result<AgentId, Status> {
    text.parse()
        .map_err(|why: lubdub_shared::id::InvalidAgentId| Status::invalid_argument(why.to_string()))
}

fn optional_id(text: &str) -> Result<Option<AgentId>, Status> {
    if text.is_empty() { Ok(None) } else { agent_id(text).map(Some) }
}

impl From<Unknown> for Status {
    fn from(unknown: Unknown) -> Self {
        let hint = match unknown.near.as_slice() {
            [] => String::new(),
            near => format!("; did you mean {}?", near.join(", ")),
        };
        Self::not_found(format!("no agent {:?}{hint}", unknown.agent))
    }
}

type Watched = Pin<Box<dyn Stream<Item = Result<pb::WatchTransitionsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl QueryService for Query {
    type WatchTransitionsStream = Watched;

    async fn list_agents(
        &self,
        request: Request<pb::ListAgentsRequest>,
    ) -> Result<Response<pb::ListAgentsResponse>, Status> {
        let request = request.into_inner();
        let after = optional_id(&request.after)?;
        let only = optional_id(&request.only)?;
        let listed = self.ask(|reply| ToDriver::List { after, only, reply }).await?;
        Ok(Response::new(pb::ListAgentsResponse {
            collector: Some(listed.collector.into()),
            agents: listed.agents?.into_iter().map(Into::into).collect(),
            more: listed.more,
        }))
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        let agent = agent_id(&request.into_inner().agent)?;
        let explanation = self.ask(|reply| ToDriver::Explain { agent, reply }).await??;
        Ok(Response::new(explanation.into()))
    }

    async fn list_incidents(
        &self,
        request: Request<pb::ListIncidentsRequest>,
    ) -> Result<Response<pb::ListIncidentsResponse>, Status> {
        let request = request.into_inner();
        let agent = optional_id(&request.agent)?;
        let reader = self.reader.clone();
        let read = move || reader.incidents(request.all, agent.as_ref());
        let incidents = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::internal(format!("the store cannot be read: {error}")))?;
        let incidents = incidents.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListIncidentsResponse { incidents }))
    }

    async fn watch_transitions(
        &self,
        _: Request<pb::WatchTransitionsRequest>,
    ) -> Result<Response<Watched>, Status> {
        use pb::watch_transitions_response::What;
        let stream = BroadcastStream::new(self.transitions.subscribe()).map(|next| {
            let what = match next {
                Ok(transition) => What::Transition((*transition).clone().into()),
                Err(BroadcastStreamRecvError::Lagged(missed)) => What::Missed(missed),
            };
            Ok(pb::WatchTransitionsResponse { what: Some(what) })
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn act(
        &self,
        request: Request<pb::ActRequest>,
    ) -> Result<Response<pb::ActResponse>, Status> {
        let request = request.into_inner();
        let agent = agent_id(&request.agent)?;
        let convert::Asked { kind, reason, requested_by, wait } =
            convert::Asked::try_from(&request)?;
        let asked = Asked { kind, reason, requested_by };
        let acting = self.ask(|reply| ToDriver::Act { agent, asked, reply }).await??;
        Ok(Response::new(follow(acting, wait.min(WAIT_MAX)).await?))
    }
}

/// Waits until the command is written down, and then for its outcome if that is wanted.
async fn follow(mut acting: Acting, wait: Duration) -> Result<pb::ActResponse, Status> {
    let response = |outcome: ActionOutcome, detail: String, full| pb::ActResponse {
        command: acting.command.as_bytes().to_vec(),
        outcome: pb::ActionOutcome::from(outcome).into(),
        detail,
        full,
    };
    let first = tokio::time::timeout(DURABLE_PATIENCE, acting.progress.recv()).await;
    match first.map_err(|_| Status::unavailable("the store is behind"))? {
        None => return Err(stopping()),
        Some(Acted::Ended { outcome, detail, full }) => {
            return Ok(response(outcome, detail, full.map(|full| (*full).into())));
        }
        Some(Acted::Accepted) => {}
    }
    match tokio::time::timeout(wait, acting.progress.recv()).await {
        Ok(Some(Acted::Ended { outcome, detail, full })) => {
            Ok(response(outcome, detail, full.map(|full| (*full).into())))
        }
        Ok(Some(Acted::Accepted) | None) | Err(_) => {
            Ok(response(ActionOutcome::Accepted, "sent, not answered yet".to_owned(), None))
        }
    }
}
