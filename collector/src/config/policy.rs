//! `[policy.NAME]` and `[[assign]]`: from a file to resolved values.
//!
//! Each policy inherits key by key from `[policy.default]`, and that from the built-in values.
//! What could never work is refused here, before any port is bound.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use lubdub_shared::beat::Phase;
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::Cause;
use lubdub_shared::line::NAME_LEN_MAX;
use lubdub_shared::names::nearest;
use lubdub_shared::policy::{
    Act, Exhausted, ExpectBeats, Mode, Policy, RestartOn, RestartPolicy, UnknownExit,
    VersionedPolicy,
};
use lubdub_shared::strict_toml::{Refused, Span, SpanOrNone};
use serde::{Deserialize, Deserializer};

mod limits;

use limits::{
    CheckTable, EnergyTable, FailureTable, FlappingTable, LoopTable, MemoryTable, ResponseTable,
};

/// Longest: beyond it nothing would ever be found. A phase without a clock says "none".
const DEADLINE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Shortest deadline that a policy may set: below four ticks it measures the watcher.
const DEADLINE_MIN: Duration = Duration::from_secs(1);

/// Missed deadlines: beyond it a number is a slip.
const FAILURES_MAX: u32 = 1000;
/// More of anything than this is a slip.
const COUNT_MAX: u32 = 1_000_000;

/// `[policy.NAME]` by name.
pub type Tables = BTreeMap<String, Table>;

/// One `[policy.NAME]`; a key that is left out is inherited.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    mode: Option<Mode>,
    #[serde(default, deserialize_with = "expect_beats")]
    expect_beats: Option<ExpectBeats>,
    startup_grace: Option<Span>,
    heartbeat_deadline: Option<Span>,
    failures_before_critical: Option<NonZeroU32>,
    busy_cap: Option<Span>,
    progress_window: Option<Span>,
    lease_max: Option<Span>,
    inactive_after: Option<Span>,
    paused_max: Option<Span>,
    unreachable_after: Option<Span>,
    missing_after: Option<Span>,
    human_after: Option<Span>,
    send_evidence: Option<bool>,
    task_timeout: Option<SpanOrNone>,
    quiet_hours: Option<Vec<String>>,
    #[serde(default, rename = "loop")]
    looping: LoopTable,
    #[serde(default)]
    energy: EnergyTable,
    #[serde(default)]
    memory: MemoryTable,
    #[serde(default)]
    response: ResponseTable,
    #[serde(default)]
    failures: FailureTable,
    #[serde(default)]
    flapping: FlappingTable,
    #[serde(default)]
    check: BTreeMap<String, CheckTable>,
    #[serde(default)]
    phase: BTreeMap<ChosenPhase, SpanOrNone>,
    #[serde(default)]
    act: BTreeMap<ChosenCause, Act>,
    #[serde(default)]
    restart: RestartTable,
}

/// One that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
struct ChosenPhase(#[serde(deserialize_with = "Phase::chosen")] Phase);

/// One that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
struct ChosenCause(#[serde(deserialize_with = "Cause::chosen")] Cause);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartTable {
    on: Option<RestartOn>,
    success_exit: Option<Vec<u8>>,
    permanent_exit: Option<Vec<u8>>,
    unknown_exit: Option<UnknownExit>,
    attempts: Option<u32>,
    #[serde(default)]
    delay: DelayTable,
    stable_after: Option<Span>,
    per_day_max: Option<u32>,
    stop_signal: Option<StopSignal>,
    term_grace: Option<Span>,
    stopping_max: Option<Span>,
    exhausted: Option<Exhausted>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DelayTable {
    initial: Option<Span>,
    factor: Option<f64>,
    max: Option<Span>,
    jitter: Option<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum StopSignal {
    Hup = 1,
    Int = 2,
    Quit = 3,
    Usr1 = 10,
    Usr2 = 12,
    Term = 15,
}

/// `[[assign]]`: the first that matches names the policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assign {
    /// Agent ids; `*` stands for any text.
    #[serde(default)]
    agents: Vec<String>,
    /// Labels that all must match.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    policy: String,
}

/// `auto`, `true`, `false`; the latter two with or without quotes.
fn expect_beats<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ExpectBeats>, D::Error> {
    let value = toml::Value::deserialize(from)?;
    let word = value.as_bool().map(|b| b.to_string()).or_else(|| value.as_str().map(str::to_owned));
    let known = word.as_deref().and_then(ExpectBeats::from_word);
    known.map(Some).ok_or_else(|| serde::de::Error::custom("expect_beats is auto, true or false"))
}

/// A file that holds nothing but policies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    policy: Tables,
    #[serde(default)]
    assign: Vec<Assign>,
}

/// All policies, and who gets which.
#[derive(Debug)]
pub struct Policies {
    default: VersionedPolicy,
    named: BTreeMap<String, VersionedPolicy>,
    assign: Vec<Assign>,
}

impl Policies {
    /// Reads a policy file.
    ///
    /// # Errors
    /// It cannot be read or holds a mistake; file, line and key are named.
    pub fn read(path: &Path) -> Result<Self, Refused> {
        let (name, file) = super::read::<PolicyFile>(path)?;
        Self::new(&name, file.policy, file.assign)
    }

    /// Reads the text of a policy file. `name` names it in errors.
    ///
    /// # Errors
    /// It holds a mistake; line and key are named.
    pub fn parse(name: &str, text: &str) -> Result<Self, Refused> {
        let file: PolicyFile = lubdub_shared::strict_toml::parse(name, text)?;
        Self::new(name, file.policy, file.assign)
    }

    /// All of them, the default first.
    pub fn all(&self) -> impl Iterator<Item = &VersionedPolicy> {
        std::iter::once(&self.default).chain(self.named.values())
    }

    /// Who gets which, in words, first match first.
    pub fn assigned(&self) -> Vec<String> {
        let words = |rule: &Assign| {
            let labels = rule.labels.iter().map(|(key, value)| format!("{key}={value}"));
            let who: Vec<String> = rule.agents.iter().cloned().chain(labels).collect();
            format!("{} -> {}", who.join(", "), rule.policy)
        };
        self.assign.iter().map(words).collect()
    }

    /// Resolves tables. `file` names them in errors.
    ///
    /// # Errors
    /// The first value that could never work.
    pub fn new(file: &str, tables: Tables, assign: Vec<Assign>) -> Result<Self, Refused> {
        let default = tables.get("default").cloned().unwrap_or_default();
        let resolve = |name: &str, table: Table, base: &Policy| {
            let policy = Policy { name: name.to_owned(), ..base.clone() };
            let refuse = |why| Refused::new(file, format!("[policy.{name}] {why}"));
            let policy = table.over(&policy).map_err(refuse)?;
            check(file, &policy).map(|()| policy)
        };
        let default = resolve("default", default, &Policy::default())?;
        let mut named = BTreeMap::new();
        for (name, table) in tables.into_iter().filter(|(name, _)| name != "default") {
            let policy = resolve(&name, table, &default)?;
            named.insert(name, policy.into());
        }
        for (number, rule) in assign.iter().enumerate() {
            let why = if rule.policy != "default" && !named.contains_key(&rule.policy) {
                let near = nearest(&rule.policy, named.keys().map(String::as_str));
                let hint = near.first().map(|near| format!("; did you mean {near:?}?"));
                format!("there is no policy {:?}{}", rule.policy, hint.unwrap_or_default())
            } else if rule.agents.is_empty() && rule.labels.is_empty() {
                "it names neither agents nor labels, so it would match nobody".to_owned()
            } else {
                continue;
            };
            return Err(Refused::new(file, format!("[[assign]] number {}: {why}", number + 1)));
        }
        Ok(Self { default: default.into(), named, assign })
    }

    /// The policy of an agent.
    pub fn of(&self, agent: &AgentId, labels: &BTreeMap<String, String>) -> VersionedPolicy {
        let matches = |rule: &&Assign| {
            (rule.agents.is_empty() || rule.agents.iter().any(|glob| glob_holds(glob, agent)))
                && rule.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        let rule = self.assign.iter().find(matches);
        let named = rule.and_then(|rule| self.named.get(&rule.policy));
        named.unwrap_or(&self.default).clone()
    }
}

impl Table {
    fn over(self, base: &Policy) -> Result<Policy, String> {
        let span = |own: Option<Span>, base: Duration| own.map_or(base, |span| span.0);
        let mut phase = base.phase.clone();
        phase.extend(self.phase.into_iter().map(|(phase, span)| (phase.0, span.0)));
        let mut act = base.act.clone();
        act.extend(self.act.into_iter().map(|(cause, act)| (cause.0, act)));
        let limits = limits::Tables {
            looping: self.looping,
            energy: self.energy,
            memory: self.memory,
            response: self.response,
            failures: self.failures,
            flapping: self.flapping,
            check: self.check,
            quiet_hours: self.quiet_hours,
        };
        Ok(Policy {
            name: base.name.clone(),
            mode: self.mode.unwrap_or(base.mode),
            expect_beats: self.expect_beats.unwrap_or(base.expect_beats),
            startup_grace: span(self.startup_grace, base.startup_grace),
            heartbeat_deadline: span(self.heartbeat_deadline, base.heartbeat_deadline),
            failures_before_critical: self
                .failures_before_critical
                .unwrap_or(base.failures_before_critical),
            busy_cap: span(self.busy_cap, base.busy_cap),
            progress_window: span(self.progress_window, base.progress_window),
            lease_max: span(self.lease_max, base.lease_max),
            inactive_after: span(self.inactive_after, base.inactive_after),
            paused_max: span(self.paused_max, base.paused_max),
            unreachable_after: span(self.unreachable_after, base.unreachable_after),
            missing_after: span(self.missing_after, base.missing_after),
            human_after: span(self.human_after, base.human_after),
            send_evidence: self.send_evidence.unwrap_or(base.send_evidence),
            task_timeout: self.task_timeout.map_or(base.task_timeout, |timeout| timeout.0),
            phase,
            act,
            restart: self.restart.over(&base.restart),
            limits: limits.over(&base.limits)?,
        })
    }
}

impl RestartTable {
    fn over(self, base: &RestartPolicy) -> RestartPolicy {
        let span = |own: Option<Span>, base: Duration| own.map_or(base, |span| span.0);
        let mut delay = base.delay;
        delay.initial = span(self.delay.initial, delay.initial);
        delay.factor = self.delay.factor.unwrap_or(delay.factor);
        delay.max = span(self.delay.max, delay.max);
        delay.jitter = self.delay.jitter.unwrap_or(delay.jitter);
        RestartPolicy {
            on: self.on.unwrap_or(base.on),
            success_exit: self.success_exit.unwrap_or_else(|| base.success_exit.clone()),
            permanent_exit: self.permanent_exit.unwrap_or_else(|| base.permanent_exit.clone()),
            unknown_exit: self.unknown_exit.unwrap_or(base.unknown_exit),
            attempts: self.attempts.unwrap_or(base.attempts),
            delay,
            stable_after: span(self.stable_after, base.stable_after),
            per_day_max: self.per_day_max.unwrap_or(base.per_day_max),
            stop_signal: self.stop_signal.map_or(base.stop_signal, |signal| signal as i32),
            term_grace: span(self.term_grace, base.term_grace),
            stopping_max: span(self.stopping_max, base.stopping_max),
            exhausted: self.exhausted.unwrap_or(base.exhausted),
        }
    }
}

/// What could never work, or would do harm.
fn check(file: &str, policy: &Policy) -> Result<(), Refused> {
    let refuse = |why: String| Err(Refused::new(file, format!("[policy.{}] {why}", policy.name)));
    let phases = policy.phase.iter().filter_map(|(phase, span)| Some((phase.as_str(), (*span)?)));
    let deadlines = [("heartbeat_deadline", policy.heartbeat_deadline)].into_iter().chain(phases);
    for (key, deadline) in deadlines {
        if deadline < DEADLINE_MIN {
            return refuse(format!("{key} is below 1s, the least that a sidecar can tell"));
        }
        if deadline > DEADLINE_MAX {
            return refuse(format!("{key} is above 30 days: nothing would ever be found"));
        }
    }
    let task_timeout = policy.task_timeout.unwrap_or(DEADLINE_MIN);
    for (key, window) in [
        ("startup_grace", policy.startup_grace),
        ("busy_cap", policy.busy_cap),
        ("progress_window", policy.progress_window),
        ("lease_max", policy.lease_max),
        ("inactive_after", policy.inactive_after),
        ("paused_max", policy.paused_max),
        ("unreachable_after", policy.unreachable_after),
        ("missing_after", policy.missing_after),
        ("human_after", policy.human_after),
        ("task_timeout", task_timeout),
        ("restart.stable_after", policy.restart.stable_after),
    ] {
        if window < DEADLINE_MIN {
            return refuse(format!("{key} is below 1s, the least that a sidecar can tell"));
        }
    }
    check_counts(policy).or_else(refuse)?;
    if policy.name.is_empty() || policy.name.len() > NAME_LEN_MAX {
        return refuse(format!("a name has 1 to {NAME_LEN_MAX} bytes"));
    }
    if let Some((cause, act)) =
        policy.act.iter().find(|(cause, act)| **act > cause.row().weight.most())
    {
        return refuse(format!(
            "act.{cause} = {:?}: this cause can lead to {:?} at most",
            act.as_str(),
            cause.row().weight.most().as_str()
        ));
    }
    let restart = &policy.restart;
    if !(0.0..=1.0).contains(&restart.delay.jitter) {
        return refuse(format!(
            "restart.delay.jitter = {} is not within 0..1",
            restart.delay.jitter
        ));
    }
    if !(1.0..=100.0).contains(&restart.delay.factor) {
        return refuse(format!("restart.delay.factor = {} is not 1..100", restart.delay.factor));
    }
    if restart.delay.max < restart.delay.initial {
        return refuse("restart.delay.max is below restart.delay.initial".to_owned());
    }
    if let Some(code) = restart.permanent_exit.iter().find(|c| restart.success_exit.contains(c)) {
        return refuse(format!("exit code {code} is both success and a permanent failure"));
    }
    if restart.per_day_max < restart.attempts {
        let why = "restart.attempts can never be reached: restart.per_day_max is below it";
        return refuse(why.to_owned());
    }
    Ok(())
}

/// Counts that could never be met.
fn check_counts(policy: &Policy) -> Result<(), String> {
    let failures = policy.failures_before_critical.get();
    let counts = [
        ("failures_before_critical", failures, FAILURES_MAX),
        ("restart.attempts", policy.restart.attempts, COUNT_MAX),
        ("restart.per_day_max", policy.restart.per_day_max, COUNT_MAX),
    ];
    match counts.into_iter().find(|(_, count, most)| count > most) {
        Some((key, count, most)) => {
            Err(format!("{key} = {count} is above {most}: it would never be met"))
        }
        None => Ok(()),
    }
}

/// `*` stands for any text, also for none.
fn glob_holds(glob: &str, id: &AgentId) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = id.as_str().strip_prefix(first) else { return false };
    if !glob.contains('*') {
        return rest.is_empty();
    }
    let parts: Vec<&str> = parts.collect();
    let (last, middle) = parts.split_last().expect("a glob with a star has two parts");
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
