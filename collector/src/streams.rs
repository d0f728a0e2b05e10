//! The streams that stand, each found by its agent: what goes down to sidecars.

use std::collections::HashMap;
use std::time::Duration;

use lubdub_engine::AgentIndex;
use lubdub_shared::command::Command;
use lubdub_shared::id::SpoolId;
use lubdub_shared::policy::VersionedPolicy;
use lubdub_shared::session::ToSidecar;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// When the first sidecar should come back to a collector that leaves.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// And how many in each second after that: a handshake costs a third of a millisecond.
const RETURNS_PER_SECOND: u32 = 500;

#[derive(Debug)]
struct Stream {
    session: u64,
    outbound: mpsc::Sender<ToSidecar>,
}

/// One stream an agent, the newest.
#[derive(Debug, Default)]
pub(crate) struct Streams(HashMap<AgentIndex, Stream>);

impl Streams {
    /// A stream begins; an older one of the same agent ends by that.
    pub(crate) fn open(
        &mut self,
        agent: AgentIndex,
        session: u64,
        outbound: mpsc::Sender<ToSidecar>,
        welcome: ToSidecar,
    ) {
        let (Ok(()) | Err(_)) = outbound.try_send(welcome);
        self.0.insert(agent, Stream { session, outbound });
    }

    pub(crate) fn close(&mut self, agent: AgentIndex) {
        self.0.remove(&agent);
    }

    /// The stream is the agent's newest: what an older one still says does not count.
    pub(crate) fn is_current(&self, agent: AgentIndex, session: u64) -> bool {
        self.0.get(&agent).is_some_and(|stream| stream.session == session)
    }

    /// Events are durable. A stream that has ended, or reads nothing, gets no ack: whoever follows
    /// it sends them again.
    pub(crate) fn ack(&self, agent: AgentIndex, session: u64, spool: SpoolId, number: u64) {
        let stream = self.0.get(&agent).filter(|stream| stream.session == session);
        if let Some(stream) = stream
            && stream.outbound.try_send(ToSidecar::Ack { spool, number }).is_err()
        {
            info!(session, "a slow stream got no ack; its events come again");
        }
    }

    /// A command goes down; false where the stream is gone or full.
    pub(crate) fn send(&self, agent: AgentIndex, command: Box<Command>) -> bool {
        let stream = self.0.get(&agent);
        stream.is_some_and(|stream| stream.outbound.try_send(ToSidecar::Command(command)).is_ok())
    }

    /// A sidecar that does not hear of its policy would never be judged again: where its stream is
    /// full it ends, and the next one begins with the policy.
    pub(crate) fn send_policy(&mut self, agent: AgentIndex, policy: &VersionedPolicy) {
        let Some(stream) = self.0.get(&agent) else { return };
        let (policy, mark) = (Box::new((**policy).clone()), policy.version());
        if stream.outbound.try_send(ToSidecar::Policy { policy, mark }).is_err() {
            warn!(session = stream.session, "a full stream is ended: it must hear of its policy");
            self.0.remove(&agent);
        }
    }

    /// The collector leaves: every sidecar is told, and when to come back, one after the other.
    pub(crate) fn drain(&self, reason: &str) {
        for (stream, number) in self.0.values().zip(0..) {
            let retry_after = RETRY_AFTER + Duration::from_secs(1) * number / RETURNS_PER_SECOND;
            let message = ToSidecar::GoAway { reason: reason.to_owned(), retry_after };
            let (Ok(()) | Err(_)) = stream.outbound.try_send(message);
        }
    }

    /// Streams that stand.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use lubdub_shared::policy::Policy;

    use super::*;

    fn open(streams: &mut Streams, session: u64, depth: usize) -> mpsc::Receiver<ToSidecar> {
        let (outbound, answers) = mpsc::channel(depth);
        streams.open(AgentIndex::default(), session, outbound, ToSidecar::Other);
        answers
    }

    #[test]
    fn an_ack_is_for_the_stream_that_sent_and_for_no_later_one() {
        let mut streams = Streams::default();
        let spool = SpoolId::random(&mut fastrand::Rng::with_seed(1));
        let mut old = open(&mut streams, 1, 4);
        streams.ack(AgentIndex::default(), 1, spool, 7);
        let mut new = open(&mut streams, 2, 4);
        streams.ack(AgentIndex::default(), 1, spool, 8);
        let heard = |answers: &mut mpsc::Receiver<ToSidecar>| {
            std::iter::from_fn(|| answers.try_recv().ok()).collect::<Vec<_>>()
        };
        assert_eq!(heard(&mut old), [ToSidecar::Other, ToSidecar::Ack { spool, number: 7 }]);
        assert_eq!(heard(&mut new), [ToSidecar::Other]);
        assert!(
            streams.is_current(AgentIndex::default(), 2)
                && !streams.is_current(AgentIndex::default(), 1)
        );
    }

    #[test]
    fn a_reader_that_never_reads_costs_acks_but_never_misses_its_policy() {
        let mut streams = Streams::default();
        let spool = SpoolId::random(&mut fastrand::Rng::with_seed(1));
        let mut answers = open(&mut streams, 1, 2);
        for number in 1..100 {
            streams.ack(AgentIndex::default(), 1, spool, number);
        }
        assert_eq!((answers.len(), streams.len()), (2, 1), "what finds no room is not kept");
        streams.send_policy(AgentIndex::default(), &VersionedPolicy::from(Policy::default()));
        assert_eq!(streams.len(), 0, "the next stream begins with the policy");
        assert!(answers.try_recv().is_ok() && answers.try_recv().is_ok());
        assert_eq!(answers.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }
}
