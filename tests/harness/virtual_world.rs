//! One agent, its supervisor and the engine in virtual time, driven by a transcript.
//!
//! A transcript is a list of blocks: commands, `----`, then what they led to. The agent's life is
//! scripted; everything else is the real code: the line parser, the sidecar's pure supervisor and
//! ages, the engine. The runtimes between them are left out, time moves in ticks of 250 ms.
//!
//! ```text
//! policy KEY=VALUE …      in dots, as in the file: restart.attempts=2 phase.llm=15m
//! start                   the sidecar attaches and starts the agent
//! every-life beat=D for=D [progress]   what each life does by itself from its start
//! say TEXT                one datagram (\n stands for a new line)
//! beat every=D for=D      and time passes
//! cpu SHARE | write | quiet   what the tree does besides, from now on
//! pause | resume          SIGSTOP, SIGCONT
//! exit CODE | kill SIGNAL | stubborn
//! link down | link up | hold commands | release commands
//! sidecar sleeps D | collector sleeps D
//! advance D
//! person restart|stop|start|apoptosis|revive
//! ```

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lubdub_collector::config::Policies;
use lubdub_engine::{AgentIndex, Attached, Detached, Effect, Event, Fleet, Identity, Request};
use lubdub_shared::beat::{Exit, ExitHow};
use lubdub_shared::command::{Command, CommandKind};
use lubdub_shared::id::{AgentId, CommandId, InstanceId, ProcessId, SpoolId, StoreId};
use lubdub_shared::policy::Policy;
use lubdub_shared::session::{self, Hello, Welcome};
use lubdub_shared::status::Status;
use lubdub_shared::strict_toml;
use lubdub_shared::time::{Mono, Now, TICK, Wall, words};
use lubdub_sidecar::state::Memory;
use lubdub_sidecar::supervisor::{Action, Event as Told, Local, Supervisor};
use lubdub_sidecar::vitals::TreeSample;
use lubdub_sidecar::vitals::activity::Counters;

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
    policy: Policy,
    toml: String,
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
    paused: bool,
    cpu: f64,
    writes: bool,
    counters: Counters,
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
            labels: std::collections::BTreeMap::new(),
            spool: SpoolId::random(rng),
            last_event: 0,
            report: supervisor.report(now.mono),
            epochs: std::collections::BTreeMap::new(),
            shown: lubdub_shared::beat::Evidence::default(),
            held: None,
        };
        Self {
            now,
            began: now.mono,
            policy: Policy::default(),
            toml: String::new(),
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
            paused: false,
            cpu: 0.0,
            writes: false,
            counters: Counters::default(),
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
            _ => panic!("no such command: {line}"),
        }
    }

    fn set_policy(&mut self, pairs: &str) {
        for pair in pairs.split_whitespace() {
            let (key, value) = pair.split_once('=').expect("KEY=VALUE");
            let number = value.parse::<f64>().is_ok() || value == "true" || value == "false";
            let value = if number { value.to_owned() } else { format!("{value:?}") };
            writeln!(self.toml, "policy.default.{key} = {value}").expect("a string takes it");
        }
        #[derive(serde::Deserialize)]
        struct File {
            policy: lubdub_collector::config::policy::Tables,
        }
        let file: File = strict_toml::parse("transcript", &self.toml).expect("a policy");
        let policies = Policies::new("transcript", file.policy, Vec::new()).expect("a policy");
        self.policy = (*policies.of(&self.hello.agent, &self.hello.labels)).clone();
    }

    fn attach(&mut self) {
        self.session += 1;
        self.hello.report = self.supervisor.report(self.now.mono);
        let (policy, hello) = (Arc::new(self.policy.clone()), self.hello.clone());
        let attached = self.fleet.attach(hello, policy, self.session, self.now, &mut self.effects);
        let Attached::As { agent, pending, .. } = attached else { panic!("refused") };
        (self.agent, self.linked) = (Some(agent), true);
        self.tell(Told::Welcome(
            Box::new(Welcome {
                session: self.session,
                store: self.identity.store,
                epoch: self.identity.epoch,
                interval: INTERVAL,
                policy: self.policy.clone(),
                acked: 0,
                degraded: String::new(),
                pending,
            }),
            "virtual".to_owned(),
        ));
        let spool = std::mem::take(&mut self.spool);
        for event in spool {
            self.feed(Event::Happened(self.hello.spool, Box::new(event)));
        }
    }

    fn detach(&mut self) {
        self.linked = false;
        let agent = self.agent.expect("it was linked");
        let lost = Event::Detached(Detached::Lost);
        self.fleet.handle(agent, lost, self.now, &mut self.effects);
        self.dispatch();
        self.tell(Told::LinkLost);
    }

    fn person(&mut self, kind: &str) {
        let request = Request {
            command: CommandId::random(&mut self.rng),
            kind: CommandKind::from_word(kind).expect("an act"),
            reason: "asked".to_owned(),
            requested_by: "somebody".to_owned(),
            dry_run: false,
            expires: Duration::from_secs(3600),
        };
        self.feed(Event::Asked(request));
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

    fn feed(&mut self, event: Event) {
        if self.linked {
            let agent = self.agent.expect("it is linked");
            self.fleet.handle(agent, event, self.now, &mut self.effects);
            self.dispatch();
        }
    }

    fn ends(&mut self, how: ExitHow) {
        self.alive = false;
        self.tell(Told::MainExited(Exit { how, core: false, by_us: false }));
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
            self.fleet.tick(self.now, &mut self.effects);
            self.dispatch();
        }
    }

    /// Time passes, and one side does not look; the agent lives on and is heard afterwards.
    fn sleep(&mut self, span: Duration, sidecar: bool) {
        if sidecar {
            let end = self.now.mono.after(span);
            while self.now.mono < end {
                self.pass(TICK);
                self.fleet.tick(self.now, &mut self.effects);
                self.dispatch();
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
        let sample =
            TreeSample { counters: self.counters, paused: self.paused, ..TreeSample::default() };
        let mut actions = Vec::new();
        self.supervisor.observe(sample, self.now.mono, &mut actions);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(life) => {
                    self.note(&format!("starts life {}", life.ordinal));
                    self.pids += 1;
                    (self.alive, self.paused, self.life_began) = (true, false, self.now.mono);
                    (self.counters, self.counted) = (Counters::default(), 0);
                    let pid = NonZeroU32::new(self.pids).expect("not 0");
                    self.tell(Told::Started(ProcessId { pid, start_time: 1 }));
                }
                Action::SignalMain(signal) if self.alive && !self.stubborn => {
                    self.note(&format!("signal {signal}"));
                    self.ends(ExitHow::Signal(signal));
                }
                Action::SignalMain(signal) => self.note(&format!("signal {signal}, ignored")),
                Action::SignalTree(_) => self.sweeping = true,
                Action::KillTree => {
                    self.note("kills the tree");
                    self.sweeping = true;
                    if self.alive {
                        self.ends(ExitHow::Signal(9));
                    }
                }
                Action::Emit(life, what) => {
                    if let session::Happening::Note { text } = &what {
                        self.note(text);
                    }
                    self.numbered += 1;
                    let number = self.numbered;
                    let event = session::Event { number, at: self.now.wall, life, what };
                    if self.linked {
                        self.feed(Event::Happened(self.hello.spool, Box::new(event)));
                    } else {
                        self.spool.push(event);
                    }
                }
                Action::Report => {
                    let report = self.supervisor.report(self.now.mono);
                    self.feed(Event::Report(Box::new(report)));
                }
                Action::Tombstone(hold) => {
                    let words = if hold.is_some() { "writes" } else { "takes away" };
                    self.note(&format!("{words} tombstone.json"));
                }
                Action::Persist => {}
                // The virtual disk takes everything at once.
                Action::Intend => self.tell(Told::Intended(Ok(()))),
                Action::End(code) => self.note(&format!("the sidecar ends with {code}")),
            }
        }
    }

    fn dispatch(&mut self) {
        for (_, effect) in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Send(command) => {
                    self.note(&format!("-> {} by {}", command.kind, command.requested_by));
                    if self.holding {
                        self.held.push(*command);
                    } else if self.linked {
                        self.tell(Told::Command(command));
                    }
                }
                Effect::Transition(transition) => {
                    self.note(&transition.to_string());
                }
                Effect::Incident(incident) => {
                    let state = if incident.resolved.is_some() { "resolved" } else { "open" };
                    let level = if incident.level == Status::Unknown {
                        ""
                    } else {
                        incident.level.as_str()
                    };
                    let act = incident.actions.last().filter(|_| incident.resolved.is_none());
                    let act = act.map(|act| format!(", {} {}", act.kind, act.outcome));
                    let act = act.unwrap_or_default();
                    self.note(&format!("incident {} {level} {state}{act}", incident.cause));
                }
                Effect::Remember(_) | Effect::Forget => {}
                Effect::Keep(command, _) => self.note(&format!("waits: {}", command.kind)),
                Effect::Note(text) => self.note(&text),
                Effect::Answered { outcome, detail, .. } => {
                    self.note(&format!("<- {outcome}: {detail}"));
                }
                Effect::WouldHave { kind, .. } => self.note(&format!("would have: {kind}")),
            }
        }
    }

    fn note(&mut self, text: &str) {
        let since = self.now.mono.since(self.began);
        let at = if since < Duration::from_secs(7200) {
            format!("{:.2}s", since.as_secs_f64())
        } else {
            words(since)
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(self.said, "{at} {text}").expect("a string takes it");
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
