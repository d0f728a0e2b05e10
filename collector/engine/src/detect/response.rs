//! SlowResponse: tasks take longer than they may, or than they ever did.

use lubdub_shared::beat::Report;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::{scaled, words};

use super::setting::{Setting, bound};
use super::{Detector, Draft, age, count, never_acted_on, number};

pub(super) const DETECTOR: Detector = Detector {
    causes: &[Cause::SlowResponse],
    find: |look| find(look.report, look.policy),
    guard: never_acted_on,
    settings: &[
        Setting {
            key: |_, _| "response.slow".to_owned(),
            causes: &[Cause::SlowResponse],
            turn: |policy, _, by| {
                let slow = scaled(policy.limits.response.slow?, by);
                policy.limits.response.slow = Some(slow);
                Some(words(slow))
            },
        },
        bound!("response.anomaly", [SlowResponse], limits.response.anomaly),
    ],
};

pub(super) fn find(report: &Report, policy: &Policy) -> Option<Finding> {
    let (limits, trend) = (&policy.limits.response, report.vitals.response_trend);
    let p95 = report.vitals.response.map(|response| response.p95);
    let slow = limits.slow.zip(p95).filter(|(bound, p95)| u128::from(*p95) > bound.as_millis());
    let odd = trend.z.filter(|z| *z > limits.anomaly);
    let detail = match (slow, odd) {
        (Some((_, p95)), _) => {
            format!("95 % of tasks took up to {p95} ms (bound {})", age(limits.slow))
        }
        (None, Some(z)) => format!(
            "the last five tasks took far longer than the usual {} ms (z {z:.1}, limit {})",
            trend.usual_ms, limits.anomaly
        ),
        (None, None) => return None,
    };
    let finding = Draft {
        cause: Cause::SlowResponse,
        level: Status::Warning,
        detail,
        evidence: [
            ("p95_ms", count(p95)),
            ("slow", age(limits.slow)),
            ("z", number(trend.z, 2)),
            ("anomaly", limits.anomaly.to_string()),
            ("usual_ms", trend.usual_ms.to_string()),
        ],
        rule: "the 95th percentile over five minutes passed response.slow; or each of the newest \
               five tasks is response.anomaly robust deviations of log time above the agent's own",
        cancelled_by: "faster tasks",
    };
    Some(finding.into())
}
