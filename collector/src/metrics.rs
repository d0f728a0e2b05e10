//! Every metric: its name, its labels, its help. Prometheus' text format.

use std::collections::BTreeMap;

use lubdub_shared::incident::{ActionOutcome, Cause};
use lubdub_shared::status::Status;
use lubdub_shared::view::AgentView;
use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::driver::Health;

/// Of the answer.
pub(crate) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What is counted as it happens. The rest is made of one look at the moment of a scrape.
#[derive(Debug)]
pub(crate) struct Counters {
    registry: Registry,
    changes: IntCounterVec,
    answers: IntCounterVec,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let changes = "Changes of an agent's status or lifecycle, by the status after.";
        let changes = counter("lubdub_transitions_total", changes, "status");
        let answers = "Commands that ended, by how.";
        let answers = counter("lubdub_commands_total", answers, "outcome");
        register(&registry, &changes);
        register(&registry, &answers);
        Status::ALL.iter().for_each(|s| changes.with_label_values(&[s.as_str()]).inc_by(0));
        ActionOutcome::ALL.iter().for_each(|o| answers.with_label_values(&[o.as_str()]).inc_by(0));
        Self { registry, changes, answers }
    }

    pub(crate) fn changed(&self, to: Status) {
        self.changes.with_label_values(&[to.as_str()]).inc();
    }

    pub(crate) fn answered(&self, outcome: ActionOutcome) {
        self.answers.with_label_values(&[outcome.as_str()]).inc();
    }

    /// The whole page.
    pub(crate) fn render(
        &self,
        health: &Health,
        agents: &[AgentView],
        open: &BTreeMap<Cause, u64>,
    ) -> String {
        let now = Registry::new();
        fleet(&now, health, agents, open);
        for_each_agent(&now, agents);
        let mut families = self.registry.gather();
        families.extend(now.gather());
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics could not be rendered");
            String::new()
        })
    }
}

fn fleet(registry: &Registry, health: &Health, agents: &[AgentView], open: &BTreeMap<Cause, u64>) {
    let build = gauge_vec("lubdub_build_info", "Always 1; the version that runs.", &["version"]);
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    register(registry, &build);
    let by_status = gauge_vec("lubdub_agents", "Agents that are known, by status.", &["status"]);
    for status in Status::ALL {
        let count = agents.iter().filter(|agent| agent.status == *status).count();
        by_status.with_label_values(&[status.as_str()]).set(number(count));
    }
    register(registry, &by_status);
    let by_cause = gauge_vec("lubdub_incidents_open", "Open incidents, by cause.", &["cause"]);
    for cause in Cause::ALL {
        let own = health.incident.iter().filter(|incident| incident.cause == *cause).count();
        let stored = open.get(cause).copied().unwrap_or_default();
        by_cause.with_label_values(&[cause.as_str()]).set(large(stored) + number(own));
    }
    register(registry, &by_cause);
    let alone = [
        (
            "lubdub_degraded",
            "1 while the collector does not act by itself; its status says why.",
            f64::from(u8::from(health.degraded.is_some())),
        ),
        (
            "lubdub_store_sick",
            "1 while nothing can be written down: nothing is acked or acted on.",
            f64::from(u8::from(health.store.is_some())),
        ),
        ("lubdub_sidecars_connected", "Streams that stand.", number(health.streams)),
        ("lubdub_store_bytes", "Size of the database.", large(health.store_bytes.0)),
        (
            "lubdub_store_wal_bytes",
            "Size of its write-ahead log; it is copied into the database at 4 MiB.",
            large(health.store_bytes.1),
        ),
        (
            "lubdub_store_writes_waiting",
            "Operations that wait for the store.",
            number(health.writes_waiting),
        ),
    ];
    for (name, help, value) in alone {
        let gauge = Gauge::new(name, help).expect("a constant name");
        gauge.set(value);
        register(registry, &gauge);
    }
}

type Read = fn(&AgentView) -> Option<f64>;

/// What is told of each agent; absent where it is not known.
const OF_AN_AGENT: [(&str, &str, Read); 11] = [
    ("lubdub_agent_status", "0 ok, 1 warning, 2 critical, 3 unknown.", |agent| {
        Some(match agent.status {
            Status::Ok => 0.0,
            Status::Warning => 1.0,
            Status::Critical => 2.0,
            Status::Unknown => 3.0,
        })
    }),
    ("lubdub_agent_connected", "1 while its sidecar's stream stands.", |agent| {
        Some(f64::from(u8::from(agent.connected)))
    }),
    ("lubdub_agent_incarnation", "Ordinal of its life.", |agent| {
        agent.life.map(|life| f64::from(life.ordinal.get()))
    }),
    ("lubdub_agent_restarts_used", "Restarts since its schedule was refilled.", |agent| {
        Some(f64::from(agent.ledger.used))
    }),
    ("lubdub_agent_beat_age_seconds", "Since its last beat.", |agent| {
        let beat = agent.report.as_ref()?.ages.beat?;
        Some((beat + agent.report_age).as_secs_f64())
    }),
    ("lubdub_agent_energy_ratio", "What is left of what it may spend, 0 to 1.", |agent| {
        agent.report.as_ref()?.vitals.energy
    }),
    ("lubdub_agent_memory_bytes", "Resident memory of its process tree.", |agent| {
        agent.report.as_ref()?.vitals.memory_bytes.map(large)
    }),
    ("lubdub_agent_cpu_cores", "CPU of its process tree, in cores.", |agent| {
        agent.report.as_ref()?.vitals.cpu_ratio
    }),
    ("lubdub_agent_tasks_done", "Tasks of this life that ended well.", |agent| {
        Some(large(agent.report.as_ref()?.vitals.tasks.done))
    }),
    ("lubdub_agent_tasks_failed", "Tasks of this life that ended badly.", |agent| {
        Some(large(agent.report.as_ref()?.vitals.tasks.failed))
    }),
    ("lubdub_agent_response_p95_seconds", "Response time of the last five minutes.", |agent| {
        Some(large(agent.report.as_ref()?.vitals.response?.p95) / 1000.0)
    }),
];

fn for_each_agent(registry: &Registry, agents: &[AgentView]) {
    for (name, help, read) in OF_AN_AGENT {
        let gauge = gauge_vec(name, help, &["agent"]);
        for agent in agents {
            if let Some(value) = read(agent) {
                gauge.with_label_values(&[agent.agent.as_str()]).set(value);
            }
        }
        register(registry, &gauge);
    }
}

fn counter(name: &str, help: &str, label: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), &[label]).expect("a constant name")
}

fn gauge_vec(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), labels).expect("a constant name")
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: &C) {
    registry.register(Box::new(metric.clone())).expect("each name is registered once");
}

fn number(count: usize) -> f64 {
    large(count as u64)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 9e15")]
fn large(count: u64) -> f64 {
    count as f64
}
