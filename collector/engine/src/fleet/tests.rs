//! Stories told by hand; beside them what holds whatever happens.

use std::sync::Arc;

use lubdub_shared::beat::{Ages, Deadline, Progress};
use lubdub_shared::command::{Command, CommandKind, Ending};
use lubdub_shared::id::{CommandId, InstanceId, SpoolId};
use lubdub_shared::incident::{ActionOutcome, Cause, Incident};
use lubdub_shared::policy::{ExpectBeats, Policy};
use lubdub_shared::session::{self, Happening, Hold};
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::trend::GapStats;

use lubdub_shared::view::{Next, Rung};

use super::*;
use crate::agent::Unanswered;
use crate::{ActRequest, AgentInput, Detached, Input, Refused, StoredAgent};

mod agree;
mod random;
mod rules;
mod world;

use world::{World, outcome, policy, report, seconds, silent};

#[test]
fn one_automatic_act_at_a_time() {
    let mut world = World::new(2);
    let first = world.report(0, silent());
    assert_eq!(first.len(), 1);
    assert_eq!(world.report(1, silent()), [], "another act is under way");
    assert_eq!(world.report(0, silent()), [], "it was asked already");
    let refused = Ending::Refused(lubdub_shared::command::Refusal::PreconditionFailed);
    world.happened(0, outcome(&first[0], refused));
    assert_eq!(world.report(1, silent()).len(), 1, "its turn");
}

#[test]
fn an_act_that_nobody_answers_does_not_block_the_others_for_ever() {
    let mut world = World::new(2);
    assert_eq!(world.report(0, silent()).len(), 1);
    let late = world.pass(seconds(120));
    assert_eq!(late, [], "time alone sends nothing");
    assert_eq!(world.report(1, silent()).len(), 1);
}

#[test]
fn a_second_instance_is_refused_while_the_first_is_heard() {
    let mut world = World::new(1);
    let mut other = world.hellos[0].clone();
    other.instance = InstanceId::random(&mut fastrand::Rng::with_seed(99));
    let attach = |world: &mut World| world.knock(other.clone(), policy()).map(|_| ());
    assert_eq!(attach(&mut world), Err(Refused::OtherInstance));
    world.pass(seconds(16));
    assert_eq!(attach(&mut world), Ok(()), "the first is not heard any more");
}

#[test]
fn events_are_applied_once() {
    let mut world = World::new(1);
    let held = Happening::Held(Hold {
        lifecycle: Lifecycle::Quarantined,
        reason: "r".to_owned(),
        requested_by: "schedule".to_owned(),
        crash_loop: true,
    });
    let life = world.hellos[0].report.life;
    let event = session::Event { number: 1, at: world.now.wall, life, what: held };
    let spools = [world.hellos[0].spool, SpoolId::random(&mut fastrand::Rng::with_seed(8))];
    for spool in spools {
        world.handle(0, AgentInput::Event(spool, Box::new(event.clone())));
        assert!(!world.out.is_empty(), "the first of its spool");
    }
    for spool in spools {
        world.handle(0, AgentInput::Event(spool, Box::new(event.clone())));
        assert_eq!(world.out, [], "also after another spool was heard");
    }
}

fn request(kind: CommandKind) -> ActRequest {
    ActRequest {
        command: CommandId::random(&mut fastrand::Rng::with_seed(kind as u64)),
        kind,
        reason: "r".to_owned(),
        requested_by: "p".to_owned(),
        dry_run: false,
        expires: seconds(600),
    }
}

/// How the commands of the last step ended.
fn answers(world: &World) -> Vec<(CommandId, ActionOutcome)> {
    let answered = |(_, effect): &(AgentIndex, Effect)| {
        let Effect::Answered { command, outcome, .. } = effect else { return None };
        Some((*command, *outcome))
    };
    world.out.iter().filter_map(answered).collect()
}

fn attach_again(world: &mut World) -> Vec<Command> {
    world.numbers += 1;
    world.hellos[0].report.number = world.numbers;
    world.out.clear();
    let hello = world.hellos[0].clone();
    world.knock(hello, policy()).expect("admitted").pending
}

#[test]
fn a_stop_waits_for_an_absent_sidecar_and_a_restart_does_not() {
    let mut world = World::new(1);
    world.handle(0, AgentInput::Detached(Detached::Lost));
    world.handle(0, AgentInput::Asked(request(CommandKind::Restart)));
    let restart = request(CommandKind::Restart).command;
    assert_eq!(answers(&world), [(restart, ActionOutcome::Refused)]);
    world.handle(0, AgentInput::Asked(request(CommandKind::Stop)));
    assert!(world.out.iter().any(|(_, effect)| matches!(effect, Effect::Defer(..))));
    world.pass(seconds(300));
    world.apply(Input::Epoch(7));
    let pending = attach_again(&mut world);
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].epoch, pending[0].report), (7, world.numbers), "fresh again");
    assert_eq!(attach_again(&mut world).len(), 1, "nobody answered: it is asked again");
    world.happened(0, outcome(&pending[0], Ending::Done));
    assert_eq!(attach_again(&mut world), []);
}

#[test]
fn what_waits_too_long_expires() {
    let mut world = World::new(1);
    world.handle(0, AgentInput::Detached(Detached::Lost));
    world.handle(0, AgentInput::Asked(request(CommandKind::Start)));
    world.pass(seconds(601));
    let start = request(CommandKind::Start).command;
    assert_eq!(answers(&world), [(start, ActionOutcome::Expired)]);
    assert_eq!(attach_again(&mut world), []);
}

#[test]
fn two_instances_are_a_duplicate_that_nobody_acts_on() {
    let mut world = World::new(1);
    let mut other = world.hellos[0].clone();
    other.instance = InstanceId::random(&mut fastrand::Rng::with_seed(99));
    for knock in 0..6 {
        let ages = Ages { up: seconds(knock), ..Ages::default() };
        world.report(0, ages);
        let refused = world.knock(other.clone(), policy()).map(|_| ());
        assert_eq!(refused, Err(Refused::OtherInstance));
        world.pass(seconds(3));
    }
    let causes = |world: &World| -> Vec<Cause> {
        let agent = world.fleet.agent(world.agents[0]);
        agent.seen.findings.iter().map(|s| s.finding.cause).collect()
    };
    assert_eq!(causes(&world), [Cause::Duplicate]);
    assert_eq!(world.report(0, silent()), [], "a hang is found, and nobody acts");
    assert!(causes(&world).contains(&Cause::Silent));
    for _ in 0..30 {
        world.pass(seconds(3));
        world.report(0, Ages::default());
    }
    assert_eq!(causes(&world), [], "the other one is gone");
}

#[test]
fn a_collector_that_is_killed_goes_on_where_it_was() {
    let mut world = World::new(1);
    let sent = world.report(0, silent());
    let agent = world.fleet.agent(world.agents[0]);
    let (record, incidents) = (agent.record(), (*agent.incidents).clone());
    assert!(record.treating.is_some() && incidents.len() == 1);
    let unanswered =
        vec![Unanswered { command: sent[0].clone(), decided: world.now.wall, expires: None }];
    let identity = Identity { epoch: 2, ..world.fleet.around.identity };
    world.fleet = Fleet::new(identity, 2, world.now.mono);
    world.out.clear();
    let stored = StoredAgent { record, policy: policy(), incidents, unanswered };
    world.apply(Input::Restored(Box::new(stored)));
    assert_eq!(attach_again(&mut world), [], "an automatic act is not sent again");
    assert_eq!(world.report(0, silent()), [], "it is still waited for");
    let agent = world.fleet.agent(world.agents[0]);
    assert_eq!(agent.incidents.len(), 1, "the same trouble is the same incident");
    world.happened(0, outcome(&sent[0], Ending::Done));
    assert_eq!(answers(&world), [(sent[0].id, ActionOutcome::Done)]);
    let acts = |incident: &Incident| incident.actions.iter().map(|a| a.outcome).collect::<Vec<_>>();
    let agent = world.fleet.agent(world.agents[0]);
    assert_eq!(acts(&agent.incidents[0]), [ActionOutcome::Done]);
}

#[test]
fn an_agent_is_forgotten_once_its_sidecar_is_gone_and_its_place_is_given_again() {
    let mut world = World::new(1);
    let index = world.agents[0];
    let forget = |world: &mut World| {
        let input = Input::Agent(index, AgentInput::Forgotten);
        world.out.clear();
        world.fleet.apply(input, world.now, &mut world.out).map(|_| ())
    };
    assert_eq!(forget(&mut world), Err(Refused::StillConnected));
    world.handle(0, AgentInput::Detached(Detached::Lost));
    world.pass(seconds(120));
    assert_eq!(forget(&mut world), Ok(()));
    let resolved = world.out.iter().all(|(_, effect)| {
        let Effect::Incident(incident) = effect else { return true };
        incident.resolved.is_some()
    });
    assert!(resolved && world.out.len() == 2, "{:?}", world.out);
    assert!(world.fleet.is_empty());
    world.out.clear();
    world.apply(Input::Released(index));
    world.pass(seconds(1200));
    assert_eq!(world.out, [], "nobody misses it");
    world.hellos[0].agent = "another".parse().expect("an id");
    assert_eq!(attach_again(&mut world), []);
    assert_eq!(world.fleet.agent(index).who.id.as_str(), "another");
}

#[test]
fn a_store_from_a_backup_is_told_so() {
    let mut world = World::new(1);
    let mut hello = world.hellos[0].clone();
    hello.epochs.insert(world.fleet.around.identity.store, 9);
    let attach = |world: &mut World| world.knock(hello.clone(), policy()).map(|_| ());
    assert_eq!(attach(&mut world), Err(Refused::Behind { seen: 9 }));
    world.apply(Input::Epoch(10));
    assert_eq!(attach(&mut world), Ok(()));
}

#[test]
fn a_large_fleet_reports_less_often() {
    let mut world = World::new(3);
    world.fleet.around.identity.reports_per_second = 2;
    assert_eq!(world.fleet.around.interval(), seconds(5));
    world.fleet.around.identity.reports_per_second = 1;
    world.fleet.around.identity.interval = seconds(1);
    assert_eq!(world.fleet.around.interval(), seconds(3));
}

#[test]
fn an_agent_that_must_not_beat_is_never_silent() {
    let mut world = World::new(1);
    let quiet = Policy { expect_beats: ExpectBeats::Never, ..(*policy()).clone() };
    let hello = world.hellos[0].clone();
    drop(world.knock(hello, quiet.into()).expect("admitted"));
    let ages = Ages { armed: false, ..silent() };
    assert_eq!(world.report(0, ages), []);
}

#[test]
fn what_another_setting_would_have_said_is_told_with_its_place() {
    let mut world = World::new(1);
    let life = world.hellos[0].report.life.expect("a life");
    let report = report(life, 9, silent(), Lifecycle::Running);
    world.handle(0, AgentInput::Report(Arc::new(report)));
    let agent = world.fleet.agent(world.agents[0]);
    let configured = crate::explain::configured(agent);
    let deadline = configured.get("policy.default.heartbeat_deadline").map(ToString::to_string);
    assert_eq!(deadline.as_deref(), Some("3.0 s"), "{configured:?}");
    let what_if = crate::explain::what_if(agent);
    let says = |key: &str, value: &str| {
        let found = what_if.iter().find(|w| w.key == key && w.value == value);
        found.map(|w| w.says.as_str())
    };
    assert_eq!(says("heartbeat_deadline", "6.0 s"), Some("ok"), "{what_if:?}");
    assert_eq!(says("failures_before_critical", "2"), Some("warning silent"), "{what_if:?}");
    assert_eq!(says("busy_cap", "30.0 min"), None, "it changes nothing: {what_if:?}");
}

#[test]
fn a_shorter_deadline_is_suggested_and_never_applied() {
    let mut world = World::new(1);
    let beat_gaps = GapStats { count: 5000, longest: seconds(4), p999: seconds(3) };
    let deadline = Some(Deadline { after: seconds(180), explicit: false });
    let well = Ages { beats: 5000, armed: true, deadline, beat_gaps, ..Ages::default() };
    world.report(0, well.clone());
    let suggested = crate::explain::shorter(world.fleet.agent(world.agents[0]));
    let expected = "of 5000 gaps of beat the longest was 4.0 s: 12.0 s would do where 3.0 min is \
                    in force";
    assert_eq!(suggested.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    let few = GapStats { count: 999, ..beat_gaps };
    world.report(0, Ages { beat_gaps: few, silence: seconds(170), ..well });
    let agent = world.fleet.agent(world.agents[0]);
    assert_eq!(crate::explain::shorter(agent), []);
    assert_eq!(agent.seen.status, Status::Ok, "a learned gap makes nobody late");
}

/// Nobody who beats is said to be restarted for silence, whatever else is wrong.
#[test]
fn a_warning_foretells_what_comes_of_it_and_nothing_else() {
    let mut world = World::new(1);
    let life = world.hellos[0].report.life.expect("a life");
    let next = |world: &mut World, ages: Ages, energy| {
        let mut report = report(life, 9, ages, Lifecycle::Running);
        report.vitals.energy = Some(energy);
        world.handle(0, AgentInput::Report(Arc::new(report)));
        let agent = world.fleet.agent(world.agents[0]);
        assert_eq!(agent.seen.status, Status::Warning);
        crate::explain::next_rung(agent, world.fleet.surroundings(), world.now)
    };
    let now = seconds(0);
    let well = Ages { beat: Some(now), silence: now, quiet: now, ..silent() };
    assert_eq!(next(&mut world, well.clone(), 0.1), None);
    let progress = Progress { frozen: Some(seconds(700)), owed: true, ..Progress::default() };
    let stuck = Ages { progress, quiet: seconds(700), ..well };
    let restart = Next::due(Rung::Restart, seconds(500));
    assert_eq!(next(&mut world, stuck, 0.9), Some(restart), "at twice the window of 600 s");
}

/// Whoever comes in while all links are lost at once waits for a few verdicts, not for all.
#[test]
fn a_tick_looks_at_so_many_and_leaves_the_rest_due() {
    let count = LOOKS_MAX + 40;
    let mut world = World::new(u16::try_from(count).expect("so few"));
    for number in 0..count {
        world.handle(number, AgentInput::Detached(Detached::Lost));
    }
    let due = world.fleet.agent(world.agents[0]).unreachable_at().expect("the link is lost");
    world.pass(due.since(world.now.mono).saturating_sub(Duration::from_millis(1)));
    world.now.mono = due;
    let told = |world: &World| {
        let found = |(_, effect): &&(AgentIndex, Effect)| matches!(effect, Effect::Incident(_));
        world.out.iter().filter(found).count()
    };
    world.out.clear();
    world.apply(Input::Tick);
    assert_eq!(told(&world), LOOKS_MAX);
    assert!(world.fleet.next_deadline() <= world.now.mono, "the rest is due");
    world.apply(Input::Tick);
    assert_eq!(told(&world), count, "and comes next");
    assert!(world.fleet.next_deadline() > world.now.mono);
}
