//! Every metric: its name, its labels, its help, in Prometheus' text format. What happens is
//! counted as it happens; the rest is read from the published views while it is written, agent by
//! agent, so that a fleet of any size is nowhere whole.
//!
//! Nothing is told of a process that is not there, nor of what an agent was when its sidecar was
//! last heard: the values of a lost link are gone until it is back.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use lubdub_shared::command::{CommandKind, Origin};
use lubdub_shared::incident::{ActionOutcome, Cause};
use lubdub_shared::status::Status;
use lubdub_shared::time::now;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::views::{Collector, Views};

mod agents;

/// Of the answer.
pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Names and values of labels.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    changes: Family<Labels<1>, Counter>,
    commands: Family<Labels<3>, Counter>,
    restarts: Family<Labels<2>, Counter>,
}

impl Counters {
    /// Every series is there from the start, so that its first increase is seen as one.
    pub(crate) fn new() -> Self {
        let counters = Self::default();
        for status in Status::ALL {
            drop(counters.changes.get_or_create(&[("status", status.as_str())]));
        }
        for origin in Origin::ALL {
            let causes = Cause::ALL.iter().map(|cause| cause.as_str()).chain(["none"]);
            for cause in causes {
                let labels = [("cause", cause), ("origin", origin.as_str())];
                drop(counters.restarts.get_or_create(&labels));
            }
        }
        let ends = [
            ActionOutcome::Done,
            ActionOutcome::Refused,
            ActionOutcome::Expired,
            ActionOutcome::Failed,
        ];
        for (kind, outcome) in CommandKind::ALL.iter().flat_map(|kind| ends.map(|end| (kind, end)))
        {
            for origin in [Origin::Engine, Origin::Person] {
                let labels = [
                    ("kind", kind.as_str()),
                    ("origin", origin.as_str()),
                    ("outcome", outcome.as_str()),
                ];
                drop(counters.commands.get_or_create(&labels));
            }
        }
        counters
    }

    /// An agent's status or lifecycle changed.
    pub(crate) fn changed(&self, to: Status) {
        self.changes.get_or_create(&[("status", to.as_str())]).inc();
    }

    /// A command ended.
    pub(crate) fn answered(&self, kind: CommandKind, origin: Origin, outcome: ActionOutcome) {
        let labels =
            [("kind", kind.as_str()), ("origin", origin.as_str()), ("outcome", outcome.as_str())];
        self.commands.get_or_create(&labels).inc();
    }

    /// An agent was restarted.
    pub(crate) fn restarted(&self, cause: Option<Cause>, origin: Origin) {
        let cause = cause.map_or("none", Cause::as_str);
        self.restarts.get_or_create(&[("cause", cause), ("origin", origin.as_str())]).inc();
    }

    /// The whole page, written as it is made.
    ///
    /// `store` are the sizes of the database and of its write-ahead log, bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn render(
        &self,
        views: &Views,
        open: &BTreeMap<Cause, u64>,
        store: (u64, u64),
        out: &mut impl io::Write,
    ) -> io::Result<()> {
        let mut page = Registry::default();
        let changes = "Changes of an agent's status or lifecycle, by the status after";
        page.register("lubdub_transitions", changes, self.changes.clone());
        let commands = "Commands that ended, by what was asked, by whom, and how they ended";
        page.register("lubdub_commands", commands, self.commands.clone());
        let restarts = "Lives that began after another, by what was wrong and by who began them: \
                        the engine, a person, or the sidecar's own schedule";
        page.register("lubdub_restarts", restarts, self.restarts.clone());
        let collector = views.collector();
        page.register_collector(Box::new(Whole { collector, open: open.clone(), store }));
        page.register_collector(Box::new(agents::Each(views.clone())));
        let mut text = Text { out, failed: None };
        match prometheus_text::encode(&mut text, &page) {
            Ok(()) => Ok(()),
            Err(fmt::Error) => {
                Err(text.failed.unwrap_or_else(|| io::Error::other("a metric is malformed")))
            }
        }
    }
}

/// Text that goes where bytes go.
struct Text<'w, W> {
    out: &'w mut W,
    failed: Option<io::Error>,
}

impl<W: io::Write> fmt::Write for Text<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.write_all(text.as_bytes()).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}

/// The collector itself.
#[derive(Debug)]
struct Whole {
    collector: std::sync::Arc<Collector>,
    open: BTreeMap<Cause, u64>,
    store: (u64, u64),
}

impl prometheus_client::collector::Collector for Whole {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        let help = "Always 1; the version that runs";
        let mut info =
            encoder.encode_descriptor("lubdub_build_info", help, None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(info.encode_family(&build)?)?;
        let help = "Open incidents, by cause";
        let mut open =
            encoder.encode_descriptor("lubdub_incidents_open", help, None, MetricType::Gauge)?;
        for cause in Cause::ALL {
            let own = self.collector.incident.iter().filter(|own| own.cause == *cause).count();
            let stored = self.open.get(cause).copied().unwrap_or_default();
            let labels = [("cause", cause.as_str())];
            ConstGauge::new(whole(stored.saturating_add(own as u64)))
                .encode(open.encode_family(&labels)?)?;
        }
        let degraded = self.collector.surroundings.degraded(now().mono).is_some();
        let alone = [
            (
                "lubdub_degraded",
                "1 while the collector does not act by itself; its status says why",
                i64::from(degraded),
            ),
            (
                "lubdub_store_sick",
                "1 while nothing can be written down: nothing is acked or acted on",
                i64::from(self.collector.store.is_some()),
            ),
            (
                "lubdub_sidecars_connected",
                "Streams that stand",
                whole(self.collector.streams as u64),
            ),
            ("lubdub_store_bytes", "Size of the database", whole(self.store.0)),
            (
                "lubdub_store_wal_bytes",
                "Size of its write-ahead log; it is copied into the database at 4 MiB",
                whole(self.store.1),
            ),
            (
                "lubdub_store_writes_waiting",
                "Operations that wait for the store",
                whole(self.collector.writes_waiting as u64),
            ),
        ];
        for (name, help, value) in alone {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 9e15")]
fn large(count: u64) -> f64 {
    count as f64
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
