//! One simulated agent, its sidecar's pure half and the engine, tick by tick.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lubdub_engine::{AgentIndex, AgentInput, Effect, Fleet, Identity, Input};
use lubdub_shared::beat::{Exit, ExitHow};
use lubdub_shared::command::{Ending, Refusal};
use lubdub_shared::id::{AgentId, InstanceId, ProcessId, SpoolId, StoreId};
use lubdub_shared::line::{Message, parse};
use lubdub_shared::policy::{Policy, VersionedPolicy};
use lubdub_shared::session::{Happening, Hello, Welcome};
use lubdub_shared::time::{Mono, Now, TICK, Wall};
use lubdub_sidecar::state::Memory;
use lubdub_sidecar::supervisor::{Action, Event as Told, Local, Supervisor};
use lubdub_sidecar::vitals::TreeSample;
use lubdub_sidecar::vitals::activity::Counters;

use super::baselines::{Baselines, Signals};
use super::invariants::{self, Moment};
use super::script::{Doing, Kind, Script, Truth};
use super::table::Score;
use crate::fleet;
use crate::sample::gathered;

const INTERVAL: Duration = Duration::from_secs(5);
/// How often the driver looks at a tree when nothing calls for more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Lives one life, and scores what was made of it. The same seed lives the same life.
pub(super) fn live(kind: &Kind, seed: u64) -> Score {
    let mut rng = Rng::with_seed(seed);
    let script = (kind.script)(&mut rng);
    let mut policy = Policy::default();
    (kind.policy)(&mut policy);
    let mut world = World::new(kind, policy, &script, seed);
    world.attach();
    for doing in &script.doings {
        world.enter(doing);
        world.spend(doing, &mut rng);
        if world.over {
            break;
        }
    }
    world.score.lived = world.now.mono.since(world.began);
    world.score.baselines = world.baselines.scores();
    let missed = kind.is_stuck() && world.score.found.is_none()
        || kind.ends && world.score.right_restarts == 0;
    if missed || world.score.false_restarts > 0 {
        eprintln!("missed, or falsely ended; again: stuckbench life {seed} {:?}", kind.name);
    }
    world.score
}

struct World {
    now: Now,
    began: Mono,
    wall_step: i64,
    fleet: Fleet,
    agent: AgentIndex,
    supervisor: Supervisor,
    policy: Policy,
    identity: Identity,
    hello: Hello,
    events: u64,
    counters: Counters,
    entered: Mono,
    memory_limit: Option<f64>,
    looked: Mono,
    beat_at: Mono,
    work_at: Mono,
    step_at: Mono,
    print_at: Mono,
    told: Mono,
    worked: u64,
    stepped: u64,
    /// The last moment in which the script beat, and in which its tree did anything.
    truth: Truth,
    last_beat: Mono,
    last_activity: Mono,
    due: Option<Mono>,
    over: bool,
    beat: Message,
    effects: Vec<(AgentIndex, Effect)>,
    actions: Vec<Action>,
    baselines: Baselines,
    score: Score,
}

impl World {
    fn new(kind: &Kind, policy: Policy, script: &Script, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5eed);
        let wall = Wall::parse("2026-11-22T00:00:00Z").expect("a time");
        let mono = Mono(3_600_000_000_000);
        let id: AgentId = "sim".parse().expect("an id");
        let identity = Identity {
            store: StoreId::random(&mut rng),
            epoch: 1,
            interval: INTERVAL,
            reports_per_second: 1000,
        };
        let memory = Memory::empty(id.clone(), String::new());
        let mut supervisor = Supervisor::new(memory, Local::default(), seed, mono);
        let hello = Hello {
            agent: id,
            instance: InstanceId::random(&mut rng),
            version: String::new(),
            host: String::new(),
            labels: std::collections::BTreeMap::new(),
            spool: SpoolId::random(&mut rng),
            last_event: 0,
            at: None,
            report: supervisor.report(mono),
            epochs: std::collections::BTreeMap::new(),
            shown: lubdub_shared::beat::Evidence::default(),
            held: None,
        };
        Self {
            now: Now { mono, wall },
            began: mono,
            wall_step: 0,
            fleet: Fleet::new(identity, seed, mono),
            agent: AgentIndex::default(),
            supervisor,
            policy,
            identity,
            hello,
            events: 0,
            counters: Counters::default(),
            entered: mono,
            memory_limit: script.memory_limit,
            looked: mono,
            beat_at: mono,
            work_at: mono,
            step_at: mono,
            print_at: mono,
            told: mono,
            worked: 0,
            stepped: 0,
            truth: Truth::AtWork,
            last_beat: mono,
            last_activity: mono,
            due: script.due.map(|due| mono.after(due)),
            over: false,
            beat: parse(b"WATCHDOG=1").expect("a beat"),
            effects: Vec::new(),
            actions: Vec::new(),
            baselines: Baselines::default(),
            score: Score { found_as: kind.found_as, ..Score::default() },
        }
    }

    fn attach(&mut self) {
        let policy = VersionedPolicy::from(self.policy.clone());
        let (hello, now, effects) = (self.hello.clone(), self.now, &mut self.effects);
        let admitted = fleet::attach(&mut self.fleet, hello, &policy, 1, now, effects);
        self.agent = admitted.expect("admitted").agent;
        let welcome = Welcome {
            session: 1,
            store: self.identity.store,
            epoch: 1,
            interval: INTERVAL,
            policy: self.policy.clone(),
            acked: 0,
            degraded: String::new(),
            pending: Vec::new(),
            policy_mark: policy.version(),
            spool: None,
        };
        self.tell(Told::Welcome(Box::new(welcome), "sim".to_owned()));
    }

    /// A stretch of the script begins.
    fn enter(&mut self, doing: &Doing) {
        self.truth = doing.truth;
        self.entered = self.now.mono;
        for text in &doing.says {
            if let Some(step) = text.strip_prefix("wall ") {
                self.wall_step += step.parse::<i64>().expect("seconds") * 1_000_000_000;
            } else {
                self.say_text(text);
            }
        }
        let now = self.now.mono;
        (self.beat_at, self.work_at, self.step_at, self.print_at) = (now, now, now, now);
    }

    fn spend(&mut self, doing: &Doing, rng: &mut Rng) {
        let end = self.now.mono.after(doing.span);
        let mut starved_until = self.now.mono;
        while self.now.mono < end && !self.over {
            self.pass(TICK);
            if doing.suspended {
                self.collector_looks();
                continue;
            }
            if !doing.famine.is_zero() && self.now.mono >= starved_until && rng.u8(..) == 0 {
                starved_until = self.now.mono.after(doing.famine.mul_f64(rng.f64()));
            }
            if self.now.mono < starved_until {
                self.collector_looks();
                continue;
            }
            self.act(doing);
            self.look(doing);
            self.tell(Told::Tick);
            self.collector_looks();
            self.probe(doing);
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now.mono = self.now.mono.after(span);
        self.now.wall = self.now.wall.after(span);
        // What the generator called "the wall clock steps".
        self.now.wall.0 += std::mem::take(&mut self.wall_step);
    }

    /// What the agent does in this tick.
    fn act(&mut self, doing: &Doing) {
        if doing.paused {
            return;
        }
        let now = self.now.mono;
        self.counters.cpu += TICK.mul_f64(doing.cpu);
        if doing.cpu >= 0.01 {
            self.last_activity = now;
        }
        if is_due(&mut self.print_at, doing.prints, now) {
            self.counters.written += 80;
            self.counters.io += 80;
            self.last_activity = now;
        }
        if is_due(&mut self.beat_at, doing.beats, now) {
            if doing.tokens > 0 {
                self.say_text(&format!(r#"{{"tokens":{{"in":{}}}}}"#, doing.tokens));
            } else {
                self.say(self.beat.clone());
            }
        }
        if is_due(&mut self.work_at, doing.works, now) {
            self.worked += 1;
            self.say_text(&format!(r#"{{"progress":{}}}"#, self.worked));
        }
        if let Some((every, steps)) = doing.steps
            && is_due(&mut self.step_at, Some(every), now)
        {
            self.stepped += 1;
            self.say_text(&steps.say(self.stepped));
        }
    }

    /// The sidecar looks at the tree, as often as its driver would.
    fn look(&mut self, doing: &Doing) {
        let now = self.now.mono;
        let spoke = self.told > self.looked;
        let due = spoke || now.since(self.looked) >= LOOK_EVERY;
        if !due && !self.supervisor.looks_at_each_tick() {
            return;
        }
        self.looked = now;
        let sample = TreeSample {
            counters: self.counters,
            memory_bytes: mib(doing.heap.at(now.since(self.entered))),
            memory_limit: self.memory_limit.map(mib),
            paused: doing.paused,
            ..TreeSample::default()
        };
        self.supervisor.observe(sample, now, &mut self.actions);
        self.perform();
    }

    fn say_text(&mut self, text: &str) {
        self.say(parse(text.as_bytes()).expect("a datagram"));
    }

    fn say(&mut self, message: Message) {
        (self.told, self.last_beat) = (self.now.mono, self.now.mono);
        self.supervisor.say(message, self.now, &mut self.actions);
        self.perform();
    }

    fn tell(&mut self, told: Told) {
        self.supervisor.handle(told, self.now, &mut self.actions);
        self.perform();
    }

    fn perform(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.do_one(action);
            }
        }
    }

    fn do_one(&mut self, action: Action) {
        match action {
            Action::Start(_) => {
                let pid = std::num::NonZeroU32::MIN;
                let started = Told::Started(ProcessId { pid, start_time: 1 });
                self.supervisor.handle(started, self.now, &mut self.actions);
            }
            Action::Intend => {
                self.supervisor.handle(Told::Intended(Ok(())), self.now, &mut self.actions);
            }
            Action::Report => {
                let report = self.supervisor.report(self.now.mono);
                self.feed(AgentInput::Report(Arc::new(report)));
            }
            Action::Emit(life, what) => {
                let saved = matches!(&what, Happening::Outcome(outcome)
                    if outcome.ending == Ending::Refused(Refusal::PreconditionFailed));
                self.score.saves += u64::from(saved);
                self.events += 1;
                let event = lubdub_shared::session::Event {
                    number: self.events,
                    at: self.now.wall,
                    life,
                    what,
                };
                self.feed(AgentInput::Event(self.hello.spool, Box::new(event)));
            }
            Action::Gather(order) => {
                let gathered = Told::Gathered(Box::new(gathered(&order)));
                self.supervisor.handle(gathered, self.now, &mut self.actions);
            }
            // It is being stopped: this life is over, rightly or not.
            Action::SignalMain(_) | Action::SignalTree(_) | Action::KillTree => {
                if !self.over {
                    let how = ExitHow::Signal(15);
                    let exit = Exit { by_us: true, ..Exit::of(how) };
                    self.over = true;
                    self.score.restarted(self.truth);
                    self.supervisor.handle(
                        Told::MainExited(exit, Vec::new()),
                        self.now,
                        &mut self.actions,
                    );
                }
            }
            Action::Tell(_)
            | Action::Untell(_)
            | Action::Persist
            | Action::Checkpoint
            | Action::RestartElsewhere
            | Action::Tombstone(_)
            | Action::End(_) => {}
        }
    }

    fn collector_looks(&mut self) {
        if self.fleet.next_deadline() <= self.now.mono {
            fleet::apply(&mut self.fleet, Input::Tick, self.now, &mut self.effects);
            self.judge();
        }
    }

    fn feed(&mut self, input: AgentInput) {
        let input = Input::Agent(self.agent, input);
        fleet::apply(&mut self.fleet, input, self.now, &mut self.effects);
        self.judge();
    }

    /// What the engine made of it.
    fn judge(&mut self) {
        let moment = Moment {
            now: self.now.mono,
            agent: self.fleet.agent(self.agent),
            effects: &self.effects,
            truth: self.truth,
            policy: &self.policy,
            silent_for: self.now.mono.since(self.last_beat),
            inactive_for: self.now.mono.since(self.last_activity),
        };
        if let Err(broken) = invariants::check(&moment) {
            panic!("{broken}");
        }
        self.score.note(&moment, self.due);
        for (_, effect) in std::mem::take(&mut self.effects) {
            if let Effect::Send(command) = effect {
                self.supervisor.handle(Told::Command(command), self.now, &mut self.actions);
            }
        }
    }

    /// The other watchers look once a second.
    fn probe(&mut self, doing: &Doing) {
        let since = self.now.mono.since(self.began);
        if since.subsec_nanos() != 0 {
            return;
        }
        self.baselines.look(&Signals {
            mono: since,
            wall: Duration::from_nanos(u64::try_from(self.now.wall.0).unwrap_or_default()),
            beat_age: self.now.mono.since(self.last_beat),
            spoke: self.last_beat > self.began,
            answers: doing.answers && !doing.paused,
            truth: self.truth,
            due: self.due.map(|due| due.since(self.began)),
            idle: doing.truth == Truth::Waits,
        });
    }
}

/// The next time of something that comes at an interval.
fn is_due(next: &mut Mono, every: Option<Duration>, now: Mono) -> bool {
    let Some(every) = every else { return false };
    let due = now.since(*next) >= every;
    if due {
        *next = now;
    }
    due
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn mib(mib: f64) -> u64 {
    (mib * 1_048_576.0) as u64
}
