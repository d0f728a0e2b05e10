//! Messages of the stream.

use std::sync::Arc;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use prost::Message as _;

use super::command::survivors;
use super::words::Word as _;
use super::{Invalid, Required as _, duration, id, ms, pb, process, stamp, wall};
use crate::session::{
    BUNDLE_LEN_MAX, Bundle, EVENT_BATCH_MAX, Event, FromSidecar, GoodbyeReason, Happening, Hello,
    Hold, LOST_MAX, SpoolSeen, ToSidecar, Welcome,
};
use crate::status::Lifecycle;
use crate::text::clip;

/// Labels that one sidecar may carry.
const LABELS_MAX: usize = 32;

impl From<FromSidecar> for pb::FromSidecar {
    fn from(message: FromSidecar) -> Self {
        use pb::from_sidecar::Message;
        let message = match message {
            FromSidecar::Hello(hello) => Message::Hello(Box::new((*hello).into())),
            FromSidecar::Report(report) => {
                Message::Report(Box::new(Arc::unwrap_or_clone(report).into()))
            }
            FromSidecar::Events { spool, events } => Message::Events(pb::EventBatch {
                spool: spool.as_bytes().to_vec(),
                events: events.into_iter().map(Into::into).collect(),
            }),
            FromSidecar::Goodbye { reason, back_within } => Message::Goodbye(pb::Goodbye {
                reason: reason.to_wire(),
                back_within_ms: back_within.map(ms),
            }),
            FromSidecar::Other => return Self { message: None },
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<pb::FromSidecar> for FromSidecar {
    type Error = Invalid;

    fn try_from(message: pb::FromSidecar) -> Result<Self, Invalid> {
        use pb::from_sidecar::Message;
        let Some(message) = message.message else { return Ok(Self::Other) };
        Ok(match message {
            Message::Hello(hello) => Self::Hello(Box::new((*hello).try_into()?)),
            Message::Report(report) => Self::Report(Arc::new((*report).try_into()?)),
            Message::Events(batch) => {
                if batch.events.len() > EVENT_BATCH_MAX {
                    return Err(Invalid::new("events", "more than 256 in a batch"));
                }
                let events = batch.events.into_iter().map(TryInto::try_into);
                Self::Events {
                    spool: id("events.spool", &batch.spool)?,
                    events: events.collect::<Result<_, _>>()?,
                }
            }
            Message::Goodbye(goodbye) => Self::Goodbye {
                reason: GoodbyeReason::from_wire("goodbye.reason", goodbye.reason)?,
                back_within: goodbye.back_within_ms.map(duration),
            },
        })
    }
}

impl From<Hello> for pb::Hello {
    fn from(hello: Hello) -> Self {
        let epoch = |(store, epoch): (crate::id::StoreId, u64)| pb::StoreEpoch {
            store: store.as_bytes().to_vec(),
            epoch,
        };
        Self {
            agent: hello.agent.to_string(),
            instance: hello.instance.as_bytes().to_vec(),
            version: hello.version,
            host: hello.host,
            labels: hello.labels.into_iter().collect(),
            spool: hello.spool.as_bytes().to_vec(),
            last_event: hello.last_event,
            report: Some(hello.report.into()),
            epochs: hello.epochs.into_iter().map(epoch).collect(),
            shown: Some(hello.shown.into()),
            held: hello.held.map(Into::into),
            at: hello.at.map(stamp),
        }
    }
}

impl Hello {
    /// Its size on the wire, bytes.
    pub fn wire_len(&self) -> usize {
        pb::Hello::from(self.clone()).encoded_len()
    }
}

impl TryFrom<pb::Hello> for Hello {
    type Error = Invalid;

    fn try_from(hello: pb::Hello) -> Result<Self, Invalid> {
        if hello.labels.len() > LABELS_MAX {
            return Err(Invalid::new("hello.labels", "more than 32"));
        }
        let label = |(key, value): (String, String)| (clip(key.into()), clip(value.into()));
        let epoch = |e: pb::StoreEpoch| Ok((id("hello.epochs.store", &e.store)?, e.epoch));
        let agent = hello.agent.parse();
        Ok(Self {
            agent: agent.map_err(|_| Invalid::new("hello.agent", "not an agent id"))?,
            instance: id("hello.instance", &hello.instance)?,
            version: clip(hello.version.into()),
            host: clip(hello.host.into()),
            labels: hello.labels.into_iter().map(label).collect::<BTreeMap<_, _>>(),
            spool: id("hello.spool", &hello.spool)?,
            last_event: hello.last_event,
            report: hello.report.required("hello.report")?.try_into()?,
            epochs: hello.epochs.into_iter().map(epoch).collect::<Result<_, _>>()?,
            shown: hello.shown.required("hello.shown")?.into(),
            held: hello.held.map(TryInto::try_into).transpose()?,
            at: hello.at.map(wall),
        })
    }
}

impl From<ToSidecar> for pb::ToSidecar {
    fn from(message: ToSidecar) -> Self {
        use pb::to_sidecar::Message;
        let message = match message {
            ToSidecar::Welcome(welcome) => Message::Welcome(Box::new((*welcome).into())),
            ToSidecar::Ack { spool, number } => {
                Message::Ack(pb::EventAck { spool: spool.as_bytes().to_vec(), number })
            }
            ToSidecar::Command(command) => Message::Command(Box::new((*command).into())),
            ToSidecar::Policy { policy, mark } => {
                let policy = Some((*policy).into());
                Message::Policy(Box::new(pb::PolicyUpdate { policy, mark }))
            }
            ToSidecar::GoAway { reason, retry_after } => {
                Message::GoAway(pb::GoAway { reason, retry_after_ms: ms(retry_after) })
            }
            ToSidecar::Other => return Self { message: None },
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<pb::ToSidecar> for ToSidecar {
    type Error = Invalid;

    fn try_from(message: pb::ToSidecar) -> Result<Self, Invalid> {
        use pb::to_sidecar::Message;
        let Some(message) = message.message else { return Ok(Self::Other) };
        Ok(match message {
            Message::Welcome(welcome) => Self::Welcome(Box::new((*welcome).try_into()?)),
            Message::Ack(ack) => {
                Self::Ack { spool: id("ack.spool", &ack.spool)?, number: ack.number }
            }
            Message::Command(command) => Self::Command(Box::new((*command).try_into()?)),
            Message::Policy(update) => Self::Policy {
                policy: Box::new(update.policy.required("policy_update.policy")?.try_into()?),
                mark: update.mark,
            },
            Message::GoAway(away) => Self::GoAway {
                reason: clip(away.reason.into()),
                retry_after: duration(away.retry_after_ms),
            },
        })
    }
}

impl From<Welcome> for pb::Welcome {
    fn from(welcome: Welcome) -> Self {
        Self {
            session: welcome.session,
            store: welcome.store.as_bytes().to_vec(),
            epoch: welcome.epoch,
            interval_ms: ms(welcome.interval),
            policy: Some(welcome.policy.into()),
            acked_event: welcome.acked,
            degraded: welcome.degraded,
            pending: welcome.pending.into_iter().map(Into::into).collect(),
            policy_mark: welcome.policy_mark,
            spool: welcome.spool.map(Into::into),
        }
    }
}

impl From<SpoolSeen> for pb::SpoolSeen {
    fn from(seen: SpoolSeen) -> Self {
        let range = |range: RangeInclusive<u64>| {
            let (first, last) = range.into_inner();
            pb::EventRange { first, last }
        };
        let SpoolSeen { newest, foreign, lost } = seen;
        Self { newest, foreign, lost: lost.into_iter().map(range).collect() }
    }
}

impl TryFrom<pb::SpoolSeen> for SpoolSeen {
    type Error = Invalid;

    fn try_from(seen: pb::SpoolSeen) -> Result<Self, Invalid> {
        if seen.lost.len() > LOST_MAX {
            return Err(Invalid::new("welcome.spool.lost", "more than 64"));
        }
        let range = |range: pb::EventRange| range.first..=range.last;
        let lost = seen.lost.into_iter().map(range).collect();
        Ok(Self { newest: seen.newest, foreign: seen.foreign, lost })
    }
}

impl TryFrom<pb::Welcome> for Welcome {
    type Error = Invalid;

    fn try_from(welcome: pb::Welcome) -> Result<Self, Invalid> {
        Ok(Self {
            session: welcome.session,
            store: id("welcome.store", &welcome.store)?,
            epoch: welcome.epoch,
            interval: duration(welcome.interval_ms),
            policy: welcome.policy.required("welcome.policy")?.try_into()?,
            acked: welcome.acked_event,
            degraded: clip(welcome.degraded.into()),
            pending: welcome
                .pending
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            policy_mark: welcome.policy_mark,
            spool: welcome.spool.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<Hold> for pb::Held {
    fn from(hold: Hold) -> Self {
        Self {
            lifecycle: hold.lifecycle.to_wire(),
            reason: hold.reason,
            crash_loop: hold.crash_loop,
            requested_by: hold.requested_by,
        }
    }
}

impl TryFrom<pb::Held> for Hold {
    type Error = Invalid;

    fn try_from(held: pb::Held) -> Result<Self, Invalid> {
        Ok(Self {
            lifecycle: Lifecycle::from_wire("held.lifecycle", held.lifecycle)?,
            reason: clip(held.reason.into()),
            requested_by: clip(held.requested_by.into()),
            crash_loop: held.crash_loop,
        })
    }
}

impl From<Bundle> for pb::Bundle {
    fn from(bundle: Bundle) -> Self {
        let Bundle { id, reason, path, bytes, command, sent } = bundle;
        let command = command.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        Self { id, reason, path, bytes, sent, command }
    }
}

impl TryFrom<pb::Bundle> for Bundle {
    type Error = Invalid;

    fn try_from(evidence: pb::Bundle) -> Result<Self, Invalid> {
        if evidence.sent.len() > BUNDLE_LEN_MAX {
            return Err(Invalid::new("evidence.sent", "larger than 128 KiB"));
        }
        Ok(Self {
            id: clip(evidence.id.into()),
            reason: clip(evidence.reason.into()),
            path: clip(evidence.path.into()),
            bytes: evidence.bytes,
            command: match evidence.command.as_slice() {
                [] => None,
                bytes => Some(id("evidence.command", bytes)?),
            },
            sent: evidence.sent,
        })
    }
}

impl From<Event> for pb::Event {
    fn from(event: Event) -> Self {
        use pb::event::What;
        let what = match event.what {
            Happening::Started { process, used } => Some(What::Started(pb::Started {
                pid: process.pid.get(),
                start_time: process.start_time,
                used,
            })),
            Happening::Exited { exit, clean, next, survivors, left } => {
                Some(What::Exited(pb::Exited {
                    exit: Some(exit.into()),
                    clean,
                    next: next.to_wire(),
                    survivors: survivors.into_iter().map(Into::into).collect(),
                    left: left.into_iter().map(Into::into).collect(),
                }))
            }
            Happening::Outcome(outcome) => Some(What::Outcome(outcome.into())),
            Happening::Held(hold) => Some(What::Held(hold.into())),
            Happening::Evidence(bundle) => Some(What::Evidence(bundle.into())),
            Happening::Note { text } => Some(What::Note(pb::Note { text })),
            Happening::Other => None,
        };
        Self {
            number: event.number,
            at: Some(stamp(event.at)),
            life: event.life.map(Into::into),
            what,
        }
    }
}

impl TryFrom<pb::Event> for Event {
    type Error = Invalid;

    fn try_from(event: pb::Event) -> Result<Self, Invalid> {
        use pb::event::What;
        let what = match event.what {
            None => Happening::Other,
            Some(What::Started(started)) => Happening::Started {
                process: process(started.pid, started.start_time)?,
                used: started.used,
            },
            Some(What::Exited(exited)) => Happening::Exited {
                exit: exited.exit.required("exited.exit")?.try_into()?,
                clean: exited.clean,
                next: Lifecycle::from_wire("exited.next", exited.next)?,
                survivors: survivors(exited.survivors),
                left: survivors(exited.left),
            },
            Some(What::Outcome(outcome)) => Happening::Outcome(outcome.try_into()?),
            Some(What::Held(held)) => Happening::Held(held.try_into()?),
            Some(What::Evidence(evidence)) => Happening::Evidence(evidence.try_into()?),
            Some(What::Note(note)) => Happening::Note { text: clip(note.text.into()) },
        };
        Ok(Self {
            number: event.number,
            at: wall(event.at.required("event.at")?),
            life: event.life.map(TryInto::try_into).transpose()?,
            what,
        })
    }
}
