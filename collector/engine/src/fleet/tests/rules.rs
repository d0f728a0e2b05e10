//! Any sequence of inputs, and the rules that are never broken (DESIGN §3), as far as an engine can
//! break them.

use std::sync::Arc;

use lubdub_shared::beat::{Ages, Report};
use lubdub_shared::cause::{Cause, Weight};
use lubdub_shared::command::{Command, CommandKind, Ending, Precondition, Requester};
use lubdub_shared::id::{CommandId, InstanceId, Life, LifeId, SpoolId};
use lubdub_shared::policy::{Act, Mode, Policy};
use lubdub_shared::session::{Event, GoodbyeReason, Happening, Hold};
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::Wall;
use proptest::prelude::*;

use super::super::request::ASKED_MAX;
use super::super::*;
use super::random::ages;
use super::world::{World, crashed, outcome, policy, report, seconds, started};
use crate::{ActRequest, Detached, StoredAgent};

/// An input in the making: what it needs of the fleet is found when its turn comes.
#[derive(Debug, Clone)]
enum Any {
    Hello {
        session: u64,
        another: bool,
        behind: bool,
        foreign: bool,
    },
    Report(Box<Ages>, Lifecycle),
    Started,
    Crashed,
    Held,
    /// The newest command of the agent ends.
    Ended(Ending),
    Lost,
    Goodbye(GoodbyeReason),
    Asked(CommandKind, bool),
    Policy(Mode),
    Forgotten,
    Restored,
    Authority(bool),
    Epoch(u64),
    Released,
    /// Time passes, with ticks or without.
    Pass(u64, bool),
}

fn inputs() -> impl Strategy<Value = Vec<(usize, Any)>> {
    let lifecycles = vec![Lifecycle::Running, Lifecycle::Running, Lifecycle::Stopping];
    let endings = vec![Ending::Done, Ending::Expired, Ending::Failed];
    let reasons = vec![GoodbyeReason::Shutdown, GoodbyeReason::AgentEnded];
    let kinds = vec![
        CommandKind::Restart,
        CommandKind::Stop,
        CommandKind::Start,
        CommandKind::Apoptosis,
        CommandKind::Nudge,
    ];
    let modes = vec![Mode::Enforce, Mode::Enforce, Mode::Shadow, Mode::Observe];
    let rarely = || proptest::bool::weighted(0.1);
    let any = prop_oneof![
        4 => (0_u64..9, rarely(), rarely(), rarely()).prop_map(
            |(session, another, behind, foreign)| Any::Hello { session, another, behind, foreign }
        ),
        9 => (ages(), prop::sample::select(lifecycles))
            .prop_map(|(ages, lifecycle)| Any::Report(Box::new(ages), lifecycle)),
        2 => Just(Any::Started),
        1 => Just(Any::Crashed),
        1 => Just(Any::Held),
        3 => prop::sample::select(endings).prop_map(Any::Ended),
        1 => Just(Any::Lost),
        1 => prop::sample::select(reasons).prop_map(Any::Goodbye),
        2 => (prop::sample::select(kinds), any::<bool>())
            .prop_map(|(kind, dry)| Any::Asked(kind, dry)),
        1 => prop::sample::select(modes).prop_map(Any::Policy),
        1 => Just(Any::Forgotten),
        1 => Just(Any::Restored),
        1 => rarely().prop_map(Any::Authority),
        1 => (0_u64..9).prop_map(Any::Epoch),
        1 => Just(Any::Released),
        4 => (0_u64..900, any::<bool>()).prop_map(|(span, ticks)| Any::Pass(span, ticks)),
    ];
    prop::collection::vec((0_usize..3, any), 1..80)
}

/// A fleet, and what is known of it from outside.
struct Story {
    world: World,
    forgotten: Vec<AgentIndex>,
    commands: Vec<(usize, Command)>,
    withheld: bool,
}

impl Story {
    fn new() -> Self {
        let (forgotten, commands) = (Vec::new(), Vec::new());
        Self { world: World::new(3), forgotten, commands, withheld: false }
    }

    fn index(&self, number: usize) -> Option<AgentIndex> {
        self.world.fleet.find(&self.world.hellos[number].agent)
    }

    /// The input, if the fleet is such that it may come; and the report in it.
    fn input(&mut self, number: usize, any: Any) -> Option<(Input, Option<Report>)> {
        self.world.numbers += 1;
        let numbers = self.world.numbers;
        Some(match any {
            Any::Hello { session, another, behind, foreign } => {
                let mut hello = self.world.hellos[number].clone();
                hello.report.number = numbers;
                if another {
                    hello.instance = InstanceId::random(&mut fastrand::Rng::with_seed(numbers));
                }
                if behind {
                    hello.epochs.insert(self.world.fleet.around.identity.store, 99);
                }
                if foreign {
                    hello.spool = SpoolId::random(&mut fastrand::Rng::with_seed(77));
                }
                let report = hello.report.clone();
                (Input::Hello { session, hello: Box::new(hello), policy: policy() }, Some(report))
            }
            Any::Report(ages, lifecycle) => {
                let life = self.world.hellos[number].report.life.expect("it has one");
                let report = report(life, numbers, *ages, lifecycle);
                let input = AgentInput::Report(Arc::new(report.clone()));
                (Input::Agent(self.index(number)?, input), Some(report))
            }
            Any::Restored => {
                let mut record = self.world.fleet.agent(self.index(number)?).record();
                record.id = format!("stored-{numbers}").parse().expect("an id");
                record.applied.clear();
                let (incidents, unanswered) = (Vec::new(), Vec::new());
                let stored = StoredAgent { record, policy: policy(), incidents, unanswered };
                (Input::Restored(Box::new(stored)), None)
            }
            Any::Authority(withheld) => {
                self.withheld = withheld;
                let why = withheld.then(|| "the store is behind".to_owned());
                (Input::Authority(why), None)
            }
            Any::Epoch(epoch) => (Input::Epoch(epoch), None),
            Any::Released => (Input::Released(self.forgotten.pop()?), None),
            Any::Pass(span, _) => {
                self.world.now.mono = self.world.now.mono.after(seconds(span));
                (Input::Tick, None)
            }
            any @ (Any::Started
            | Any::Crashed
            | Any::Held
            | Any::Ended(_)
            | Any::Lost
            | Any::Goodbye(_)
            | Any::Asked(..)
            | Any::Policy(_)
            | Any::Forgotten) => {
                (Input::Agent(self.index(number)?, self.of_agent(number, any)?), None)
            }
        })
    }

    fn of_agent(&mut self, number: usize, any: Any) -> Option<AgentInput> {
        Some(match any {
            Any::Started => {
                let life = self.world.hellos[number].report.life.expect("it has one");
                let id = LifeId::random(&mut fastrand::Rng::with_seed(self.world.numbers));
                let ordinal = life.ordinal.checked_add(1).expect("few lives");
                self.world.hellos[number].report.life = Some(Life { id, ordinal });
                self.fact(number, started())
            }
            Any::Crashed => self.fact(number, crashed()),
            Any::Held => {
                let hold = Hold {
                    lifecycle: Lifecycle::Quarantined,
                    reason: "r".to_owned(),
                    requested_by: "schedule".to_owned(),
                    crash_loop: true,
                };
                self.fact(number, Happening::Held(hold))
            }
            Any::Ended(ending) => {
                let at = self.commands.iter().position(|(agent, _)| *agent == number)?;
                let command = self.commands.remove(at).1;
                self.fact(number, outcome(&command, ending))
            }
            Any::Goodbye(reason) => {
                let back_within = Some(seconds(30));
                AgentInput::Detached(Detached::Goodbye { reason, back_within })
            }
            Any::Asked(kind, dry_run) => AgentInput::Asked(ActRequest {
                command: CommandId::random(&mut fastrand::Rng::with_seed(self.world.numbers)),
                kind,
                reason: "r".to_owned(),
                requested_by: "p".to_owned(),
                dry_run,
                expires: seconds(600),
            }),
            Any::Policy(mode) => AgentInput::Policy(Policy { mode, ..(*policy()).clone() }.into()),
            Any::Forgotten => AgentInput::Forgotten,
            Any::Lost
            | Any::Hello { .. }
            | Any::Report(..)
            | Any::Restored
            | Any::Authority(_)
            | Any::Epoch(_)
            | Any::Released
            | Any::Pass(..) => AgentInput::Detached(Detached::Lost),
        })
    }

    fn fact(&self, number: usize, what: Happening) -> AgentInput {
        let (world, hello) = (&self.world, &self.world.hellos[number]);
        let event = Event { number: world.numbers, at: Wall(0), life: hello.report.life, what };
        AgentInput::Event(hello.spool, Box::new(event))
    }
}

/// What may be sent, on what it rests, and what is written of it.
fn check_act(
    story: &Story,
    (command, index): (&Command, AgentIndex),
    report: Option<&Report>,
) -> Result<(), TestCaseError> {
    let Requester::Engine(cause) = command.requested_by else { return Ok(()) };
    let (world, agent) = (&story.world, story.world.fleet.agent(index));
    let report = report.expect("1: no act without a report that has just come");
    prop_assert!(
        !story.withheld && world.fleet.surroundings().degraded(world.now.mono).is_none(),
        "3"
    );
    prop_assert_eq!(agent.policy.mode, Mode::Enforce);
    prop_assert_eq!(command.life, report.life.map(|life| life.id), "2");
    prop_assert_eq!(command.report, report.number, "2");
    prop_assert!(command.precondition.check(&report.ages).is_ok(), "2: {:?}", command);
    if command.kind.is_gentle() {
        return Ok(());
    }
    prop_assert!(command.precondition != Precondition::LifeOnly, "2: {:?}", command);
    prop_assert!(!matches!(cause, Cause::Unreachable | Cause::Missing), "1");
    let by_clock = matches!(
        cause,
        Cause::Silent | Cause::BusySilent | Cause::NoProgress | Cause::NeverSeen | Cause::Inactive
    );
    prop_assert!(!by_clock || !report.ages.stands_still(), "7: {:?}", command);
    prop_assert!(matches!(cause.row().weight, Weight::Fact | Weight::Frozen), "8: {}", cause);
    let written = world.out.iter().any(|(whose, effect)| {
        let Effect::Incident(incident) = effect else { return false };
        *whose == index && incident.actions.iter().any(|act| act.command == command.id)
    });
    prop_assert!(written, "9: an act without a record: {:?}", command);
    Ok(())
}

fn check_agent(agent: &Agent, warming: bool, before: &[Cause]) -> Result<(), TestCaseError> {
    let findings = &agent.seen.findings;
    let worst = findings.iter().map(|s| s.finding.level.severity()).max();
    prop_assert!(worst.is_none_or(|worst| worst == agent.seen.status.severity()));
    let told = |cause| agent.policy.act(cause) > Act::None;
    let open = agent.incidents.iter().any(|incident| incident.resolved.is_none());
    let critical =
        findings.iter().any(|s| s.finding.level == Status::Critical && told(s.finding.cause));
    prop_assert!(!critical || open, "9: Critical, and nobody is told");
    let absent = |cause| matches!(cause, Cause::Unreachable | Cause::Missing | Cause::Duplicate);
    for cause in findings.iter().map(|s| s.finding.cause).filter(|_| warming) {
        let stood = before.iter().any(|before| absent(*before));
        prop_assert!(!absent(cause) || stood, "3: {} while warming up", cause);
    }
    prop_assert!(agent.asks.sent.len() <= ASKED_MAX + 2 && agent.incidents.len() <= 64, "10");
    prop_assert!(agent.link.applied.len() <= 8 && findings.len() <= Cause::ALL.len(), "10");
    prop_assert!(agent.incidents.iter().all(|incident| incident.actions.len() <= 64), "10");
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_inputs_breaks_a_rule(inputs in inputs()) {
        let mut story = Story::new();
        for (number, any) in inputs {
            if let Any::Pass(span, true) = any {
                story.world.pass(seconds(span));
            }
            let Some((input, report)) = story.input(number, any) else { continue };
            let world = &mut story.world;
            let known = world.fleet.ids_after(None).map(|(_, index)| index).collect::<Vec<_>>();
            let causes = |agent: &Agent| -> Vec<Cause> {
                agent.seen.findings.iter().map(|s| s.finding.cause).collect()
            };
            let before: BTreeMap<_, _> =
                known.iter().map(|index| (*index, causes(world.fleet.agent(*index)))).collect();
            world.out.clear();
            let forgets = matches!(input, Input::Agent(_, AgentInput::Forgotten));
            let mut index = None;
            if let Input::Agent(whose, _) = &input {
                index = Some(*whose);
            }
            let applied = world.fleet.apply(input, world.now, &mut world.out);
            if let (true, Some(index), Ok(_)) = (forgets, index, applied) {
                story.forgotten.push(index);
                continue;
            }
            let sends = story.world.out.iter().filter_map(|(whose, effect)| {
                let Effect::Send(command) = effect else { return None };
                Some((*whose, (**command).clone()))
            });
            let sent: Vec<(AgentIndex, Command)> = sends.collect();
            for (whose, command) in sent {
                check_act(&story, (&command, whose), report.as_ref())?;
                story.commands.push((number, command));
            }
            let fleet = &story.world.fleet;
            let degraded = fleet.surroundings().degraded(story.world.now.mono);
            let warming = degraded.is_some() && !story.withheld;
            for (_, index) in fleet.ids_after(None) {
                let before = before.get(&index).map(Vec::as_slice).unwrap_or_default();
                check_agent(fleet.agent(index), warming, before)?;
            }
        }
    }
}
