//! Reports.

use std::num::NonZeroU32;

use super::trend::checks;
use super::words::Word as _;
use super::{Invalid, Required as _, duration, finite, id, ms, pb};
use crate::beat::{
    ActivityKind, Ages, Deadline, Evidence, Exit, ExitHow, FAILED_CHECKS_MAX, FailedCheck, Health,
    LastActivity, Lease, Phase, Progress, Report, ResponseTime, TaskCounts, Vitals,
};
use crate::id::Life;
use crate::schedule::LedgerView;
use crate::status::Lifecycle;

impl From<Life> for pb::Life {
    fn from(life: Life) -> Self {
        Self { id: life.id.as_bytes().to_vec(), ordinal: life.ordinal.get() }
    }
}

impl TryFrom<pb::Life> for Life {
    type Error = Invalid;

    fn try_from(life: pb::Life) -> Result<Self, Invalid> {
        let ordinal = NonZeroU32::new(life.ordinal).required("life.ordinal")?;
        Ok(Self { id: id("life.id", &life.id)?, ordinal })
    }
}

impl From<Exit> for pb::Exit {
    fn from(exit: Exit) -> Self {
        let how = match exit.how {
            ExitHow::Code(code) => pb::exit::How::Code(i32::from(code)),
            ExitHow::Signal(signal) => pb::exit::How::Signal(signal),
            ExitHow::Unknown(why) => pb::exit::How::Unknown(why),
        };
        Self { how: Some(how), core: exit.core, by_us: exit.by_us, oom: exit.oom }
    }
}

impl TryFrom<pb::Exit> for Exit {
    type Error = Invalid;

    fn try_from(exit: pb::Exit) -> Result<Self, Invalid> {
        use pb::exit::How;
        let how = match exit.how {
            Some(How::Code(code)) => ExitHow::Code(
                u8::try_from(code).map_err(|_| Invalid::new("exit.code", "not 0..255"))?,
            ),
            Some(How::Signal(signal)) => ExitHow::Signal(signal),
            Some(How::Unknown(why)) => ExitHow::Unknown(crate::text::clip(why.into())),
            None => ExitHow::Unknown("an end that this version does not know".to_owned()),
        };
        Ok(Self { how, core: exit.core, by_us: exit.by_us, oom: exit.oom })
    }
}

impl From<LedgerView> for pb::Ledger {
    fn from(ledger: LedgerView) -> Self {
        Self {
            used: ledger.used,
            limit: ledger.limit,
            next_delay_ms: ledger.next_delay.map(ms),
            spent: ledger.spent,
        }
    }
}

impl From<pb::Ledger> for LedgerView {
    fn from(ledger: pb::Ledger) -> Self {
        Self {
            used: ledger.used,
            limit: ledger.limit,
            next_delay: ledger.next_delay_ms.map(duration),
            spent: crate::text::clip(ledger.spent.into()),
        }
    }
}

impl From<Evidence> for pb::Evidence {
    fn from(shown: Evidence) -> Self {
        Self { beats: shown.beats, progress: shown.progress, ready: shown.ready }
    }
}

impl From<pb::Evidence> for Evidence {
    fn from(shown: pb::Evidence) -> Self {
        Self { beats: shown.beats, progress: shown.progress, ready: shown.ready }
    }
}

impl From<Ages> for pb::Ages {
    fn from(ages: Ages) -> Self {
        Self {
            up_ms: ms(ages.up),
            phase: ages.phase.map_or(0, Phase::to_wire),
            phase_ms: ms(ages.phase_age),
            ready: ages.ready,
            beats: ages.beats,
            beat_ms: ages.beat.map(ms),
            silence_ms: ms(ages.silence),
            armed: ages.armed,
            deadline_ms: ages.deadline.map(|deadline| ms(deadline.after)),
            deadline_explicit: ages.deadline.is_some_and(|deadline| deadline.explicit),
            activity_ms: ages.activity.map(|last| ms(last.age)),
            activity_kind: ages.activity.map_or(0, |last| last.kind.to_wire()),
            quiet_ms: ms(ages.quiet),
            progress: ages.progress.counter,
            frozen_ms: ages.progress.frozen.map(ms),
            progress_owed: ages.progress.owed,
            lease: ages.lease.map(|lease| pb::Lease {
                number: lease.number,
                left_ms: ms(lease.left),
                over_ms: lease.over.map(ms),
            }),
            paused_ms: ages.paused.map(ms),
            failed: ages.failed.into_iter().map(failed_to_wire).collect(),
            progress_window_ms: ms(ages.progress.window),
            still_ms: ages.progress.still.map(ms),
            repeats: Some(ages.repeats.into()),
            oldest_task_ms: ages.oldest_task.map(ms),
            checks: ages.checks.into_iter().map(Into::into).collect(),
            spent: ages.spent,
            resting: ages.resting,
            waited_ms: ms(ages.waited),
            unheard: ages.unheard,
            beat_gaps: Some(ages.beat_gaps.into()),
            progress_gaps: Some(ages.progress_gaps.into()),
        }
    }
}

fn failed_to_wire(failed: FailedCheck) -> pb::FailedCheck {
    pb::FailedCheck {
        name: failed.name,
        count: failed.count,
        trigger: failed.trigger,
        message: failed.message,
    }
}

fn failed_from_wire(failed: pb::FailedCheck) -> FailedCheck {
    FailedCheck {
        name: crate::text::clip(failed.name.into()),
        count: failed.count,
        trigger: failed.trigger,
        message: crate::text::clip(failed.message.into()),
    }
}

impl TryFrom<pb::Ages> for Ages {
    type Error = Invalid;

    fn try_from(ages: pb::Ages) -> Result<Self, Invalid> {
        if ages.failed.len() > FAILED_CHECKS_MAX {
            return Err(Invalid::new("ages.failed", "more than 8"));
        }
        let activity = match ages.activity_ms {
            None => None,
            Some(age) => Some(LastActivity {
                age: duration(age),
                kind: ActivityKind::from_wire("ages.activity_kind", ages.activity_kind)?,
            }),
        };
        let explicit = ages.deadline_explicit;
        Ok(Self {
            up: duration(ages.up_ms),
            phase: Phase::optional("ages.phase", ages.phase)?,
            phase_age: duration(ages.phase_ms),
            ready: ages.ready,
            beats: ages.beats,
            beat: ages.beat_ms.map(duration),
            silence: duration(ages.silence_ms),
            armed: ages.armed,
            deadline: ages.deadline_ms.map(|ms| Deadline { after: duration(ms), explicit }),
            activity,
            quiet: duration(ages.quiet_ms),
            progress: Progress {
                counter: ages.progress,
                frozen: ages.frozen_ms.map(duration),
                still: ages.still_ms.map(duration),
                owed: ages.progress_owed,
                window: duration(ages.progress_window_ms),
            },
            lease: ages.lease.map(|lease| Lease {
                number: lease.number,
                left: duration(lease.left_ms),
                over: lease.over_ms.map(duration),
            }),
            paused: ages.paused_ms.map(duration),
            failed: ages.failed.into_iter().map(failed_from_wire).collect(),
            repeats: ages.repeats.map(Into::into).unwrap_or_default(),
            oldest_task: ages.oldest_task_ms.map(duration),
            checks: checks(ages.checks)?,
            spent: ages.spent,
            resting: ages.resting,
            waited: duration(ages.waited_ms),
            unheard: ages.unheard,
            beat_gaps: ages.beat_gaps.map(Into::into).unwrap_or_default(),
            progress_gaps: ages.progress_gaps.map(Into::into).unwrap_or_default(),
        })
    }
}

impl From<Vitals> for pb::Vitals {
    fn from(vitals: Vitals) -> Self {
        let tasks = vitals.tasks;
        Self {
            energy: vitals.energy,
            memory_bytes: vitals.memory_bytes,
            cpu_ratio: vitals.cpu_ratio,
            tasks: Some(pb::TaskCounts {
                started: tasks.started,
                done: tasks.done,
                failed: tasks.failed,
                open: tasks.open,
            }),
            response: vitals.response.map(|response| pb::ResponseTime {
                p50_ms: response.p50,
                p95_ms: response.p95,
                max_ms: response.max,
            }),
            io_bytes: vitals.io_bytes,
            fds: vitals.fds,
            threads: vitals.threads,
            children: vitals.children,
            text: vitals.text,
            model: vitals.model,
            burn: Some(vitals.burn.into()),
            memory_trend: Some(vitals.memory_trend.into()),
            response_trend: Some(vitals.response_trend.into()),
            recent_tasks: Some(vitals.recent_tasks.into()),
        }
    }
}

impl TryFrom<pb::Vitals> for Vitals {
    type Error = Invalid;

    fn try_from(vitals: pb::Vitals) -> Result<Self, Invalid> {
        let tasks = vitals.tasks.required("vitals.tasks")?;
        Ok(Self {
            energy: vitals.energy.map(|e| finite("vitals.energy", e)).transpose()?,
            memory_bytes: vitals.memory_bytes,
            cpu_ratio: vitals.cpu_ratio.map(|c| finite("vitals.cpu_ratio", c)).transpose()?,
            tasks: TaskCounts {
                started: tasks.started,
                done: tasks.done,
                failed: tasks.failed,
                open: tasks.open,
            },
            response: vitals.response.map(|response| ResponseTime {
                p50: response.p50_ms,
                p95: response.p95_ms,
                max: response.max_ms,
            }),
            io_bytes: vitals.io_bytes,
            fds: vitals.fds,
            threads: vitals.threads,
            children: vitals.children,
            text: crate::text::clip(vitals.text.into()),
            model: crate::text::clip(vitals.model.into()),
            burn: vitals.burn.map(TryInto::try_into).transpose()?.unwrap_or_default(),
            memory_trend: vitals
                .memory_trend
                .map(TryInto::try_into)
                .transpose()?
                .unwrap_or_default(),
            response_trend: vitals
                .response_trend
                .map(TryInto::try_into)
                .transpose()?
                .unwrap_or_default(),
            recent_tasks: vitals.recent_tasks.map(Into::into).unwrap_or_default(),
        })
    }
}

impl From<Report> for pb::Report {
    fn from(report: Report) -> Self {
        Self {
            number: report.number,
            life: report.life.map(Into::into),
            lifecycle: report.lifecycle.to_wire(),
            pid: report.pid,
            ages: Some(report.ages.into()),
            vitals: Some(report.vitals.into()),
            ledger: Some(report.ledger.into()),
            health: Some(pb::SidecarHealth {
                datagrams_dropped: report.health.datagrams_dropped,
                writes_failed: report.health.writes_failed,
                events_dropped: report.health.events_dropped,
                sick_disk: report.health.sick_disk,
                unkillable: report.health.unkillable,
                sick: report.health.sick,
                sick_ms: ms(report.health.sick_for),
                unheard: report.health.unheard,
            }),
            starts_in_ms: report.starts_in.map(ms),
            policy: report.policy,
        }
    }
}

impl TryFrom<pb::Report> for Report {
    type Error = Invalid;

    fn try_from(report: pb::Report) -> Result<Self, Invalid> {
        let health = report.health.required("report.health")?;
        Ok(Self {
            number: report.number,
            life: report.life.map(TryInto::try_into).transpose()?,
            lifecycle: Lifecycle::from_wire("report.lifecycle", report.lifecycle)?,
            pid: report.pid,
            ages: report.ages.required("report.ages")?.try_into()?,
            vitals: report.vitals.required("report.vitals")?.try_into()?,
            ledger: report.ledger.required("report.ledger")?.into(),
            health: Health {
                datagrams_dropped: health.datagrams_dropped,
                writes_failed: health.writes_failed,
                events_dropped: health.events_dropped,
                sick_disk: crate::text::clip(health.sick_disk.into()),
                unkillable: crate::text::clip(health.unkillable.into()),
                sick: crate::text::clip(health.sick.into()),
                sick_for: duration(health.sick_ms),
                unheard: crate::text::clip(health.unheard.into()),
            },
            starts_in: report.starts_in_ms.map(duration),
            policy: report.policy,
        })
    }
}
