//! Policy values.

use std::num::NonZeroU32;

use super::words::Word as _;
use super::{Invalid, Required as _, duration, finite, ms, pb};
use crate::beat::Phase;
use crate::incident::Cause;
use crate::policy::{
    Act, Delay, Exhausted, ExpectBeats, Mode, Policy, RestartOn, RestartPolicy, UnknownExit,
};
use crate::text::clip;

impl From<Policy> for pb::Policy {
    fn from(policy: Policy) -> Self {
        let phase = |(phase, deadline): (Phase, Option<_>)| pb::PhaseDeadline {
            phase: phase.to_wire(),
            deadline_ms: deadline.map(ms),
        };
        let act = |(cause, act): (Cause, Act)| pb::CauseAct {
            cause: cause.to_wire(),
            act: act.to_wire(),
        };
        Self {
            mode: policy.mode.to_wire(),
            expect_beats: policy.expect_beats.to_wire(),
            startup_grace_ms: ms(policy.startup_grace),
            heartbeat_deadline_ms: ms(policy.heartbeat_deadline),
            failures_before_critical: policy.failures_before_critical.get(),
            busy_cap_ms: ms(policy.busy_cap),
            progress_window_ms: ms(policy.progress_window),
            lease_max_ms: ms(policy.lease_max),
            inactive_after_ms: ms(policy.inactive_after),
            paused_max_ms: ms(policy.paused_max),
            unreachable_after_ms: ms(policy.unreachable_after),
            missing_after_ms: ms(policy.missing_after),
            human_after_ms: ms(policy.human_after),
            send_evidence: policy.send_evidence,
            task_timeout_ms: policy.task_timeout.map(ms),
            limits: Some(policy.limits.into()),
            phases: policy.phase.into_iter().map(phase).collect(),
            acts: policy.act.into_iter().map(act).collect(),
            restart: Some(policy.restart.into()),
            name: policy.name,
        }
    }
}

impl TryFrom<pb::Policy> for Policy {
    type Error = Invalid;

    fn try_from(policy: pb::Policy) -> Result<Self, Invalid> {
        // A phase or a cause that is not known here never comes up here.
        let phase = |p: pb::PhaseDeadline| match Phase::from_wire("policy.phase", p.phase) {
            Ok(Phase::Other) => None,
            phase => Some(phase.map(|phase| (phase, p.deadline_ms.map(duration)))),
        };
        let act = |a: pb::CauseAct| match Cause::from_wire("act.cause", a.cause) {
            Ok(Cause::Other) => None,
            cause => Some(cause.and_then(|cause| Ok((cause, Act::from_wire("act.act", a.act)?)))),
        };
        let failures = policy.failures_before_critical;
        Ok(Self {
            name: clip(policy.name.into()),
            mode: Mode::from_wire("policy.mode", policy.mode)?,
            expect_beats: ExpectBeats::from_wire("policy.expect_beats", policy.expect_beats)?,
            startup_grace: duration(policy.startup_grace_ms),
            heartbeat_deadline: duration(policy.heartbeat_deadline_ms),
            failures_before_critical: NonZeroU32::new(failures)
                .required("policy.failures_before_critical")?,
            busy_cap: duration(policy.busy_cap_ms),
            progress_window: duration(policy.progress_window_ms),
            lease_max: duration(policy.lease_max_ms),
            inactive_after: duration(policy.inactive_after_ms),
            paused_max: duration(policy.paused_max_ms),
            unreachable_after: duration(policy.unreachable_after_ms),
            missing_after: duration(policy.missing_after_ms),
            human_after: duration(policy.human_after_ms),
            send_evidence: policy.send_evidence,
            task_timeout: policy.task_timeout_ms.map(duration),
            limits: policy.limits.map(TryInto::try_into).transpose()?.unwrap_or_default(),
            phase: policy.phases.into_iter().filter_map(phase).collect::<Result<_, _>>()?,
            act: policy.acts.into_iter().filter_map(act).collect::<Result<_, _>>()?,
            restart: policy.restart.required("policy.restart")?.try_into()?,
        })
    }
}

impl From<RestartPolicy> for pb::RestartPolicy {
    fn from(restart: RestartPolicy) -> Self {
        Self {
            on: restart.on.to_wire(),
            success_exit: restart.success_exit.into_iter().map(i32::from).collect(),
            attempts: restart.attempts,
            delay_initial_ms: ms(restart.delay.initial),
            delay_factor: restart.delay.factor,
            delay_max_ms: ms(restart.delay.max),
            delay_jitter: restart.delay.jitter,
            stable_after_ms: ms(restart.stable_after),
            per_day_max: restart.per_day_max,
            stop_signal: restart.stop_signal,
            term_grace_ms: ms(restart.term_grace),
            stopping_max_ms: Some(ms(restart.stopping_max)),
            exhausted: restart.exhausted.to_wire(),
            permanent_exit: restart.permanent_exit.into_iter().map(i32::from).collect(),
            unknown_exit: restart.unknown_exit.to_wire(),
        }
    }
}

impl TryFrom<pb::RestartPolicy> for RestartPolicy {
    type Error = Invalid;

    fn try_from(restart: pb::RestartPolicy) -> Result<Self, Invalid> {
        let codes = |field, codes: Vec<i32>| {
            let code = |code| u8::try_from(code).map_err(|_| Invalid::new(field, "not 0..255"));
            codes.into_iter().map(code).collect::<Result<Vec<u8>, _>>()
        };
        Ok(Self {
            on: RestartOn::from_wire("restart.on", restart.on)?,
            success_exit: codes("restart.success_exit", restart.success_exit)?,
            permanent_exit: codes("restart.permanent_exit", restart.permanent_exit)?,
            unknown_exit: match restart.unknown_exit {
                0 => UnknownExit::Failure,
                word => UnknownExit::from_wire("restart.unknown_exit", word)?,
            },
            attempts: restart.attempts,
            delay: Delay {
                initial: duration(restart.delay_initial_ms),
                factor: finite("restart.delay_factor", restart.delay_factor)?.clamp(1.0, 100.0),
                max: duration(restart.delay_max_ms),
                jitter: finite("restart.delay_jitter", restart.delay_jitter)?.clamp(0.0, 1.0),
            },
            stable_after: duration(restart.stable_after_ms),
            per_day_max: restart.per_day_max,
            stop_signal: restart.stop_signal,
            term_grace: duration(restart.term_grace_ms),
            stopping_max: restart
                .stopping_max_ms
                .map_or_else(|| Self::default().stopping_max, duration),
            exhausted: Exhausted::from_wire("restart.exhausted", restart.exhausted)?,
        })
    }
}
