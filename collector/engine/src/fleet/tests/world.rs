//! A small fleet under the tests' hands.

use std::sync::Arc;

use std::num::NonZeroU32;

use lubdub_shared::beat::{
    ActivityKind, Ages, Deadline, Exit, ExitHow, Health, LastActivity, Report, Vitals,
};
use lubdub_shared::command::{Command, Ending, Outcome};
use lubdub_shared::id::{InstanceId, Life, LifeId, ProcessId, SpoolId, StoreId};
use lubdub_shared::policy::Policy;
use lubdub_shared::schedule::LedgerView;
use lubdub_shared::session::{self, Happening, Hello};
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::Wall;

use super::super::*;
use crate::{Admitted, AgentInput, Input, Refused};

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn policy() -> VersionedPolicy {
    VersionedPolicy::from(Policy {
        heartbeat_deadline: seconds(3),
        failures_before_critical: NonZeroU32::MIN,
        ..Policy::default()
    })
}

pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) now: Now,
    pub(super) agents: Vec<AgentIndex>,
    pub(super) hellos: Vec<Hello>,
    /// Of every agent.
    pub(super) policy: VersionedPolicy,
    pub(super) numbers: u64,
    pub(super) out: Vec<(AgentIndex, Effect)>,
}

impl World {
    pub(super) fn new(count: u16) -> Self {
        Self::under(count, policy())
    }

    /// So many agents under a policy.
    pub(super) fn under(count: u16, policy: VersionedPolicy) -> Self {
        let rng = &mut fastrand::Rng::with_seed(1);
        let identity = Identity {
            store: StoreId::random(rng),
            epoch: 1,
            interval: seconds(5),
            reports_per_second: 1000,
        };
        let now = Now { mono: Mono(1_000_000_000_000), wall: Wall(0) };
        let mut world = Self {
            fleet: Fleet::new(identity, 1, now.mono),
            now,
            agents: Vec::new(),
            hellos: Vec::new(),
            policy,
            numbers: 0,
            out: Vec::new(),
        };
        for number in 0..count {
            let life = Life { id: LifeId::random(rng), ordinal: NonZeroU32::MIN };
            let hello = Hello {
                agent: format!("a{number}").parse().expect("an id"),
                instance: InstanceId::random(rng),
                version: String::new(),
                host: String::new(),
                labels: BTreeMap::new(),
                spool: SpoolId::random(rng),
                last_event: 0,
                at: None,
                report: report(life, 1, Ages::default(), Lifecycle::Running),
                epochs: BTreeMap::new(),
                shown: lubdub_shared::beat::Evidence::default(),
                held: None,
            };
            world.hellos.push(hello);
            world.attach(usize::from(number));
        }
        world
    }

    pub(super) fn attach(&mut self, number: usize) {
        self.numbers += 1;
        self.hellos[number].report.number = self.numbers;
        let (hello, policy) = (self.hellos[number].clone(), self.policy.clone());
        let Ok(Admitted { agent, .. }) = self.knock(hello, policy) else { return };
        if self.agents.len() == number {
            self.agents.push(agent);
        }
    }

    /// A stream begins; what it is welcomed with.
    pub(super) fn knock(
        &mut self,
        hello: Hello,
        policy: VersionedPolicy,
    ) -> Result<Admitted, Refused> {
        let input = Input::Hello { session: 1, hello: Box::new(hello), policy };
        let admitted = self.fleet.apply(input, self.now, &mut self.out)?;
        Ok(admitted.expect("a Hello is answered"))
    }

    /// Applies what is never refused.
    pub(super) fn apply(&mut self, input: Input) {
        drop(self.fleet.apply(input, self.now, &mut self.out).expect("it is never refused"));
    }

    pub(super) fn handle(&mut self, number: usize, input: AgentInput) -> Vec<Command> {
        self.out.clear();
        self.apply(Input::Agent(self.agents[number], input));
        self.sent()
    }

    pub(super) fn sent(&self) -> Vec<Command> {
        let sends = self.out.iter().filter_map(|(_, effect)| match effect {
            Effect::Send(command) => Some((**command).clone()),
            Effect::Transition(_)
            | Effect::Incident(_)
            | Effect::Remember(_)
            | Effect::Answered { .. }
            | Effect::Defer(..)
            | Effect::Note(_)
            | Effect::Restarted { .. }
            | Effect::Policy(_)
            | Effect::Forget
            | Effect::WouldHave { .. } => None,
        });
        sends.collect()
    }

    pub(super) fn report(&mut self, number: usize, ages: Ages) -> Vec<Command> {
        self.numbers += 1;
        let life = self.hellos[number].report.life.expect("it has one");
        let report = report(life, self.numbers, ages, Lifecycle::Running);
        self.handle(number, AgentInput::Report(Arc::new(report)))
    }

    pub(super) fn happened(&mut self, number: usize, what: Happening) -> Vec<Command> {
        self.numbers += 1;
        let (at, life) = (self.now.wall, self.hellos[number].report.life);
        let event = session::Event { number: self.numbers, at, life, what };
        let spool = self.hellos[number].spool;
        self.handle(number, AgentInput::Event(spool, Box::new(event)))
    }

    pub(super) fn pass(&mut self, span: Duration) -> Vec<Command> {
        self.out.clear();
        let end = self.now.mono.after(span);
        while self.now.mono < end {
            self.now.mono = self.fleet.next_deadline().min(end);
            self.apply(Input::Tick);
        }
        self.sent()
    }
}

pub(super) fn report(life: Life, number: u64, ages: Ages, lifecycle: Lifecycle) -> Report {
    let next_delay = Some(seconds(10));
    Report {
        number,
        life: Some(life),
        lifecycle,
        pid: Some(1),
        ages,
        vitals: Vitals::default(),
        ledger: LedgerView { used: 0, limit: 3, next_delay, spent: String::new() },
        health: Health::default(),
        starts_in: None,
        policy: 0,
    }
}

pub(super) fn silent() -> Ages {
    Ages {
        up: seconds(60),
        beats: 9,
        beat: Some(seconds(3)),
        silence: seconds(3),
        armed: true,
        deadline: Some(Deadline { after: seconds(3), explicit: false }),
        activity: Some(LastActivity { age: seconds(4), kind: ActivityKind::Cpu }),
        quiet: seconds(4),
        ..Ages::default()
    }
}

pub(super) fn outcome(command: &Command, ending: Ending) -> Happening {
    Happening::Outcome(Outcome {
        command: command.id,
        ending,
        detail: String::new(),
        previous: Lifecycle::Running,
        task_cancelled: false,
        survivors: Vec::new(),
        to: None,
        evidence: None,
    })
}

pub(super) fn started() -> Happening {
    Happening::Started { process: ProcessId { pid: NonZeroU32::MIN, start_time: 1 }, used: 0 }
}

pub(super) fn crashed() -> Happening {
    Happening::Exited {
        exit: Exit::of(ExitHow::Code(1)),
        clean: false,
        next: Lifecycle::Restarting,
        survivors: Vec::new(),
        left: Vec::new(),
    }
}
