//! What people are told of a finding: one line, the rule behind it, and what ends it. A row of
//! `table` for each cause, asked by whoever shows it; nothing here decides anything.

use lubdub_shared::cause::Cause;
use lubdub_shared::facts::{Fact, Facts};
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
    /// `None`: what is done about it ends it, whatever that is.
    ends_with: Option<&'static str>,
}

/// One line of a finding, with its numbers.
pub fn detail(finding: &Finding) -> String {
    let facts = &finding.facts;
    let mut line = match facts.get(TOLD) {
        None => row(finding).map(|row| (row.detail)(facts)).unwrap_or_default(),
        Some(told) => told.to_string(),
    };
    for then in &finding.then {
        line += &format!("; then {then}");
    }
    line
}

/// The same, behind the name of its cause.
pub fn line(finding: &Finding) -> String {
    format!("{}: {}", finding.cause, detail(finding))
}

/// The facts that say more than the line does: no text that is empty, or the line itself.
pub fn shown(finding: &Finding) -> Facts {
    let says = |(name, fact): &(&str, &Fact)| {
        *name != TOLD && !matches!(fact, Fact::Text(text) if text.is_empty())
    };
    let named = |(name, fact): (&str, &Fact)| (name.to_owned(), fact.clone());
    finding.facts.iter().filter(says).map(named).collect()
}

/// The rule that found it, with the keys that configure it.
pub fn rule(finding: &Finding) -> &'static str {
    match finding.facts.get(TOLD) {
        None => row(finding).map_or("", |row| row.rule),
        Some(_) => "found before the collector restarted, and under treatment since",
    }
}

/// What would make it go away, given where the process is.
pub fn ends_with(standing: &ActiveFinding, lifecycle: Lifecycle) -> &'static str {
    let own = row(&standing.finding).and_then(|row| row.ends_with).filter(|_| !standing.treated);
    match lifecycle {
        _ if let Some(own) = own => own,
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

fn row(finding: &Finding) -> Option<&'static Row> {
    let known = |name| finding.facts.get(name).is_some();
    TABLE.iter().find(|row| row.cause == finding.cause && row.form.is_none_or(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_words_and_the_forms_come_first() {
        let found = |cause: &&Cause| !cause.row().told[1].is_empty();
        for &cause in Cause::ALL.iter().filter(found) {
            let rows: Vec<_> = TABLE.iter().filter(|row| row.cause == cause).collect();
            let (last, forms) = rows.split_last().expect("a row of each cause that is found");
            assert!(last.form.is_none() && forms.iter().all(|row| row.form.is_some()), "{cause}");
        }
    }
}
