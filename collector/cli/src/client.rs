//! Asks the collector; turns its answers into views, and its refusals into exit codes.

use std::time::Duration;

use lubdub_shared::convert::{Invalid, store_id, wall};
use lubdub_shared::id::{AgentId, StoreId};
use lubdub_shared::pb;
use lubdub_shared::pb::query_service_client::QueryServiceClient;
use lubdub_shared::session::DOWN_LEN_MAX;
use lubdub_shared::telemetry::chain;
use lubdub_shared::time::{self, Mono, Wall};
use lubdub_shared::view::{AgentView, CollectorView, EventView, Explanation, IncidentView};
use lubdub_sidecar::config::DEFAULT_COLLECTOR;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Exit code: nobody answers, or what is known is stale.
pub(crate) const UNREACHABLE: u8 = 3;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The exit code.
    pub(crate) code: u8,
    /// One line.
    pub(crate) why: String,
}

impl Failed {
    /// Understood, and refused or failed.
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self { code: 1, why: why.into() }
    }

    /// A mistake in what was given: a file, an option.
    pub(crate) fn usage(why: impl std::fmt::Display) -> Self {
        Self { code: 64, why: why.to_string() }
    }

    fn unreachable(why: impl Into<String>) -> Self {
        Self { code: UNREACHABLE, why: why.into() }
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        let why = status.message().to_owned();
        let code = match status.code() {
            Code::NotFound => 4,
            Code::InvalidArgument => 64,
            Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled => {
                UNREACHABLE
            }
            Code::Ok
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => 1,
        };
        let why =
            if why.is_empty() { format!("the collector said {}", status.code()) } else { why };
        Self { code, why }
    }
}

impl From<Invalid> for Failed {
    fn from(invalid: Invalid) -> Self {
        Self::refused(format!("the collector's answer does not fit: {invalid}"))
    }
}

/// Some events, and where to go on.
#[derive(Debug)]
pub(crate) struct EventPage {
    /// Oldest first.
    pub(crate) events: Vec<EventView>,
    /// The number to go on behind.
    pub(crate) last: u64,
    /// Whose numbers these are; `None` from an older collector.
    pub(crate) store: Option<StoreId>,
}

/// A collector that answers.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    inner: QueryServiceClient<Channel>,
    /// The collector's wall clock at a moment of ours.
    clock: Option<(Wall, Mono)>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The address is none, or nobody answers there.
    pub(crate) async fn connect(address: &str) -> Result<Self, Failed> {
        let endpoint = Endpoint::from_shared(address.to_owned()).ok();
        let endpoint = endpoint.filter(|endpoint| endpoint.uri().scheme_str() == Some("http"));
        let endpoint = endpoint.ok_or_else(|| Failed {
            code: 64,
            why: format!("--collector {address:?} is not an address like {DEFAULT_COLLECTOR}"),
        })?;
        let channel =
            endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await.map_err(|error| {
                let why = format!("no collector answers at {address}: {}", chain(&error));
                Failed::unreachable(format!("{why}; is it running? (lubdub up, lubdub-collector)"))
            })?;
        let inner = QueryServiceClient::new(channel).max_decoding_message_size(DOWN_LEN_MAX);
        Ok(Self { inner, clock: None })
    }

    /// The collector's wall clock: its times are told by it, whatever this machine's says.
    pub(crate) fn now(&self) -> Wall {
        let own = time::now();
        self.clock.map_or(own.wall, |(at, then)| at.after(own.mono.since(then)))
    }

    fn note(&mut self, now: Option<Wall>) {
        self.clock = now.map(|now| (now, time::now().mono)).or(self.clock);
    }

    /// All agents, page after page.
    ///
    /// # Errors
    /// The collector refused, or went away.
    pub(crate) async fn agents(&mut self) -> Result<(CollectorView, Vec<AgentView>), Failed> {
        let mut agents: Vec<AgentView> = Vec::new();
        loop {
            let after = agents.last().map_or_else(String::new, |view| view.agent.to_string());
            let request = pb::ListAgentsRequest { after, ..Default::default() };
            let page = self.inner.list_agents(request).await?.into_inner();
            let collector: CollectorView = page.collector.unwrap_or_default().try_into()?;
            self.note(collector.now);
            for view in page.agents {
                agents.push(view.try_into()?);
            }
            if !page.more {
                return Ok((collector, agents));
            }
        }
    }

    /// One agent.
    ///
    /// # Errors
    /// There is no such agent, or the collector went away.
    pub(crate) async fn agent(
        &mut self,
        agent: &AgentId,
    ) -> Result<(CollectorView, AgentView), Failed> {
        let request = pb::ListAgentsRequest { only: agent.to_string(), ..Default::default() };
        let page = self.inner.list_agents(request).await?.into_inner();
        let collector: CollectorView = page.collector.unwrap_or_default().try_into()?;
        self.note(collector.now);
        let view = page.agents.into_iter().next();
        let view = view.ok_or_else(|| Failed::refused("the collector's answer is empty"))?;
        Ok((collector, view.try_into()?))
    }

    /// A page of events, and where to go on.
    ///
    /// # Errors
    /// The collector refused, or went away.
    pub(crate) async fn events(
        &mut self,
        request: pb::ListEventsRequest,
    ) -> Result<EventPage, Failed> {
        let page = self.inner.list_events(request).await?.into_inner();
        let events = page.events.into_iter().map(|event| Ok(event.try_into()?));
        let events = events.collect::<Result<_, Failed>>()?;
        Ok(EventPage { events, last: page.last, store: store_id(&page.store)? })
    }

    /// Puts other policies in place; how many agents have another one now.
    ///
    /// # Errors
    /// The text holds a mistake, or the collector went away.
    pub(crate) async fn push_policy(
        &mut self,
        request: pb::PushPolicyRequest,
    ) -> Result<u32, Failed> {
        Ok(self.inner.push_policy(request).await?.into_inner().changed)
    }

    /// Forgets an agent.
    ///
    /// # Errors
    /// There is no such agent, it is connected, or the collector went away.
    pub(crate) async fn forget(&mut self, request: pb::ForgetRequest) -> Result<(), Failed> {
        self.inner.forget(request).await?;
        Ok(())
    }

    /// One agent, explained.
    ///
    /// # Errors
    /// There is no such agent, or the collector went away.
    pub(crate) async fn explain(&mut self, agent: &AgentId) -> Result<Explanation, Failed> {
        let request = pb::ExplainRequest { agent: agent.to_string() };
        let response = self.inner.explain(request).await?.into_inner();
        let explanation: Explanation = response.try_into()?;
        self.note(explanation.now);
        Ok(explanation)
    }

    /// Incidents, newest first.
    ///
    /// # Errors
    /// The collector refused, or went away.
    pub(crate) async fn incidents(
        &mut self,
        all: bool,
        agent: Option<&AgentId>,
    ) -> Result<Vec<IncidentView>, Failed> {
        let agent = agent.map_or_else(String::new, AgentId::to_string);
        let request = pb::ListIncidentsRequest { all, agent };
        let response = self.inner.list_incidents(request).await?.into_inner();
        self.note(response.now.map(wall));
        let views = response.incidents.into_iter().map(|incident| Ok(incident.try_into()?));
        views.collect()
    }

    /// A bundle of evidence; `None` where it stayed on its host.
    ///
    /// # Errors
    /// The collector refused, or went away.
    pub(crate) async fn evidence(
        &mut self,
        agent: &AgentId,
        id: String,
    ) -> Result<Option<Vec<u8>>, Failed> {
        let request = pb::GetEvidenceRequest { agent: agent.to_string(), id };
        match self.inner.get_evidence(request).await {
            Ok(found) => Ok(Some(found.into_inner().bundle)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    /// Asks for an act.
    ///
    /// # Errors
    /// There is no such agent, or the collector went away.
    pub(crate) async fn act(&mut self, request: pb::ActRequest) -> Result<pb::ActResponse, Failed> {
        Ok(self.inner.act(request).await?.into_inner())
    }
}
