//! Findings and why they were made.

use std::borrow::Cow;

use super::words::Word as _;
use super::{Invalid, Required as _, duration, ms, pb, stamp, wall};
use crate::cause::Cause;
use crate::facts::{Fact, Facts};
use crate::status::Status;
use crate::view::{Explanation, FindingView, Shorter, WhatIf};

impl From<FindingView> for pb::Finding {
    fn from(finding: FindingView) -> Self {
        Self {
            cause: finding.cause.to_wire(),
            level: finding.level.to_wire(),
            since: Some(stamp(finding.since)),
            detail: finding.detail,
            evidence: finding.evidence.into_iter().collect(),
            rule: finding.rule,
            cancelled_by: finding.cancelled_by,
            facts: facts_to_wire(finding.facts),
        }
    }
}

impl TryFrom<pb::Finding> for FindingView {
    type Error = Invalid;

    fn try_from(finding: pb::Finding) -> Result<Self, Invalid> {
        Ok(Self {
            cause: Cause::from_wire("finding.cause", finding.cause)?,
            level: Status::from_wire("finding.level", finding.level)?,
            since: wall(finding.since.required("finding.since")?),
            detail: finding.detail,
            evidence: finding.evidence.into_iter().collect(),
            facts: finding.facts.into_iter().map(fact).collect(),
            rule: finding.rule,
            cancelled_by: finding.cancelled_by,
        })
    }
}

fn facts_to_wire(facts: Facts) -> Vec<pb::Fact> {
    use pb::fact::Value;
    let unknown = |kind: pb::FactKind| Some(Value::Unknown(kind.into()));
    let value = |fact| match fact {
        Fact::Time(None) => unknown(pb::FactKind::Time),
        Fact::Count(None) => unknown(pb::FactKind::Count),
        Fact::Number(None) => unknown(pb::FactKind::Number),
        Fact::Time(Some(time)) => Some(Value::TimeMs(ms(time))),
        Fact::Count(Some(count)) => Some(Value::Count(count)),
        Fact::Number(Some(number)) => Some(Value::Number(number)),
        Fact::Flag(flag) => Some(Value::Flag(flag)),
        Fact::Text(text) => Some(Value::Text(text)),
    };
    let fact = |(name, fact): (Cow<'static, str>, Fact)| pb::Fact {
        name: name.into_owned(),
        value: value(fact),
    };
    facts.into_iter().map(fact).collect()
}

/// A kind of fact that a newer peer knows is shown as such.
fn fact(fact: pb::Fact) -> (String, Fact) {
    use pb::fact::Value;
    let fact_of = match fact.value {
        Some(Value::TimeMs(ms)) => Fact::Time(Some(duration(ms))),
        Some(Value::Count(count)) => Fact::Count(Some(count)),
        Some(Value::Number(number)) => Fact::Number(Some(number)),
        Some(Value::Flag(flag)) => Fact::Flag(flag),
        Some(Value::Text(text)) => Fact::Text(text),
        Some(Value::Unknown(kind)) => match pb::FactKind::try_from(kind) {
            Ok(pb::FactKind::Time) => Fact::Time(None),
            Ok(pb::FactKind::Count) => Fact::Count(None),
            Ok(pb::FactKind::Number | pb::FactKind::Unspecified) | Err(_) => Fact::Number(None),
        },
        None => Fact::Text("other".to_owned()),
    };
    (fact.name, fact_of)
}

impl From<Explanation> for pb::ExplainResponse {
    fn from(explanation: Explanation) -> Self {
        Self {
            agent: Some(explanation.agent.into()),
            deadlines: explanation.deadlines.into_iter().collect(),
            configured: explanation.configured.into_iter().collect(),
            what_if: explanation.what_if.into_iter().map(Into::into).collect(),
            suggestions: explanation.suggestions,
            now: explanation.now.map(stamp),
            clocks: facts_to_wire(explanation.clocks),
            settings: facts_to_wire(explanation.settings),
            shorter: explanation.shorter.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::ExplainResponse> for Explanation {
    type Error = Invalid;

    fn try_from(response: pb::ExplainResponse) -> Result<Self, Invalid> {
        let agent = response.agent.required("agent")?.try_into()?;
        Ok(Self {
            agent,
            deadlines: response.deadlines.into_iter().collect(),
            configured: response.configured.into_iter().collect(),
            what_if: response.what_if.into_iter().map(Into::into).collect(),
            shorter: response.shorter.into_iter().map(Into::into).collect(),
            suggestions: response.suggestions,
            now: response.now.map(wall),
            clocks: response.clocks.into_iter().map(fact).collect(),
            settings: response.settings.into_iter().map(fact).collect(),
        })
    }
}

impl From<WhatIf> for pb::WhatIf {
    fn from(WhatIf { key, value, to, says }: WhatIf) -> Self {
        Self { key, value, says, to: facts_to_wire(to).pop() }
    }
}

impl From<pb::WhatIf> for WhatIf {
    fn from(pb::WhatIf { key, value, says, to }: pb::WhatIf) -> Self {
        Self { key, value, to: to.into_iter().map(fact).collect(), says }
    }
}

impl From<Shorter> for pb::Shorter {
    fn from(Shorter { of, gaps, longest, enough, in_force }: Shorter) -> Self {
        let [longest_ms, enough_ms, in_force_ms] = [longest, enough, in_force].map(ms);
        Self { of, gaps, longest_ms, enough_ms, in_force_ms }
    }
}

impl From<pb::Shorter> for Shorter {
    fn from(shorter: pb::Shorter) -> Self {
        let pb::Shorter { of, gaps, longest_ms, enough_ms, in_force_ms } = shorter;
        let [longest, enough, in_force] = [longest_ms, enough_ms, in_force_ms].map(duration);
        Self { of, gaps, longest, enough, in_force }
    }
}
