//! What is foretold happens, and nothing else does: a person who reads `explain` may rely on it.

use std::sync::Arc;

use lubdub_shared::beat::Ages;
use lubdub_shared::command::{Command, Ending};
use lubdub_shared::id::{Life, LifeId};
use lubdub_shared::incident::Cause;
use lubdub_shared::policy::{Act, ExpectBeats, Mode, Policy};
use lubdub_shared::status::Status;
use lubdub_shared::view::{Next, Rung};
use proptest::prelude::*;

use super::super::*;
use super::random::ages;
use super::world::{World, crashed, outcome, policy, seconds, started};
use crate::explain::next::{act_of, next_rung};
use crate::{AgentInput, Detached, Input};

/// Between reports; what is foretold may come that much later. All moments here are whole seconds,
/// so that samples of the status fall on reports.
const EVERY: Duration = Duration::from_secs(1);
/// Random fleets that are asked.
const CASES: u32 = 300;
/// For how long nothing may come that is not foretold.
const HORIZON: Duration = Duration::from_secs(3000);

/// One thing that may happen to one of three agents before somebody asks.
#[derive(Debug, Clone)]
enum Step {
    Report(Box<Ages>),
    Lost,
    Attach,
    Pass(u64),
    /// The newest act ends.
    Answer(bool),
    Crash,
    Start,
    Withhold(bool),
    /// The collector slept.
    Away,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        6 => ages().prop_map(|ages| Step::Report(Box::new(ages))),
        1 => Just(Step::Lost),
        2 => Just(Step::Attach),
        3 => (0_u64..200).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(Step::Answer),
        1 => Just(Step::Crash),
        2 => Just(Step::Start),
        1 => proptest::bool::weighted(0.3).prop_map(Step::Withhold),
        1 => Just(Step::Away),
    ];
    prop::collection::vec((0_usize..3, step), 1..40)
}

fn policies() -> impl Strategy<Value = VersionedPolicy> {
    let modes =
        prop::sample::select(vec![Mode::Enforce, Mode::Enforce, Mode::Shadow, Mode::Observe]);
    let nudged = prop::sample::select(vec![
        None,
        Some(Cause::Silent),
        Some(Cause::NoProgress),
        Some(Cause::BusySilent),
    ]);
    let acted = prop::sample::select(vec![
        None,
        Some(Cause::Paused),
        Some(Cause::BusySilent),
        Some(Cause::Inactive),
    ]);
    (modes, nudged, acted, 1_u32..4, any::<bool>()).prop_map(|(mode, nudged, acted, n, expects)| {
        let mut policy = Policy { mode, ..(*policy()).clone() };
        policy.failures_before_critical = n.try_into().expect("not zero");
        policy.act.extend(nudged.map(|cause| (cause, Act::Nudge)));
        policy.act.extend(acted.map(|cause| (cause, Act::Restart)));
        if expects {
            policy.expect_beats = ExpectBeats::Always;
        }
        VersionedPolicy::from(policy)
    })
}

fn apply(world: &mut World, number: usize, step: Step, sent: &mut Vec<(usize, Command)>) {
    let new = match step {
        Step::Report(ages) => world.report(number, *ages),
        Step::Lost => world.handle(number, AgentInput::Detached(Detached::Lost)),
        Step::Attach => {
            world.out.clear();
            world.attach(number);
            world.sent()
        }
        Step::Pass(span) => world.pass(seconds(span)),
        Step::Answer(done) => {
            let ending = if done { Ending::Done } else { Ending::Expired };
            match sent.pop() {
                Some((agent, command)) => world.happened(agent, outcome(&command, ending)),
                None => Vec::new(),
            }
        }
        Step::Crash => world.happened(number, crashed()),
        Step::Start => {
            let life = world.hellos[number].report.life.expect("it has one");
            let id = LifeId::random(&mut fastrand::Rng::with_seed(world.numbers));
            let ordinal = life.ordinal.checked_add(1).expect("few lives");
            world.hellos[number].report.life = Some(Life { id, ordinal });
            world.happened(number, started())
        }
        Step::Withhold(withheld) => {
            let why = withheld.then(|| "the store is behind".to_owned());
            world.apply(Input::Authority(why));
            Vec::new()
        }
        Step::Away => {
            world.now.mono = world.now.mono.after(seconds(6));
            world.apply(Input::Tick);
            Vec::new()
        }
    };
    sent.extend(new.into_iter().map(|command| (number, command)));
}

/// When the engine acts next while the agent's reports go on in which only ages change.
/// One report comes at `within`, for what is foretold rests on a report.
fn lived_on(
    world: &mut World,
    number: usize,
    within: Option<Duration>,
) -> Option<(Duration, Vec<Rung>)> {
    let index = world.agents[number];
    let (asked, heard) = (world.now.mono, world.fleet.agent(index).link.heard);
    let base = world.fleet.agent(index).seen.report.clone().expect("it reported");
    // A sidecar reports at once when one of its clocks runs out.
    let changes = base.ages.changes(&world.fleet.agent(index).policy);
    let mut changes: Vec<Mono> = changes.into_iter().map(|by| heard.after(by)).collect();
    changes.extend(within.map(|within| asked.after(within)));
    changes.sort_unstable();
    while world.now.mono.since(asked) < HORIZON {
        world.out.clear();
        world.apply(Input::Tick);
        let policy = world.fleet.agent(index).policy.clone();
        let report = Arc::new(base.going_on(world.now.mono.since(heard), &policy));
        world.apply(Input::Agent(index, AgentInput::Report(report)));
        let own = world.out.iter().filter(|(whose, _)| *whose == index);
        let acts = own.filter_map(|(_, effect)| act_of(effect));
        let acts: Vec<Rung> = acts.collect();
        if !acts.is_empty() {
            return Some((world.now.mono.since(asked), acts));
        }
        let next = world.now.mono.after(EVERY);
        let change = changes.iter().find(|change| **change > world.now.mono);
        world.now.mono = change.map_or(next, |change| next.min(*change));
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_global_rejects: 20_000,
        ..ProptestConfig::with_cases(CASES)
    })]

    #[test]
    fn what_is_foretold_happens_and_nothing_else(
        steps in steps(),
        policy in policies(),
        newest in ages(),
        number in 0_usize..3,
    ) {
        let mut world = World::under(3, policy);
        let mut sent = Vec::new();
        for (number, step) in steps {
            apply(&mut world, number, step, &mut sent);
        }
        apply(&mut world, number, Step::Attach, &mut sent);
        apply(&mut world, number, Step::Report(Box::new(newest)), &mut sent);
        let index = world.agents[number];
        let agent = world.fleet.agent(index);
        prop_assume!(agent.act().is_none() && agent.living().is_some());
        prop_assume!(agent.seen.status != Status::Ok || agent.treatment.proof().is_some());
        let foretold = next_rung(world.fleet.agent(index), world.fleet.surroundings(), world.now);
        let happened = lived_on(&mut world, number, foretold.as_ref().and_then(|next| next.within));
        match (foretold, happened) {
            (Some(Next { rung: Rung::Verify | Rung::Notify, within, .. }), Some((at, acts))) => {
                prop_assert!(Some(at) >= within, "denied: {:?} {:?}", at, acts);
            }
            (Some(Next { rung: Rung::Verify | Rung::Notify, .. }), None) => {}
            (Some(Next { rung, within: Some(within), .. }), Some((at, acts))) => {
                prop_assert!(acts.contains(&rung), "{:?} {:?}", rung, acts);
                prop_assert!(within <= at && at <= within + EVERY, "{:?} {:?}", within, at);
            }
            (Some(Next { within: None, .. }) | None, None) => {}
            (Some(Next { within, .. }), None) if within > Some(HORIZON) => {}
            (foretold, happened) => {
                prop_assert!(false, "foretold {:?}, happened {:?}", foretold, happened);
            }
        }
    }
}
