//! What a simulated agent does: the generator's language.

use std::time::Duration;

use fastrand::Rng;
use lubdub_shared::incident::Cause;
use lubdub_shared::policy::Policy;

/// What an agent is truly at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    /// Alive and getting on.
    AtWork,
    /// Alive, and it said that it waits (idle, a person, a rate limit, a lease, a start).
    Waits,
    /// It will not get on by itself.
    Stuck,
}

/// Steps that an agent tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steps {
    /// The same with the same result.
    Same,
    /// The same with the same error.
    SameError,
    /// Two that take turns.
    Turns,
    /// The same, and no result.
    Alone,
    /// Another each time.
    Pages,
    /// What a polling tool says.
    Polls,
}

impl Steps {
    /// What the agent says of one of them.
    pub(crate) fn say(self, number: u64) -> String {
        match self {
            Self::Same => r#"{"action":"bash: ls","result":"a.txt"}"#.to_owned(),
            Self::SameError => r#"{"action":"call","error":"429"}"#.to_owned(),
            Self::Turns if number.is_multiple_of(2) => {
                r#"{"action":"edit","result":"ok"}"#.to_owned()
            }
            Self::Turns => r#"{"action":"test","result":"red"}"#.to_owned(),
            Self::Alone => r#"{"action":"I think"}"#.to_owned(),
            Self::Pages => format!(r#"{{"action":"page {number}","result":"50 items"}}"#),
            Self::Polls => r#"{"action":"poll","result":"pending"}"#.to_owned(),
        }
    }
}

/// Memory of its tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Heap {
    /// MiB.
    Flat(f64),
    /// From MiB, so many MiB a minute.
    Grows(f64, f64),
    /// From MiB up by MiB over a time, then collected.
    Saw(f64, f64, Duration),
}

impl Heap {
    /// MiB, so long after the stretch began.
    pub(crate) fn at(self, since: Duration) -> f64 {
        match self {
            Self::Flat(mib) => mib,
            Self::Grows(from, a_minute) => from + a_minute * since.as_secs_f64() / 60.0,
            Self::Saw(from, up, over) => {
                from + up * (since.as_secs_f64() / over.as_secs_f64()).fract()
            }
        }
    }
}

/// One stretch of a life.
#[derive(Debug, Clone)]
pub(crate) struct Doing {
    /// How long it lasts.
    pub(crate) span: Duration,
    /// What it truly is.
    pub(crate) truth: Truth,
    /// Said once, when it begins.
    pub(crate) says: Vec<String>,
    /// Between beats.
    pub(crate) beats: Option<Duration>,
    /// Between steps of counted progress.
    pub(crate) works: Option<Duration>,
    /// Between told steps.
    pub(crate) steps: Option<(Duration, Steps)>,
    /// Tokens with each beat.
    pub(crate) tokens: u64,
    /// Cores.
    pub(crate) cpu: f64,
    /// Between lines of output.
    pub(crate) prints: Option<Duration>,
    /// Memory.
    pub(crate) heap: Heap,
    /// Its port answers a probe.
    pub(crate) answers: bool,
    /// Stopped by a signal.
    pub(crate) paused: bool,
    /// The whole host sleeps.
    pub(crate) suspended: bool,
    /// Nobody on the host gets the CPU for stretches of up to this.
    pub(crate) famine: Duration,
}

/// At work in the phase `working`: beats from its loop, progress now and then, some CPU and output.
pub(crate) fn at_work(rng: &mut Rng, span: Duration) -> Doing {
    Doing {
        span,
        truth: Truth::AtWork,
        says: vec![r#"{"phase":"working"}"#.to_owned()],
        beats: Some(seconds(rng.u64(4..16))),
        works: Some(seconds(rng.u64(10..90))),
        steps: None,
        tokens: 2000,
        cpu: 0.05 + rng.f64() * 0.4,
        prints: Some(seconds(rng.u64(5..40))),
        heap: Heap::Flat(300.0),
        answers: true,
        paused: false,
        suspended: false,
        famine: Duration::ZERO,
    }
}

/// Nothing comes from it at all; what was declared before still holds.
pub(crate) fn quiet(span: Duration) -> Doing {
    Doing {
        span,
        truth: Truth::AtWork,
        says: Vec::new(),
        beats: None,
        works: None,
        steps: None,
        tokens: 0,
        cpu: 0.0,
        prints: None,
        heap: Heap::Flat(300.0),
        answers: true,
        paused: false,
        suspended: false,
        famine: Duration::ZERO,
    }
}

/// One life.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) doings: Vec<Doing>,
    /// When a stuck one must be found at the latest, from the start of the life.
    pub(crate) due: Option<Duration>,
    /// MiB that its cgroup allows.
    pub(crate) memory_limit: Option<f64>,
}

impl Script {
    /// So far it lasts so long.
    pub(crate) fn lasts(&self) -> Duration {
        self.doings.iter().map(|doing| doing.span).sum()
    }

    /// A healthy stretch that begins the life: ready, three beats and more.
    pub(crate) fn healthy(rng: &mut Rng) -> Self {
        let span = minutes(rng.u64(3..40));
        let mut first = at_work(rng, span);
        first.says.insert(0, "READY=1".to_owned());
        Self { doings: vec![first], ..Self::default() }
    }

    /// Goes on with this.
    pub(crate) fn then(mut self, doing: Doing) -> Self {
        self.doings.push(doing);
        self
    }

    /// It is stuck from here on, and must be found after this time. Long enough that a second bound
    /// passes too.
    pub(crate) fn hangs(mut self, after: Duration, doing: Doing) -> Self {
        self.due = Some(self.lasts() + after);
        let span = (after * 4).max(minutes(30));
        self.doings.push(Doing { span, truth: Truth::Stuck, ..doing });
        self
    }
}

/// A kind of life.
#[derive(Debug)]
pub struct Kind {
    /// In a few words.
    pub name: &'static str,
    /// It ends stuck, and must be found as one of these; none: it is healthy.
    pub found_as: &'static [Cause],
    /// Once it is stuck it must be ended, and not only told.
    pub ends: bool,
    /// What its policy has besides the defaults.
    pub(crate) policy: fn(&mut Policy),
    /// One life of it.
    pub(crate) script: fn(&mut Rng) -> Script,
}

impl Kind {
    /// It ends stuck.
    pub fn is_stuck(&self) -> bool {
        !self.found_as.is_empty()
    }
}

/// The default policy.
pub(crate) fn default(_: &mut Policy) {}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

pub(crate) fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}
