//! What is told of each agent.

use std::fmt;

use lubdub_engine::Agent;
use lubdub_shared::beat::Report;
use lubdub_shared::status::Status;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::large;
use crate::views::Views;

/// Each agent of the published views, once for each metric.
#[derive(Debug)]
pub(super) struct Each(pub(super) Views);

/// One gauge; absent where its value is not known.
struct Gauge {
    name: &'static str,
    help: &'static str,
    read: fn(&Agent) -> Option<f64>,
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Agent) -> Option<f64>) -> Gauge {
    Gauge { name, help, read }
}

const GAUGES: [Gauge; 9] = [
    gauge("lubdub_agent_connected", "1 while its sidecar's stream stands", |agent| {
        Some(f64::from(u8::from(agent.is_connected())))
    }),
    gauge("lubdub_agent_incarnation", "Ordinal of its life", |agent| {
        agent.seen.life.map(|life| f64::from(life.ordinal.get()))
    }),
    gauge("lubdub_agent_restarts_used", "Restarts since its schedule was refilled", |agent| {
        Some(f64::from(agent.ledger().used))
    }),
    gauge(
        "lubdub_agent_last_report_timestamp_seconds",
        "When its sidecar was last heard, since 1970",
        |agent| agent.seen.report.as_ref().map(|_| stamp(agent.reported_at().0)),
    ),
    gauge("lubdub_agent_last_beat_timestamp_seconds", "When it last beat, since 1970", |agent| {
        let beat = process(agent)?.ages.beat?;
        Some(stamp(agent.reported_at().before(beat).0))
    }),
    gauge("lubdub_agent_energy_ratio", "What is left of what it may spend, 0 to 1", |agent| {
        process(agent)?.vitals.energy
    }),
    gauge("lubdub_agent_memory_bytes", "Resident memory of its process tree", |agent| {
        process(agent)?.vitals.memory_bytes.map(large)
    }),
    gauge("lubdub_agent_cpu_cores", "CPU of its process tree, in cores", |agent| {
        process(agent)?.vitals.cpu_ratio
    }),
    gauge("lubdub_agent_tasks_open", "Tasks of this life that have not ended", |agent| {
        Some(large(process(agent)?.vitals.tasks.open))
    }),
];

/// The newest report, while its sidecar is heard and there is a process to speak of.
fn process(agent: &Agent) -> Option<&Report> {
    let seen = &agent.seen;
    let speaks_of_it = |report: &&Report| report.life == seen.life && seen.pid.is_some();
    seen.report.as_deref().filter(|_| agent.is_connected()).filter(speaks_of_it)
}

#[expect(clippy::cast_precision_loss, reason = "a timestamp needs no more than microseconds")]
fn stamp(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

impl Collector for Each {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.count(&mut encoder)?;
        self.statuses(&mut encoder)?;
        for Gauge { name, help, read } in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for agent in self.0.each(None) {
                if let Some(value) = read(&agent) {
                    let labels = [("agent", agent.who.id.as_str())];
                    ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        self.tasks(&mut encoder)?;
        self.responses(&mut encoder)
    }
}

impl Each {
    /// How many agents there are of each status.
    fn count(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Agents that are known, by status";
        let mut counts = Status::ALL.iter().map(|status| (*status, 0_i64)).collect::<Vec<_>>();
        for agent in self.0.each(None) {
            let own = counts.iter_mut().find(|(status, _)| *status == agent.seen.status);
            own.into_iter().for_each(|(_, count)| *count += 1);
        }
        let mut metric =
            encoder.encode_descriptor("lubdub_agents", help, None, MetricType::Gauge)?;
        for (status, count) in counts {
            let labels = [("status", status.as_str())];
            ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// One series a status, and 1 in the one that holds.
    fn statuses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 in the status that the agent has, 0 in the others";
        let mut metric =
            encoder.encode_descriptor("lubdub_agent_status", help, None, MetricType::Gauge)?;
        for agent in self.0.each(None) {
            for status in Status::ALL {
                let labels = [("agent", agent.who.id.as_str()), ("status", status.as_str())];
                let holds = i64::from(*status == agent.seen.status);
                ConstGauge::new(holds).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn tasks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Tasks of this life that ended, by how";
        let mut metric =
            encoder.encode_descriptor("lubdub_agent_tasks", help, None, MetricType::Counter)?;
        for agent in self.0.each(None) {
            let Some(report) = process(&agent) else { continue };
            let tasks = report.vitals.tasks;
            for (outcome, count) in [("done", tasks.done), ("failed", tasks.failed)] {
                let labels = [("agent", agent.who.id.as_str()), ("outcome", outcome)];
                ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn responses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Response time of the tasks of the last five minutes";
        let name = "lubdub_agent_response_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for agent in self.0.each(None) {
            let response = process(&agent).and_then(|report| report.vitals.response);
            let Some(response) = response else { continue };
            for (quantile, ms) in
                [("0.5", response.p50), ("0.95", response.p95), ("1", response.max)]
            {
                let labels = [("agent", agent.who.id.as_str()), ("quantile", quantile)];
                ConstGauge::new(large(ms) / 1000.0).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
