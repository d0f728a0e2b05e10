//! What people and their tools ask, over gRPC.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lubdub_engine::Agent;
use lubdub_shared::command::Outcome;
use lubdub_shared::convert;
use lubdub_shared::id::{AgentId, CommandId, StoreId};
use lubdub_shared::incident::ActionOutcome;
use lubdub_shared::pb;
use lubdub_shared::pb::query_service_server::QueryService;
use lubdub_shared::time::now;
use lubdub_shared::view::{IncidentView, TransitionView};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::driver::{Asked, Forgetting, NewPolicy, NotApplied, NotForgotten, ToDriver};
use crate::snapshot::{agent_view, explanation};
use crate::store::{Reader, Recorded, Span};
use crate::views::{Choice, Page, Unknown, Views};
use crate::waiters::{Acted, Acting};

/// Longest time that one call may wait for an outcome.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Questions for events that may wait at one time.
const WAITING_MAX: usize = 1024;
/// People who may watch at one time.
const WATCHING_MAX: usize = 256;
/// Longest time until a command is written down.
const DURABLE_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Query {
    to_driver: mpsc::Sender<ToDriver>,
    transitions: broadcast::Sender<Arc<TransitionView>>,
    reader: Reader,
    views: Views,
    store: StoreId,
    /// Who may wait for events at one time.
    waits: Semaphore,
    watchers: Arc<Semaphore>,
}

impl Query {
    pub(crate) fn new(
        to_driver: mpsc::Sender<ToDriver>,
        transitions: broadcast::Sender<Arc<TransitionView>>,
        reader: Reader,
        views: Views,
        store: StoreId,
    ) -> Self {
        let waits = Semaphore::new(WAITING_MAX);
        let watchers = Arc::new(Semaphore::new(WATCHING_MAX));
        Self { to_driver, transitions, reader, views, store, waits, watchers }
    }

    /// A command whose id is known is answered, and not done again: with its end, as far as that
    /// comes in time.
    async fn asked_before(
        &self,
        id: CommandId,
        wait: Duration,
    ) -> Result<Option<Recorded>, Status> {
        let mut commits = self.reader.commits();
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        loop {
            commits.borrow_and_update();
            let known = self.reader.read(move |reader| reader.command(id)).await;
            let known = known.map_err(unreadable)?;
            let open = known.as_ref().is_some_and(|known| {
                matches!(known.outcome, ActionOutcome::Accepted | ActionOutcome::Pending)
            });
            if !open || deadline.is_elapsed() {
                return Ok(known);
            }
            tokio::select! {
                () = &mut deadline => {}
                moved = commits.changed() => moved.map_err(|_| stopping())?,
            }
        }
    }

    fn check_cursor(&self, request: &pb::ListEventsRequest) -> Result<(), Status> {
        let theirs = request.store.as_slice();
        if theirs.is_empty() || theirs == self.store.as_bytes() {
            return Ok(());
        }
        let theirs = StoreId::from_slice(theirs)
            .ok_or_else(|| Status::invalid_argument("store: not 16 bytes"))?;
        Err(Status::failed_precondition(format!(
            "event {} is of store {theirs}, and this is {}: begin anew with --after 0",
            request.after, self.store
        )))
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

/// What a reader wants of all agents.
fn choice(request: pb::ListAgentsRequest) -> Result<Choice, Status> {
    let pb::ListAgentsRequest { after, labels, statuses, causes, worst_first, severity, .. } =
        request;
    Ok(Choice {
        labels: labels.into_iter().collect(),
        statuses: convert::statuses(statuses)?,
        causes: convert::causes(causes)?,
        worst_first,
        after: optional_id(&after)?,
        severity: severity.map(|severity| u8::try_from(severity).unwrap_or(u8::MAX)),
    })
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
        let collector = self.views.collector();
        let (page, now) = match optional_id(&request.only)? {
            Some(only) => (Page { agents: vec![self.views.find(&only)?], more: false }, now()),
            None => {
                let (views, choice) = (&self.views, choice(request)?);
                (views.read(move |views| views.page(&choice)).await.ok_or_else(stopping)?, now())
            }
        };
        let view = |agent: &Arc<Agent>| agent_view(agent, &collector.surroundings, now).into();
        Ok(Response::new(pb::ListAgentsResponse {
            collector: Some(collector.view(now).into()),
            agents: page.agents.iter().map(view).collect(),
            more: page.more,
        }))
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        let agent = self.views.find(&agent_id(&request.into_inner().agent)?)?;
        let collector = self.views.collector();
        let explained = explanation(&agent, &collector.surroundings, now());
        Ok(Response::new(explained.into()))
    }

    async fn list_incidents(
        &self,
        request: Request<pb::ListIncidentsRequest>,
    ) -> Result<Response<pb::ListIncidentsResponse>, Status> {
        let request = request.into_inner();
        let agent = optional_id(&request.agent)?;
        let own = match &agent {
            Some(_) => None,
            None => self.views.collector().incident.clone(),
        };
        let read = move |reader: &Reader| reader.incidents(request.all, agent.as_ref());
        let stored = self.reader.read(read).await.map_err(unreadable)?;
        // What ails the store cannot be found in it.
        let own = own.map(|incident| IncidentView { agent: None, incident });
        let incidents = own.into_iter().chain(stored).map(Into::into).collect();
        let now = Some(convert::stamp(now().wall));
        Ok(Response::new(pb::ListIncidentsResponse { incidents, now }))
    }

    async fn watch_transitions(
        &self,
        _: Request<pb::WatchTransitionsRequest>,
    ) -> Result<Response<Watched>, Status> {
        use pb::watch_transitions_response::What;
        let watcher = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_full| {
            Status::resource_exhausted(format!("{WATCHING_MAX} watch already; try again later"))
        })?;
        let stream = BroadcastStream::new(self.transitions.subscribe()).map(move |next| {
            // It watches as long as there is a stream.
            let _watches = &watcher;
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
        let asked = convert::Asked::try_from(&request)?;
        self.views.find(&agent)?;
        if let Some(id) = asked.command
            && let Some(known) = self.asked_before(id, asked.wait.min(WAIT_MAX)).await?
        {
            return Ok(Response::new(response(id, known.outcome, known.detail, None)));
        }
        let convert::Asked { kind, reason, requested_by, wait, command, dry_run, expires } = asked;
        let asked = Asked { kind, reason, requested_by, command, dry_run, expires };
        let acting = self.ask(|reply| ToDriver::Act { agent, asked, reply }).await??;
        // A dry run has nothing to wait for but its answer.
        let wait = if dry_run { DURABLE_PATIENCE } else { wait.min(WAIT_MAX) };
        Ok(Response::new(follow(acting, wait).await?))
    }

    async fn forget(
        &self,
        request: Request<pb::ForgetRequest>,
    ) -> Result<Response<pb::ForgetResponse>, Status> {
        let request = request.into_inner();
        let agent = agent_id(&request.agent)?;
        let name = agent.clone();
        self.views.find(&agent)?;
        let convert::Forgetting { reason, requested_by } = (&request).try_into()?;
        let asked = Forgetting { reason, requested_by };
        let forgot = self.ask(|reply| ToDriver::Forget { agent, asked, reply }).await??;
        forgot.map_err(|why| match why {
            NotForgotten::StillConnected => Status::failed_precondition(format!(
                "the sidecar of {name} is connected: it would be back with its next report; end \
                 it first"
            )),
            NotForgotten::Unrecorded(why) => Status::failed_precondition(format!(
                "{why}; it could not be recorded, so it is not done"
            )),
        })?;
        Ok(Response::new(pb::ForgetResponse {}))
    }

    async fn push_policy(
        &self,
        request: Request<pb::PushPolicyRequest>,
    ) -> Result<Response<pb::PushPolicyResponse>, Status> {
        let pb::PushPolicyRequest { text, requested_by, dry_run } = request.into_inner();
        let by = lubdub_shared::text::clip(requested_by.into());
        let new = NewPolicy::Pushed { text, by, dry_run };
        let applied = self.ask(|reply| ToDriver::Policy { new, reply }).await?;
        let applied = applied.map_err(|why| match why {
            NotApplied::Mistake(refused) => Status::invalid_argument(refused.to_string()),
            NotApplied::Unrecorded(why) => Status::failed_precondition(format!(
                "{why}; it could not be recorded, so it is not done"
            )),
        })?;
        let changed = u32::try_from(applied.changed).unwrap_or(u32::MAX);
        Ok(Response::new(pb::PushPolicyResponse { changed }))
    }

    async fn get_evidence(
        &self,
        request: Request<pb::GetEvidenceRequest>,
    ) -> Result<Response<pb::GetEvidenceResponse>, Status> {
        let pb::GetEvidenceRequest { agent, id } = request.into_inner();
        let agent = agent_id(&agent)?;
        let found = self.reader.read(move |reader| reader.evidence(&agent, &id)).await;
        let bundle = found.map_err(unreadable)?;
        let bundle = bundle.ok_or_else(|| Status::not_found("it stayed on the agent's host"))?;
        Ok(Response::new(pb::GetEvidenceResponse { bundle }))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        let request = request.into_inner();
        let agent = optional_id(&request.agent)?;
        let wait = Duration::from_millis(request.wait_ms).min(WAIT_MAX);
        let mut commits = self.reader.commits();
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        let (after, newest) = (request.after, request.newest);
        self.check_cursor(&request)?;
        let _place = match wait.is_zero() {
            true => None,
            false => Some(self.waits.try_acquire().map_err(|_| {
                Status::resource_exhausted("as many wait for events as may; ask without waiting")
            })?),
        };
        loop {
            commits.borrow_and_update();
            let agent = agent.clone();
            let read = move |reader: &Reader| reader.events(agent.as_ref(), after, newest);
            let (events, last) = self.reader.read(read).await.map_err(unreadable)?;
            if newest == 0 && last.end < after {
                let Span { end, .. } = last;
                return Err(Status::failed_precondition(format!(
                    "event {after} is not in this store, whose newest is {end}: is it a number of \
                     another store? This one is {}; begin with --after 0",
                    self.store
                )));
            }
            let last = last.next;
            if !events.is_empty() || newest > 0 || deadline.is_elapsed() {
                let events = events.into_iter().map(Into::into).collect();
                let store = self.store.as_bytes().to_vec();
                return Ok(Response::new(pb::ListEventsResponse { events, last, store }));
            }
            tokio::select! {
                () = &mut deadline => {}
                moved = commits.changed() => moved.map_err(|_| stopping())?,
            }
        }
    }
}

fn unreadable(error: rusqlite::Error) -> Status {
    Status::internal(format!("the store cannot be read: {error}"))
}

fn response(
    command: CommandId,
    outcome: ActionOutcome,
    detail: String,
    full: Option<Box<Outcome>>,
) -> pb::ActResponse {
    pb::ActResponse {
        command: command.as_bytes().to_vec(),
        outcome: pb::ActionOutcome::from(outcome).into(),
        detail,
        full: full.map(|full| (*full).into()),
    }
}

/// Waits until the command is written down, and then for its outcome if that is wanted.
async fn follow(mut acting: Acting, wait: Duration) -> Result<pb::ActResponse, Status> {
    let id = acting.command;
    let mut waiting = false;
    let waits = "its sidecar is not connected; it waits for it".to_owned();
    let first = tokio::time::timeout(DURABLE_PATIENCE, acting.progress.recv()).await;
    match first.map_err(|_| Status::unavailable("the store is behind"))? {
        None => return Err(stopping()),
        Some(Acted::Ended { outcome, detail, full }) => {
            return Ok(response(id, outcome, detail, full));
        }
        Some(Acted::Pending) if wait.is_zero() => {
            return Ok(response(id, ActionOutcome::Pending, waits, None));
        }
        Some(Acted::Pending) => waiting = true,
        Some(Acted::Accepted) => {}
    }
    match tokio::time::timeout(wait, acting.progress.recv()).await {
        Ok(Some(Acted::Ended { outcome, detail, full })) => Ok(response(id, outcome, detail, full)),
        Ok(Some(Acted::Accepted | Acted::Pending) | None) | Err(_) if waiting => {
            Ok(response(id, ActionOutcome::Pending, waits, None))
        }
        Ok(Some(Acted::Accepted | Acted::Pending) | None) | Err(_) => {
            let sent = "sent, not answered yet".to_owned();
            Ok(response(id, ActionOutcome::Accepted, sent, None))
        }
    }
}

#[cfg(test)]
mod tests;
