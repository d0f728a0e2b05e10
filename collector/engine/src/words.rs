//! What people are told of a finding: one line, the rule behind it, and what ends it. A row of
//! `table` for each cause, asked by whoever shows it; nothing here decides anything.

use std::borrow::Cow;

use lubdub_shared::cause::Cause;
use lubdub_shared::facts::Facts;
use lubdub_shared::status::Lifecycle;

use crate::finding::{ActiveFinding, Finding};

mod table;

use table::TABLE;

/// The words of a cause, or of one of its forms.
struct Row {
    cause: Cause,
    /// Only where this fact is known; the first row that fits holds.
    form: Option<&'static str>,
    detail: fn(&Facts) -> String,
    rule: &'static str,
    ends_with: &'static str,
}

/// One line of a finding, with its numbers.
pub fn detail(finding: &Finding) -> String {
    let facts = &finding.facts;
    let mut line = match facts.text(TOLD) {
        "" => row(finding).map(|row| (row.detail)(facts)).unwrap_or_default(),
        told => told.to_owned(),
    };
    for (_, then) in facts.iter().filter(|(name, _)| *name == THEN) {
        line += &format!("; then {then}");
    }
    line
}

/// The same, behind the name of its cause.
pub fn line(finding: &Finding) -> String {
    format!("{}: {}", finding.cause, detail(finding))
}

/// The rule that found it, with the keys that configure it.
pub fn rule(finding: &Finding) -> &'static str {
    match finding.facts.text(TOLD) {
        "" => row(finding).map_or("", |row| row.rule),
        _ => "found before the collector restarted, and under treatment since",
    }
}

/// What would make it go away, given where the process is.
pub fn ends_with(standing: &ActiveFinding, lifecycle: Lifecycle) -> &'static str {
    match lifecycle {
        _ if !standing.treated => row(&standing.finding).map_or("", |row| row.ends_with),
        Lifecycle::Terminated => "a person: lubdub revive",
        Lifecycle::Quarantined => "a person: lubdub start",
        Lifecycle::Starting
        | Lifecycle::Running
        | Lifecycle::Stopping
        | Lifecycle::Restarting
        | Lifecycle::Verifying
        | Lifecycle::Stopped
        | Lifecycle::Failed
        | Lifecycle::Other => "a new life that shows what earlier lives showed",
    }
}

/// Name of the fact that an earlier run of the collector left in words, and nothing else.
pub(crate) const TOLD: &str = "told";
/// Name of a fact that came after the finding; there may be several.
pub(crate) const THEN: &str = "then";

fn row(finding: &Finding) -> Option<&'static Row> {
    let known = |name| finding.facts.get(name).is_some();
    TABLE.iter().find(|row| row.cause == finding.cause && row.form.is_none_or(known))
}

/// A fact in words; one that was not named is not known.
pub(crate) fn said<'f>(facts: &'f Facts, name: &str) -> Cow<'f, str> {
    facts.get(name).map_or(Cow::Borrowed("unknown"), |fact| Cow::Owned(fact.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_words_and_the_forms_come_first() {
        for &cause in Cause::ALL {
            let rows: Vec<_> = TABLE.iter().filter(|row| row.cause == cause).collect();
            let (last, forms) = rows.split_last().expect("a row of each cause");
            assert!(last.form.is_none() && forms.iter().all(|row| row.form.is_some()), "{cause}");
        }
    }
}
