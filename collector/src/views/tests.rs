//! A small fleet, as its readers see it.

use std::num::NonZeroU32;
use std::time::Duration;

use lubdub_engine::{AgentInput, Detached, Identity, Input};
use lubdub_shared::beat::{Ages, Evidence, FailedCheck, Health, Report, Vitals};
use lubdub_shared::id::{InstanceId, Life, LifeId, SpoolId, StoreId};
use lubdub_shared::incident::Cause;
use lubdub_shared::policy::Policy;
use lubdub_shared::schedule::LedgerView;
use lubdub_shared::session::Hello;
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::Mono;
use lubdub_shared::view::{PAGE_LEN_MAX, StatusJson};

use super::*;
use crate::snapshot::agent_view;

const NOW: Now = Now { mono: Mono(1_000_000_000_000), wall: Wall(0) };

struct World {
    fleet: Fleet,
    publisher: Publisher,
}

impl World {
    fn new() -> Self {
        let store = StoreId::random(&mut fastrand::Rng::with_seed(1));
        let interval = Duration::from_secs(5);
        let identity = Identity { store, epoch: 1, interval, reports_per_second: 1_000_000 };
        let fleet = Fleet::new(identity, 1, NOW.mono);
        let publisher = Publisher::new(&fleet, NOW.wall);
        Self { fleet, publisher }
    }

    /// Every third fails a check.
    fn attach(&mut self, number: usize) -> AgentIndex {
        let rng = &mut fastrand::Rng::with_seed(number as u64);
        let life = Life { id: LifeId::random(rng), ordinal: NonZeroU32::MIN };
        let failed = (number.is_multiple_of(3)).then(|| FailedCheck {
            name: "db".to_owned(),
            count: 1,
            trigger: true,
            message: String::new(),
        });
        let report = Report {
            number: 1,
            life: Some(life),
            lifecycle: Lifecycle::Running,
            pid: Some(1),
            ages: Ages { failed: failed.into_iter().collect(), ..Ages::default() },
            vitals: Vitals::default(),
            ledger: LedgerView::default(),
            health: Health::default(),
            starts_in: None,
            policy: 0,
        };
        let name = format!("a{number:05}");
        let pool = if number.is_multiple_of(2) { "even" } else { "odd" };
        let hello = Hello {
            agent: name.parse().expect("an id"),
            instance: InstanceId::random(rng),
            version: String::new(),
            host: String::new(),
            labels: BTreeMap::from([("pool".to_owned(), pool.to_owned())]),
            spool: SpoolId::random(rng),
            last_event: 0,
            at: None,
            report,
            epochs: BTreeMap::new(),
            shown: Evidence::default(),
            held: None,
        };
        let policy = Policy { mode: lubdub_shared::policy::Mode::Observe, ..Policy::default() };
        let (hello, policy) = (Box::new(hello), policy.into());
        self.apply(Input::Hello { session: 1, hello, policy });
        self.fleet.find(&name.parse().expect("an id")).expect("it is there")
    }

    fn apply(&mut self, input: Input) {
        let mut out = Vec::new();
        if let Input::Agent(index, _) = &input {
            self.publisher.touch(*index);
        }
        self.fleet.apply(input, NOW, &mut out).expect("it is never refused");
        out.iter().for_each(|(index, _)| self.publisher.touch(*index));
        self.publisher.publish(&self.fleet);
    }
}

fn ids(page: &Page) -> Vec<&str> {
    page.agents.iter().map(|agent| agent.who.id.as_str()).collect()
}

#[test]
fn a_fleet_is_read_page_by_page_in_either_order() {
    let mut world = World::new();
    let count = 2 * PAGE_LEN_MAX + 500;
    for number in 0..count {
        world.attach(number);
    }
    let views = world.publisher.views();
    for worst_first in [false, true] {
        let mut choice = Choice { worst_first, ..Choice::default() };
        let mut seen: Vec<(u8, String)> = Vec::new();
        loop {
            let page = views.page(&choice);
            seen.extend(
                page.agents
                    .iter()
                    .map(|agent| (agent.seen.status.severity(), agent.who.id.to_string())),
            );
            assert_eq!(page.more, seen.len() < count, "of {}", seen.len());
            let Some(last) = page.agents.last().filter(|_| page.more) else { break };
            choice.after = Some(last.who.id.clone());
            choice.severity = Some(last.seen.status.severity());
        }
        assert_eq!(seen.len(), count, "each once");
        let mut sorted = seen.clone();
        sorted.sort_by_key(|(severity, id)| {
            (std::cmp::Reverse(if worst_first { *severity } else { 0 }), id.clone())
        });
        assert_eq!(seen, sorted);
    }
}

#[test]
fn only_what_is_wanted_is_on_a_page() {
    let mut world = World::new();
    for number in 0..12 {
        world.attach(number);
    }
    let views = world.publisher.views();
    let critical = Choice { statuses: vec![Status::Critical], ..Choice::default() };
    assert_eq!(ids(&views.page(&critical)), ["a00000", "a00003", "a00006", "a00009"]);
    let labels = BTreeMap::from([("pool".to_owned(), "odd".to_owned())]);
    let odd = Choice { labels, causes: vec![Cause::ReportedFailure], ..Choice::default() };
    assert_eq!(ids(&views.page(&odd)), ["a00003", "a00009"]);
    let none = Choice { causes: vec![Cause::Silent], ..Choice::default() };
    assert!(views.page(&none).agents.is_empty());
}

#[test]
fn who_is_forgotten_is_out_of_sight_and_what_was_taken_stays_as_it_was() {
    let mut world = World::new();
    let index = world.attach(0);
    world.attach(1);
    let views = world.publisher.views();
    let id: AgentId = "a00000".parse().expect("an id");
    let before = views.find(&id).expect("it is there");
    world.apply(Input::Agent(index, AgentInput::Detached(Detached::Lost)));
    assert!(before.is_connected(), "it stays as it was taken");
    assert!(!views.find(&id).expect("it is there").is_connected());
    world.apply(Input::Agent(index, AgentInput::Forgotten));
    let unknown = views.find(&id).expect_err("it is gone");
    assert_eq!(unknown.near, ["a00001"]);
    assert_eq!(views.each(None).count(), 1);
    world.apply(Input::Released(index));
    world.attach(2);
    assert_eq!(ids(&views.page(&Choice::default())), ["a00001", "a00002"]);
}

#[test]
fn a_status_that_is_streamed_is_the_one_that_is_made_whole() {
    let mut world = World::new();
    for number in 0..3 {
        world.attach(number);
        let views = world.publisher.views();
        let collector = views.collector();
        let agents: Vec<_> = views.each(None).collect();
        let view = |agent: &Arc<Agent>| agent_view(agent, &collector.surroundings, NOW);
        let all: Vec<_> = agents.iter().map(view).collect();
        let whole = StatusJson::new(&collector.view(NOW), &all, NOW.wall);
        let mut streamed = Vec::new();
        let parts = agents.iter().map(view);
        StatusJson::write(&collector.view(NOW), parts, NOW.wall, &mut streamed).expect("written");
        assert_eq!(streamed, serde_json::to_vec(&whole).expect("JSON"), "{number}");
    }
}
