//! The JSON shape of a datagram.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Deserialize;

use super::{
    CUSTOM_VITALS_MAX, Check, DURATION_MAX, Deed, Dropped, Message, NAME_LEN_MAX, Spent, Step,
    Task, TaskStep, Until, bad, clip, name, phase, ratio, seconds, trigger,
};
use crate::time::Wall;

/// The JSON shape, version 1.
#[derive(Deserialize)]
struct Json<'a> {
    v: Option<u64>,
    ready: Option<bool>,
    deadline_s: Option<f64>,
    lease_s: Option<f64>,
    #[serde(borrow)]
    phase: Option<Cow<'a, str>>,
    until: Option<JsonUntil<'a>>,
    provider: Option<Cow<'a, str>>,
    cycle: Option<u64>,
    progress: Option<u64>,
    energy: Option<f64>,
    tokens: Option<JsonTokens>,
    cost_usd: Option<f64>,
    task: Option<JsonTask<'a>>,
    check: Option<JsonCheck<'a>>,
    fail: Option<JsonFail<'a>>,
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    result: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    model: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    status: Option<Cow<'a, str>>,
    vitals: Option<BTreeMap<String, f64>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonUntil<'a> {
    Seconds(f64),
    #[serde(borrow)]
    At(Cow<'a, str>),
}

#[derive(Deserialize)]
struct JsonTokens {
    #[serde(default, rename = "in")]
    input: u64,
    #[serde(default, rename = "out")]
    output: u64,
}

#[derive(Deserialize)]
struct JsonTask<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    event: TaskStep,
    ms: Option<f64>,
}

#[derive(Deserialize)]
struct JsonCheck<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    ok: bool,
    #[serde(default)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
struct JsonFail<'a> {
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

pub(super) fn parse(text: &str) -> Result<Message, Dropped> {
    let json: Json<'_> =
        serde_json::from_str(text).map_err(|error| Dropped::Json(error.to_string()))?;
    if let Some(other) = json.v.filter(|&v| v != 1) {
        return Err(Dropped::Version(other));
    }
    let until = match json.until {
        None => None,
        // A wait is bounded where it is granted: here nothing is too long.
        Some(JsonUntil::Seconds(s)) if s >= DURATION_MAX.as_secs_f64() => {
            Some(Until::In(DURATION_MAX))
        }
        Some(JsonUntil::Seconds(s)) => Some(Until::In(seconds("until", s)?)),
        Some(JsonUntil::At(text)) => Some(Until::At(
            Wall::parse(&text).ok_or_else(|| bad("until", "neither seconds nor RFC 3339"))?,
        )),
    };
    let task = match json.task {
        None => None,
        Some(task) => Some(Task {
            id: name("task.id", task.id)?,
            step: task.event,
            took: task.ms.map(|ms| seconds("task.ms", ms / 1000.0)).transpose()?,
        }),
    };
    let tokens = json.tokens.unwrap_or(JsonTokens { input: 0, output: 0 });
    Ok(Message {
        beat: true,
        ready: json.ready.unwrap_or(false),
        deadline: json.deadline_s.map(|s| seconds("deadline_s", s)).transpose()?,
        lease: json.lease_s.map(|s| seconds("lease_s", s)).transpose()?,
        phase: json.phase.map(|word| phase("phase", &word)).transpose()?,
        until,
        provider: json.provider.map(|text| name("provider", text)).transpose()?,
        cycle: json.cycle,
        progress: json.progress,
        energy: json.energy.map(|energy| ratio("energy", energy)).transpose()?,
        spent: Spent {
            tokens_in: tokens.input,
            tokens_out: tokens.output,
            cost_usd: json.cost_usd.map_or(Ok(0.0), cost)?,
        },
        task,
        check: own_check(json.check, json.fail)?,
        source: json.source.map(|text| name("source", text)).transpose()?,
        model: json.model.map(clip),
        text: json.status.or(json.message).map(clip),
        step: step(json.action, json.result, json.error),
        vitals: custom_vitals(json.vitals.unwrap_or_default())?,
        ..Message::default()
    })
}

fn step(
    action: Option<Cow<'_, str>>,
    result: Option<Cow<'_, str>>,
    error: Option<Cow<'_, str>>,
) -> Option<Step> {
    Step::of(action.as_deref(), result.as_deref(), error.as_deref())
}

impl Step {
    /// A step in words; `None` where none were said.
    pub fn of(action: Option<&str>, result: Option<&str>, error: Option<&str>) -> Option<Self> {
        let said = action.is_some() || result.is_some() || error.is_some();
        let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        said.then(|| Self {
            action: action.map(|text| {
                let tool = text.split(|c| !in_name(c)).next().unwrap_or_default();
                Deed { hash: hash(text), tool: clip(tool.into()) }
            }),
            result: result.map(hash),
            error: error.map(hash),
        })
    }
}

/// Good for one process: it never leaves the sidecar.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn own_check(
    check: Option<JsonCheck<'_>>,
    fail: Option<JsonFail<'_>>,
) -> Result<Option<Check>, Dropped> {
    match (fail, check) {
        (Some(fail), _) => Ok(Some(trigger(clip(fail.message)))),
        (None, Some(check)) => Ok(Some(Check {
            name: name("check.name", check.name)?,
            ok: check.ok,
            trigger: false,
            message: clip(check.message),
        })),
        (None, None) => Ok(None),
    }
}

fn cost(value: f64) -> Result<f64, Dropped> {
    if (0.0..1e12).contains(&value) { Ok(value) } else { Err(bad("cost_usd", "not an amount")) }
}

fn custom_vitals(vitals: BTreeMap<String, f64>) -> Result<BTreeMap<String, f64>, Dropped> {
    if vitals.len() > CUSTOM_VITALS_MAX {
        return Err(bad("vitals", "more than 32 names"));
    }
    if vitals.keys().any(|key| key.is_empty() || key.len() > NAME_LEN_MAX) {
        return Err(bad("vitals", "a name that is empty or longer than 64 bytes"));
    }
    Ok(vitals)
}
