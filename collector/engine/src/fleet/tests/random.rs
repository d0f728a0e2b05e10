//! What holds whatever happens: random lives of three agents.

use std::sync::Arc;

use lubdub_shared::beat::{ActivityKind, Ages, Deadline, FailedCheck, LastActivity, Progress};
use lubdub_shared::command::{AUTOMATIC_TTL, Command, Ending, Requester};
use lubdub_shared::status::{Lifecycle, Status};
use proptest::prelude::*;

use super::super::*;
use super::world::{World, outcome, report, seconds};
use crate::{AgentInput, Detached};

/// One thing that may happen to one of three agents.
#[derive(Debug, Clone)]
enum Step {
    Report(Box<Ages>),
    /// The sidecar of the newest act shows that it has taken it.
    Heard,
    Lost,
    Attach,
    Pass(u64),
    Answer(bool),
}

pub(super) fn ages() -> impl Strategy<Value = Ages> {
    let small = prop::sample::select(vec![0_u64, 1, 3, 4, 31, 601, 1300, 2000, 4000]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (small.clone(), small.clone(), small, 0_u64..5, flags).prop_map(
        |(silence, inactive, frozen, beats, (armed, owed, paused, failed))| Ages {
            up: seconds(9000),
            beats,
            beat: Some(seconds(silence)),
            silence: seconds(silence),
            armed,
            deadline: Some(Deadline { after: seconds(3), explicit: false }),
            activity: Some(LastActivity { age: seconds(inactive), kind: ActivityKind::Cpu }),
            quiet: seconds(inactive),
            progress: Progress {
                counter: 7,
                frozen: Some(seconds(frozen)),
                owed,
                ..Progress::default()
            },
            paused: paused.then(|| seconds(silence)),
            failed: if failed { vec![failed_check()] } else { Vec::new() },
            ..Ages::default()
        },
    )
}

fn failed_check() -> FailedCheck {
    FailedCheck { name: "self".to_owned(), count: 1, trigger: true, message: String::new() }
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        5 => ages().prop_map(|ages| Step::Report(Box::new(ages))),
        1 => Just(Step::Heard),
        1 => Just(Step::Lost),
        1 => Just(Step::Attach),
        2 => (0_u64..900).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(Step::Answer),
    ];
    prop::collection::vec((0_usize..3, step), 1..60)
}

/// An act that was sent and not answered.
struct UnderWay {
    agent: usize,
    command: Command,
    sent: Mono,
    heard: bool,
}

proptest! {
    #[test]
    fn no_act_but_on_a_fresh_report_that_bears_it_out_and_one_at_a_time(steps in steps()) {
        let mut world = World::new(3);
        let mut under_way: Vec<UnderWay> = Vec::new();
        for (number, step) in steps {
            let (sent, ages) = match step {
                Step::Report(ages) => (world.report(number, (*ages).clone()), Some(ages)),
                Step::Heard => {
                    let Some(last) = under_way.last_mut() else { continue };
                    last.heard = true;
                    let number = last.agent;
                    world.numbers += 1;
                    let life = world.hellos[number].report.life.expect("it has one");
                    let ages = Ages::default();
                    let report = report(life, world.numbers, ages, Lifecycle::Stopping);
                    (world.handle(number, AgentInput::Report(Arc::new(report))), None)
                }
                Step::Lost => (world.handle(number, AgentInput::Detached(Detached::Lost)), None),
                Step::Attach => {
                    // Hello brings a report of its own.
                    world.out.clear();
                    world.attach(number);
                    (world.sent(), Some(Box::default()))
                }
                Step::Pass(span) => (world.pass(seconds(span)), None),
                Step::Answer(done) => {
                    let ending = if done { Ending::Done } else { Ending::Expired };
                    let sent = match under_way.pop() {
                        Some(UnderWay { agent, command, .. }) => {
                            world.happened(agent, outcome(&command, ending))
                        }
                        None => Vec::new(),
                    };
                    (sent, None)
                }
            };
            for command in sent {
                prop_assert!(matches!(command.requested_by, Requester::Engine(_)));
                let ages = ages.as_ref().expect("only a report leads to an act");
                prop_assert!(command.precondition.check(ages).is_ok(), "{:?}", command);
                // Who has not heard holds the others up for a moment, and no more than a few may
                // be asked that may still act; who has heard holds them up to the end.
                let now = world.now.mono;
                under_way.retain(|act| now.since(act.sent) < AUTOMATIC_TTL);
                prop_assert!(under_way.len() < 5, "too many at a time");
                let moment = Duration::from_millis(1500);
                prop_assert!(under_way.iter().all(|act| !act.heard
                    && now.since(act.sent) >= moment));
                prop_assert_eq!(command.report, world.numbers, "it rests on the newest report");
                under_way.push(UnderWay { agent: number, command, sent: now, heard: false });
            }
            for index in &world.agents {
                let agent = world.fleet.agent(*index);
                let worst = agent.seen.findings.iter().map(|s| s.finding.level.severity()).max();
                let open = agent.incidents.iter().filter(|i| i.resolved.is_none()).count();
                prop_assert!(worst.is_none_or(|worst| worst == agent.seen.status.severity()));
                prop_assert!(agent.seen.status != Status::Critical || open > 0,
                    "a critical agent without an incident");
            }
        }
    }
}
