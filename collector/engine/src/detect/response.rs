//! SlowResponse: tasks take longer than they may, or than they ever did.

use lubdub_shared::beat::Report;
use lubdub_shared::cause::Cause;
use lubdub_shared::facts::Fact;
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::scaled;

use super::setting::{Setting, bound};
use super::{Detector, never_acted_on};
use crate::finding::Finding;

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
                Some(slow.into())
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
    if slow.is_none() && odd.is_none() {
        return None;
    }
    let facts = [
        ("p95_ms", Fact::Count(p95)),
        ("slow", limits.slow.into()),
        ("too_slow", slow.is_some().into()),
        ("z", trend.z.into()),
        ("anomaly", limits.anomaly.into()),
        ("usual_ms", trend.usual_ms.into()),
    ];
    Some(Finding::new(Cause::SlowResponse, Status::Warning, facts))
}
