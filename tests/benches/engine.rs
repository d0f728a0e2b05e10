//! The engine at 100,000 agents: time for a report that changes nothing, and for a due deadline.
//! `cargo bench -p tests --bench engine`; the median counts.

use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use harness::fleet::{apply, attach};
use harness::sample;
use lubdub_engine::trace::{Header, Line, Replay, VERSION, v1};
use lubdub_engine::{Agent, AgentIndex, AgentInput, Detached, Effect, Fleet, Identity, Input};
use lubdub_shared::beat::Report;
use lubdub_shared::id::{Life, StoreId};
use lubdub_shared::policy::{Policy, VersionedPolicy};
use lubdub_shared::session::Hello;
use lubdub_shared::time::{Mono, Now, Wall};

const AGENTS: usize = 100_000;

fn main() {
    divan::main();
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

struct World {
    fleet: Fleet,
    agents: Vec<(AgentIndex, Life)>,
    now: Now,
    out: Vec<(AgentIndex, Effect)>,
}

fn world() -> World {
    let rng = &mut fastrand::Rng::with_seed(1);
    let store = StoreId::random(rng);
    let identity = Identity { store, epoch: 1, interval: seconds(5), reports_per_second: 20_000 };
    let mut now = Now { mono: Mono(1_000_000_000), wall: Wall(0) };
    let mut fleet = Fleet::new(identity, 1, now.mono);
    let (policy, mut agents, mut out) =
        (VersionedPolicy::from(Policy::default()), Vec::new(), Vec::new());
    for number in 0..AGENTS {
        let (hello, life) = sample::hello(number, rng);
        // As a fleet attaches: spread over the interval.
        now.mono = now.mono.after(Duration::from_micros(50));
        let admitted = attach(&mut fleet, hello, &policy, 1, now, &mut out).expect("admitted");
        agents.push((admitted.agent, life));
        out.clear();
    }
    World { fleet, agents, now, out }
}

/// What no engine can do without: the newest report takes the place of the one before, which goes
/// back to whoever made it, and three lines of the agent are written.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn floor_of_a_report(bencher: Bencher<'_, '_>) {
    #[derive(Clone)]
    #[repr(align(64))]
    struct Line([u64; 8]);
    struct Place {
        lines: Vec<Line>,
        report: Box<[u8; size_of::<Report>()]>,
    }
    let lines = size_of::<Agent>().div_ceil(size_of::<Line>());
    let blank = || Box::new([1; size_of::<Report>()]);
    let place = || Place { lines: vec![Line([0; 8]); lines], report: blank() };
    let mut places: Vec<_> = (0..AGENTS).map(|_| place()).collect();
    bencher
        .counter(divan::counter::ItemsCount::new(AGENTS))
        .with_inputs(|| (0..AGENTS).map(|_| blank()).collect::<Vec<_>>())
        .bench_local_values(|mut reports| {
            for (place, report) in places.iter_mut().zip(&mut reports) {
                std::mem::swap(&mut place.report, report);
                for line in [0, lines / 2, lines - 1] {
                    place.lines[line].0[0] += 1;
                }
                black_box(&mut *place);
            }
            reports
        });
}

/// One report of each agent in turn, made beforehand: the engine's part alone.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn report_of_each_of_100k_agents(bencher: Bencher<'_, '_>) {
    let mut world = world();
    let mut number = 1;
    bencher
        .counter(divan::counter::ItemsCount::new(AGENTS))
        .with_inputs(|| {
            number += 1;
            // A report a look of the driver later than the one before.
            world
                .agents
                .iter()
                .map(|(_, life)| Arc::new(sample::report(*life, number)))
                .collect::<Vec<_>>()
        })
        .bench_local_values(|reports| {
            for ((index, _), report) in world.agents.iter().zip(reports) {
                world.now.mono = world.now.mono.after(Duration::from_micros(50));
                let input = Input::Agent(*index, AgentInput::Report(report));
                apply(&mut world.fleet, input, world.now, &mut world.out);
                black_box(&world.out);
                world.out.clear();
            }
        });
}

/// A recording of reports, read from its text and judged again.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn replay_of_100k_recorded_reports(bencher: Bencher<'_, '_>) {
    let rng = &mut fastrand::Rng::with_seed(1);
    let store = StoreId::random(rng);
    let identity = Identity { store, epoch: 1, interval: seconds(5), reports_per_second: 20_000 };
    let header =
        Header { trace: VERSION, version: String::new(), wall: 0, identity: identity.into() };
    let mut lines = Vec::new();
    let mut m = 1_000_000_000;
    let mut line = |a: &Hello, input| {
        m += 50_000;
        let line = Line { m, w: 0, a: Some(a.agent.clone()), input };
        lines.push(serde_json::to_string(&line).expect("keys are strings"));
    };
    let agents: Vec<_> = (0..1000).map(|number| sample::hello(number, rng)).collect();
    for (hello, _) in &agents {
        line(hello, v1::Input::Hello(1, Box::new(hello.clone()), Box::default()));
    }
    for number in 0..100_u64 {
        for (hello, life) in &agents {
            line(hello, v1::Input::Report(Box::new(sample::report(*life, number + 2))));
        }
    }
    bencher.counter(divan::counter::ItemsCount::new(AGENTS)).bench_local(|| {
        let mut replay = Replay::new(&header, None);
        for line in &lines {
            replay.apply(serde_json::from_str(line).expect("a line")).expect("in time");
        }
        black_box(replay.changes().len())
    });
}

/// A tick with nothing due.
#[divan::bench(sample_count = 100)]
fn tick_with_nothing_due(bencher: Bencher<'_, '_>) {
    let mut world = world();
    bencher.bench_local(|| {
        apply(&mut world.fleet, Input::Tick, black_box(world.now), &mut world.out);
    });
}

/// Every link was lost a while ago, and all of them are due at once: 100,000 verdicts with their
/// incidents, by as many ticks as that takes.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn tick_with_100k_due(bencher: Bencher<'_, '_>) {
    bencher
        .counter(divan::counter::ItemsCount::new(AGENTS))
        .with_inputs(|| {
            let mut world = world();
            for (index, _) in &world.agents {
                let lost = Input::Agent(*index, AgentInput::Detached(Detached::Lost));
                apply(&mut world.fleet, lost, world.now, &mut world.out);
            }
            world.out.clear();
            // The engine looks each second, or it doubts itself.
            for _ in 0..24 {
                world.now.mono = world.now.mono.after(seconds(1));
                if world.now.mono.since(world.fleet.next_deadline()) < seconds(1) {
                    break;
                }
            }
            world
        })
        .bench_local_refs(|world| {
            let mut due = 0;
            for _ in 0..25 {
                world.now.mono = world.now.mono.after(seconds(1));
                while world.fleet.next_deadline() <= world.now.mono {
                    apply(&mut world.fleet, Input::Tick, world.now, &mut world.out);
                    due += world.out.len();
                    world.out.clear();
                }
            }
            assert!(due >= AGENTS, "each was found: {due}");
        });
}
