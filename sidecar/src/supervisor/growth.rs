//! PURE: whether memory grows, and how fast, over three windows.
//!
//! Of each tenth of the shortest window only the least is kept: what a garbage collector leaves.
//! The slope is the median of the slopes between all pairs of points (Theil 1950, Sen 1968), which
//! a third of wild points does not move. Whether that is a leak is not decided here.

use std::collections::VecDeque;
use std::time::Duration;

use lubdub_shared::time::Mono;

use super::tasks::median;

/// Buckets of the shortest window.
const SHORT: usize = 10;
/// The longer windows, in shortest ones.
const LONGER: [usize; 2] = [6, 36];
/// Shortest window: below it a bucket is shorter than a look.
const WINDOW_MIN: Duration = Duration::from_secs(1);
/// Fewer say nothing: what fills for so long after a start is a cache, as far as one can tell.
const LEAST: usize = 3 * SHORT;
const BUCKETS_MAX: usize = SHORT * LONGER[1];
/// Most points that slopes are taken of: 60 points are 1,770 pairs.
const POINTS_MAX: usize = 60;

/// Minima of the memory of one life, oldest first.
#[derive(Debug, Default)]
pub(super) struct Growth {
    window: Duration,
    /// The shortest window after the start does not count: caches fill.
    warm_at: Mono,
    bucket_ends: Mono,
    least: Option<u64>,
    minima: VecDeque<u64>,
    slopes: Option<[f64; 3]>,
}

impl Growth {
    /// Of a life that begins now.
    pub(super) fn begin(&mut self, now: Mono, window: Duration) {
        let warm_at = now.after(window);
        *self = Self { window, warm_at, bucket_ends: warm_at, ..Self::default() };
    }

    /// The tree was seen with so many bytes.
    pub(super) fn note(&mut self, bytes: u64, now: Mono, window: Duration) {
        let window = window.max(WINDOW_MIN);
        if window != self.window {
            self.begin(now, window);
        }
        if now < self.warm_at {
            return;
        }
        if now >= self.bucket_ends {
            if let Some(least) = self.least.take() {
                if self.minima.len() == BUCKETS_MAX {
                    self.minima.pop_front();
                }
                self.minima.push_back(least);
                self.slopes = self.measure();
            }
            // From the moment that it should have ended, so that buckets do not drift.
            self.bucket_ends = self.bucket_ends.after(self.bucket()).max(now);
        }
        self.least = Some(self.least.map_or(bytes, |least| least.min(bytes)));
    }

    /// Bytes per second, shortest window first. `None` until the life is four of those old.
    pub(super) fn slopes(&self) -> Option<[f64; 3]> {
        self.slopes
    }

    fn bucket(&self) -> Duration {
        self.window / u32::try_from(SHORT).expect("small")
    }

    fn measure(&self) -> Option<[f64; 3]> {
        if self.minima.len() < LEAST {
            return None;
        }
        let newest = |count: usize| self.minima.range(self.minima.len().saturating_sub(count)..);
        let bucket = self.bucket().as_secs_f64();
        let over = |count: usize| {
            let values: Vec<u64> = newest(count).copied().collect();
            let each = values.len().div_ceil(POINTS_MAX);
            let minima = values.rchunks_exact(each).rev().filter_map(|part| part.iter().min());
            theil_sen(&minima.copied().collect::<Vec<u64>>(), bucket * as_f64(each as u64))
        };
        Some([over(SHORT), over(SHORT * LONGER[0]), over(SHORT * LONGER[1])])
    }
}

/// Median of the slopes between all pairs of evenly spaced points.
fn theil_sen(points: &[u64], apart: f64) -> f64 {
    let points: Vec<f64> = points.iter().map(|bytes| as_f64(*bytes)).collect();
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (i, from) in points.iter().enumerate() {
        for (j, to) in points.iter().enumerate().skip(i + 1) {
            slopes.push((to - from) / (apart * as_f64((j - i) as u64)));
        }
    }
    if slopes.is_empty() { 0.0 } else { median(&mut slopes) }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 9e15")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Slopes in MiB an hour after so many minutes of a life whose memory is `of` its second.
    fn slopes(minutes: u64, of: impl Fn(u64) -> u64) -> Option<[f64; 3]> {
        let mut growth = Growth::default();
        growth.begin(Mono(0), Duration::from_secs(600));
        for second in 0..minutes * 60 {
            growth.note(of(second), Mono(second * 1_000_000_000), Duration::from_secs(600));
        }
        growth.slopes().map(|slopes| slopes.map(|s| (s * 3600.0 / 1_048_576.0).round()))
    }

    #[test]
    fn a_steady_leak_is_one_in_every_window() {
        let leak = |second: u64| 100 * MIB + second * MIB / 6;
        assert_eq!(slopes(39, leak), None, "warm-up and three windows come first");
        assert_eq!(slopes(45, leak), Some([600.0; 3]));
        assert_eq!(slopes(480, leak), Some([600.0; 3]));
    }

    #[test]
    fn a_sawtooth_has_a_flat_floor() {
        let sawtooth = |second: u64| 100 * MIB + second % 45 * 4 * MIB;
        let slopes = slopes(480, sawtooth).expect("a long life");
        assert!(slopes.iter().all(|slope| slope.abs() < 10.0), "{slopes:?}");
    }

    #[test]
    fn a_cache_that_is_full_grows_in_no_window_but_the_longest() {
        let cache = |second: u64| (100 + second.min(3600) / 4) * MIB;
        let [short, hour, _] = slopes(180, cache).expect("a long life");
        assert_eq!((short, hour), (0.0, 0.0));
    }
}
