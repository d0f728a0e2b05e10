//! One agent, its supervisor and the engine in virtual time, driven by a transcript.
//!
//! A transcript is a list of blocks: commands, `----`, then what they led to. The agent's life is
//! scripted; everything else is the real code: the line parser, the sidecar's pure supervisor and
//! ages, the engine. The runtimes between them are left out, time moves in ticks of 250 ms.
//!
//! ```text
//! policy KEY=VALUE …      in dots, as in the file: restart.attempts=2 phase.llm=15m
//! toml KEY = VALUE        the same, as it stands in the file
//! start                   the sidecar attaches and starts the agent
//! every-life beat=D for=D [progress]   what each life does by itself from its start
//! say TEXT                one datagram (\n stands for a new line)
//! beat every=D for=D      and time passes
//! cpu SHARE | write | quiet   what the tree does besides, from now on
//! pause | resume          SIGSTOP, SIGCONT
//! exit CODE | kill SIGNAL | oom | stubborn
//! undying | stuck WHERE | dies    a kill does not end it; that is noticed; it ends after all
//! link down | link up | hold commands | release commands
//! sidecar sleeps D | collector sleeps D
//! advance D
//! person restart|stop|start|apoptosis|revive|nudge
//! repeat N every=D COMMAND    with time passing after each
//! memory MIB [limit=MIB] [grow=MIB]   of the tree, growing so much a minute
//! listens | deaf          somebody takes nudges, or nobody does
//! push KEY=VALUE …        the collector has another policy for a running agent
//! wall SIGN D             the wall clock steps
//! rival                   another sidecar instance says hello
//! disk sick WHY | disk well
//! door shut WHY | door open    the sidecar cannot hear the agent, or can again
//! ails D WHY | well           the sidecar cannot do its own work, and could not for so long
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lubdub_collector::config::Policies;
use lubdub_engine::{
    ActRequest, Admitted, AgentIndex, AgentInput, Detached, Effect, Fleet, Identity, Input, Refused,
};
use lubdub_shared::beat::{Exit, ExitHow, Health};
use lubdub_shared::command::{Command, CommandKind};
use lubdub_shared::id::{AgentId, CommandId, InstanceId, SpoolId, StoreId};
use lubdub_shared::policy::{Policy, VersionedPolicy};
use lubdub_shared::session::{self, Hello, Welcome};
use lubdub_shared::strict_toml;
use lubdub_shared::time::{Mono, Now, TICK, Wall};
use lubdub_sidecar::state::Memory;
use lubdub_sidecar::supervisor::{Event as Told, Local, Supervisor};
use lubdub_sidecar::vitals::TreeSample;
use lubdub_sidecar::vitals::activity::Counters;

use crate::fleet;

const INTERVAL: Duration = Duration::from_secs(5);
const AGENT: &str = "a1";

/// Runs a transcript; returns it with the outputs that the code gives now.
pub fn run_transcript(text: &str) -> String {
    let mut world = VirtualWorld::new();
    let mut out = String::new();
    let mut commands = true;
    for line in text.lines() {
        if line == "----" {
            commands = false;
            out.push_str("----\n");
            out.push_str(&std::mem::take(&mut world.said));
        } else if line.is_empty() {
            commands = true;
            out.push('\n');
        } else if commands {
            if !line.starts_with('#') {
                world.command(line);
            }
            writeln!(out, "{line}").expect("a string takes it");
        }
    }
    assert!(world.said.is_empty(), "commands without a block of their own: {}", world.said);
    out
}

mod told;

#[derive(Default)]
struct Habit {
    every: Duration,
    span: Duration,
    progress: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts of a script")]
struct VirtualWorld {
    now: Now,
    began: Mono,
    policy: VersionedPolicy,
    toml: BTreeMap<String, String>,
    fleet: Fleet,
    supervisor: Supervisor,
    agent: Option<AgentIndex>,
    identity: Identity,
    hello: Hello,
    session: u64,
    linked: bool,
    holding: bool,
    held: Vec<Command>,
    spool: Vec<session::Event>,
    numbered: u64,
    habit: Habit,
    life_began: Mono,
    counted: u64,
    alive: bool,
    stubborn: bool,
    undying: bool,
    paused: bool,
    cpu: f64,
    writes: bool,
    counters: Counters,
    /// MiB, and MiB a minute.
    memory: f64,
    memory_grows: f64,
    memory_limit: Option<f64>,
    pids: u32,
    sweeping: bool,
    effects: Vec<(AgentIndex, Effect)>,
    rng: fastrand::Rng,
    said: String,
}

impl VirtualWorld {
    fn new() -> Self {
        let rng = &mut fastrand::Rng::with_seed(7);
        let wall = Wall::parse("2026-11-22T00:00:00Z").expect("valid");
        let now = Now { mono: Mono(3_600_000_000_000), wall };
        let id: AgentId = AGENT.parse().expect("an id");
        let identity = Identity {
            store: StoreId::random(rng),
            epoch: 1,
            interval: INTERVAL,
            reports_per_second: 1000,
        };
        let memory = Memory::empty(id.clone(), String::new());
        let mut supervisor = Supervisor::new(memory, Local::default(), 1, now.mono);
        let hello = Hello {
            agent: id,
            instance: InstanceId::random(rng),
            version: String::new(),
            host: "virtual".to_owned(),
            labels: BTreeMap::new(),
            spool: SpoolId::random(rng),
            last_event: 0,
            at: None,
            report: supervisor.report(now.mono),
            epochs: BTreeMap::new(),
            shown: lubdub_shared::beat::Evidence::default(),
            held: None,
        };
        Self {
            now,
            began: now.mono,
            policy: Policy::default().into(),
            toml: BTreeMap::new(),
            fleet: Fleet::new(identity, 1, now.mono),
            supervisor,
            agent: None,
            identity,
            hello,
            session: 0,
            linked: false,
            holding: false,
            held: Vec::new(),
            spool: Vec::new(),
            numbered: 0,
            habit: Habit::default(),
            life_began: now.mono,
            counted: 0,
            alive: false,
            stubborn: false,
            undying: false,
            paused: false,
            cpu: 0.0,
            writes: false,
            counters: Counters::default(),
            memory: 0.0,
            memory_grows: 0.0,
            memory_limit: None,
            pids: 100,
            sweeping: false,
            effects: Vec::new(),
            rng: rng.clone(),
            said: String::new(),
        }
    }

    fn command(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (verb, rest) {
            ("policy", _) => self.set_policy(rest),
            ("start", _) | ("link", "up") => self.attach(),
            ("link", _) => self.detach(),
            ("every-life", _) => {
                self.habit = Habit {
                    every: value(rest, "beat="),
                    span: value(rest, "for="),
                    progress: rest.contains("progress"),
                };
            }
            ("say", _) => self.say(&rest.replace("\\n", "\n")),
            ("beat", _) => {
                let (every, span) = (value(rest, "every="), value(rest, "for="));
                let end = self.now.mono.after(span);
                while self.now.mono < end {
                    self.say("WATCHDOG=1");
                    self.advance(every);
                }
            }
            ("cpu", _) => self.cpu = rest.trim_end_matches('%').parse::<f64>().expect("%") / 100.0,
            ("write", _) => self.writes = true,
            ("quiet", _) => (self.cpu, self.writes) = (0.0, false),
            ("pause", _) => self.paused = true,
            ("resume", _) => self.paused = false,
            ("stubborn", _) => self.stubborn = true,
            ("exit", _) => self.ends(ExitHow::Code(rest.parse().expect("a code"))),
            ("kill", _) => self.ends(ExitHow::Signal(rest.parse().expect("a signal"))),
            ("hold", _) => self.holding = true,
            ("release", _) => {
                self.holding = false;
                for command in std::mem::take(&mut self.held) {
                    self.tell(Told::Command(Box::new(command)));
                }
            }
            ("sidecar", _) => self.sleep(value(rest, "sleeps "), true),
            ("collector", _) => self.sleep(value(rest, "sleeps "), false),
            ("advance", _) => self.advance(duration(rest)),
            ("person", _) => self.person(rest),
            _ => self.circumstance(verb, rest),
        }
    }

    /// What happens around the agent.
    fn circumstance(&mut self, verb: &str, rest: &str) {
        match verb {
            "toml" => {
                let (key, value) = rest.split_once(" = ").expect("KEY = VALUE");
                self.toml.insert(key.to_owned(), value.to_owned());
                self.set_policy("");
            }
            "rival" => self.rival(),
            "oom" => {
                self.alive = false;
                let exit = Exit { oom: true, ..Exit::of(ExitHow::Signal(9)) };
                self.tell(Told::MainExited(exit, Vec::new()));
            }
            "undying" => self.undying = true,
            "stuck" => self.tell(Told::Unkillable(Vec::new(), rest.to_owned())),
            "dies" => self.ends(ExitHow::Signal(9)),
            "disk" => {
                let sick_disk = rest.strip_prefix("sick ").unwrap_or_default().to_owned();
                self.supervisor.set_health(Health { sick_disk, ..Health::default() });
            }
            "door" => {
                let unheard = rest.strip_prefix("shut ").unwrap_or_default().to_owned();
                self.supervisor.set_health(Health { unheard, ..Health::default() });
            }
            "ails" => {
                let (span, why) = rest.split_once(' ').expect("D WHY");
                let (sick, sick_for) = (why.to_owned(), duration(span));
                self.supervisor.set_health(Health { sick, sick_for, ..Health::default() });
            }
            "well" => self.supervisor.set_health(Health::default()),
            "repeat" => {
                let mut words = rest.splitn(3, ' ');
                let times: u32 = words.next().and_then(|n| n.parse().ok()).expect("a number");
                let every = value(words.next().expect("every="), "every=");
                let command = words.next().expect("a command");
                for _ in 0..times {
                    self.command(command);
                    self.advance(every);
                }
            }
            "memory" => {
                self.memory = rest.split(' ').next().and_then(|n| n.parse().ok()).expect("MiB");
                self.memory_limit = number(rest, "limit=").or(self.memory_limit);
                self.memory_grows = number(rest, "grow=").unwrap_or_default();
            }
            "listens" | "deaf" => self.supervisor.set_listens(verb == "listens"),
            "push" => {
                self.set_policy(rest);
                self.feed(AgentInput::Policy(self.policy.clone()));
            }
            "wall" => {
                let (sign, by) = rest.split_once(' ').expect("a sign and a duration");
                let by = duration(by);
                let wall = self.now.wall;
                self.now.wall = if sign == "+" { wall.after(by) } else { wall.before(by) };
            }
            _ => panic!("no such command: {verb} {rest}"),
        }
    }

    fn set_policy(&mut self, pairs: &str) {
        for pair in pairs.split_whitespace() {
            let (key, value) = pair.split_once('=').expect("KEY=VALUE");
            let number = value.parse::<f64>().is_ok() || value == "true" || value == "false";
            let value = if number { value.to_owned() } else { format!("{value:?}") };
            self.toml.insert(key.to_owned(), value);
        }
        #[derive(serde::Deserialize)]
        struct File {
            policy: lubdub_collector::config::policy::Tables,
        }
        let lines =
            self.toml.iter().map(|(key, value)| format!("policy.default.{key} = {value}\n"));
        let file: File =
            strict_toml::parse("transcript", &lines.collect::<String>()).expect("a policy");
        let policies = Policies::new("transcript", file.policy, Vec::new()).expect("a policy");
        self.policy = policies.of(&self.hello.agent, &self.hello.labels);
    }

    fn attach(&mut self) {
        self.session += 1;
        self.hello.report = self.supervisor.report(self.now.mono);
        self.hello.last_event = self.numbered;
        let admitted = self.knock(self.hello.clone(), self.session).expect("admitted");
        (self.agent, self.linked) = (Some(admitted.agent), true);
        self.tell(Told::Welcome(
            Box::new(Welcome {
                session: self.session,
                store: self.identity.store,
                epoch: self.identity.epoch,
                interval: INTERVAL,
                policy_mark: self.policy.version(),
                spool: None,
                policy: (*self.policy).clone(),
                acked: 0,
                degraded: String::new(),
                pending: admitted.pending,
            }),
            "virtual".to_owned(),
        ));
        let spool = std::mem::take(&mut self.spool);
        for event in spool {
            self.feed(AgentInput::Event(self.hello.spool, Box::new(event)));
        }
    }

    fn knock(&mut self, hello: Hello, session: u64) -> Result<Admitted, Refused> {
        let (now, effects) = (self.now, &mut self.effects);
        fleet::attach(&mut self.fleet, hello, &self.policy, session, now, effects)
    }

    /// Another sidecar instance says hello for the same agent.
    fn rival(&mut self) {
        let instance = InstanceId::from_slice(&[7; 16]).expect("16 bytes");
        let hello = Hello { instance, ..self.hello.clone() };
        let refused = self.knock(hello, self.session + 1).map(|_| ());
        assert_eq!(refused, Err(Refused::OtherInstance));
        self.note("another instance is turned away");
        self.dispatch();
    }

    fn detach(&mut self) {
        self.linked = false;
        let agent = self.agent.expect("it was linked");
        let lost = AgentInput::Detached(Detached::Lost);
        self.apply(Input::Agent(agent, lost));
        self.tell(Told::LinkLost);
    }

    fn person(&mut self, kind: &str) {
        let request = ActRequest {
            command: CommandId::random(&mut self.rng),
            kind: CommandKind::from_word(kind).expect("an act"),
            reason: "asked".to_owned(),
            requested_by: "somebody".to_owned(),
            dry_run: false,
            expires: Duration::from_secs(3600),
        };
        self.feed(AgentInput::Asked(request));
    }

    fn say(&mut self, text: &str) {
        let message = lubdub_shared::line::parse(text.as_bytes()).expect("a datagram");
        let mut actions = Vec::new();
        self.supervisor.say(message, self.now, &mut actions);
        self.perform(actions);
    }

    fn tell(&mut self, told: Told) {
        let mut actions = Vec::new();
        self.supervisor.handle(told, self.now, &mut actions);
        self.perform(actions);
    }

    fn feed(&mut self, input: AgentInput) {
        if self.linked {
            let agent = self.agent.expect("it is linked");
            self.apply(Input::Agent(agent, input));
        }
    }

    fn apply(&mut self, input: Input) {
        fleet::apply(&mut self.fleet, input, self.now, &mut self.effects);
        self.dispatch();
    }

    fn ends(&mut self, how: ExitHow) {
        self.alive = false;
        self.tell(Told::MainExited(Exit::of(how), Vec::new()));
    }

    /// Time passes; everybody looks at each tick.
    fn advance(&mut self, span: Duration) {
        let end = self.now.mono.after(span);
        while self.now.mono < end {
            self.pass(TICK.min(end.since(self.now.mono)));
            self.live();
            if self.sweeping && !self.alive {
                self.sweeping = false;
                self.tell(Told::TreeGone(Vec::new()));
            }
            self.tell(Told::Tick);
            self.apply(Input::Tick);
        }
    }

    /// Time passes, and one side does not look; the agent lives on and is heard afterwards.
    fn sleep(&mut self, span: Duration, sidecar: bool) {
        if sidecar {
            let end = self.now.mono.after(span);
            while self.now.mono < end {
                self.pass(TICK);
                self.apply(Input::Tick);
            }
        } else {
            self.pass(span);
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now.mono = self.now.mono.after(span);
        self.now.wall = self.now.wall.after(span);
        if self.alive && !self.paused {
            self.counters.cpu += span.mul_f64(self.cpu);
            let bytes = if self.writes { 100 } else { 0 };
            self.counters.written += bytes;
            self.counters.io += bytes;
            self.memory += self.memory_grows * span.as_secs_f64() / 60.0;
        }
    }

    /// What the agent does by itself, and one look at it.
    fn live(&mut self) {
        if !self.alive {
            return;
        }
        let age = self.now.mono.since(self.life_began);
        let beats = !self.habit.every.is_zero() && age <= self.habit.span && !self.paused;
        let due = beats && age.as_millis() % self.habit.every.as_millis() < TICK.as_millis();
        if due && self.habit.progress {
            self.counted += 1;
            self.say(&format!("WATCHDOG=1\nX_LUBDUB_PROGRESS={}", self.counted));
        } else if due {
            self.say("WATCHDOG=1");
        }
        let sample = TreeSample {
            counters: self.counters,
            paused: self.paused,
            memory_bytes: mib(self.memory),
            memory_limit: self.memory_limit.map(mib),
            ..TreeSample::default()
        };
        let mut actions = Vec::new();
        self.supervisor.observe(sample, self.now.mono, &mut actions);
        self.perform(actions);
    }
}

fn duration(text: &str) -> Duration {
    let parsed = humantime::parse_duration(text.trim());
    parsed.unwrap_or_else(|_| panic!("no duration: {text:?}"))
}

fn value(text: &str, key: &str) -> Duration {
    let at = text.find(key).unwrap_or_else(|| panic!("no {key} in {text:?}"));
    duration(text[at + key.len()..].split_whitespace().next().expect("a value"))
}

fn number(text: &str, key: &str) -> Option<f64> {
    let after = &text[text.find(key)? + key.len()..];
    after.split_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn mib(mib: f64) -> u64 {
    (mib * 1_048_576.0) as u64
}
