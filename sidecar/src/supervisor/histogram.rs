//! PURE: how often values of each size were seen, in bounded memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets to a doubling: a quantile is told to within 19 %, never too low.
const PER_DOUBLING: f64 = 4.0;

/// Counts in buckets that grow geometrically, as in HdrHistogram and DDSketch; at most 256 of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Histogram {
    count: u64,
    buckets: BTreeMap<u8, u64>,
}

impl Histogram {
    pub(super) fn record(&mut self, value: u64) {
        self.count += 1;
        *self.buckets.entry(bucket(value)).or_default() += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The upper edge of the bucket below which all but one in a thousand lie. With fewer than a
    /// thousand values that is the largest bucket.
    pub(super) fn p999(&self) -> u64 {
        let mut above = 0;
        for (bucket, count) in self.buckets.iter().rev() {
            above += count;
            if above * 1000 > self.count {
                return edge(*bucket);
            }
        }
        0
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "64 doublings fit")]
#[expect(clippy::cast_precision_loss, reason = "a bucket is coarser than that")]
fn bucket(value: u64) -> u8 {
    ((value.max(1) as f64).log2() * PER_DOUBLING).ceil().min(255.0) as u8
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn edge(bucket: u8) -> u64 {
    (f64::from(bucket) / PER_DOUBLING).exp2().round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_never_too_low_and_little_too_high() {
        for value in [1, 2, 3, 250, 999, 60_000, 3_600_000, u64::from(u32::MAX)] {
            let mut histogram = Histogram::default();
            histogram.record(value);
            let p999 = histogram.p999();
            assert!(p999 >= value && p999 <= value * 6 / 5 + 1, "{value}: {p999}");
        }
    }

    #[test]
    fn one_in_a_thousand_is_left_out() {
        let mut histogram = Histogram::default();
        (0..1999).for_each(|_| histogram.record(100));
        histogram.record(1_000_000);
        assert!(histogram.p999() < 200);
        histogram.record(1_000_000);
        assert!(histogram.p999() < 200);
        histogram.record(1_000_000);
        assert!(histogram.p999() >= 1_000_000);
    }
}
