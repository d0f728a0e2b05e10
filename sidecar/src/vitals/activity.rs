//! PURE: when the tree was last active, from counters that only grow.
//!
//! Activity is a threshold over a window, not a single jiffy: output of any length, 64 KiB of IO,
//! 4 KiB over the network, a child born or gone, or 1 % of a core on average. It is dated to the
//! latest moment since which a whole threshold was reached: an agent that burned a core until it
//! hung was active until then, and not for another window.
//!
//! What a beat itself costs is not activity (a shell loop that runs `systemd-notify` beside a
//! dead agent makes a child each time): a little CPU is taken off for each beat, and children
//! born or gone around one do not count. So children count one sample late, when no beat has
//! claimed them. What a beat itself writes is taken off the output, where this agent's beats show
//! there at all (they do when they go out by write(2), and do not when by send(2)).
//!
//! A member whose counters cannot be read (another user's, or not dumpable) is inactive while none
//! of its threads is given a processor; otherwise it counts as activity of an unknown kind.

use std::collections::VecDeque;
use std::time::Duration;

use lubdub_shared::beat::{ActivityKind, LastActivity};
use lubdub_shared::time::{Mono, scaled};

/// The window, unless the beat deadline is shorter.
const WINDOW: Duration = Duration::from_secs(30);
/// IO in a window that counts, bytes.
const IO_MIN: u64 = 64 * 1024;
/// Bytes of connections in a window that count: more than what keeps them alive.
const NETWORK_MIN: u64 = 4 * 1024;
/// CPU that counts, as a share of a core over the window.
const CPU_SHARE_MIN: f64 = 0.01;
/// CPU taken off for each beat.
const BEAT_CPU: Duration = Duration::from_millis(5);
/// Samples that are kept: the window at four a second, and as much again.
const SAMPLES_MAX: usize = 240;

/// Counters of a whole tree at one moment; they only grow within a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// CPU time.
    pub cpu: Duration,
    /// Bytes written.
    pub written: u64,
    /// Bytes read and written.
    pub io: u64,
    /// Bytes that TCP connections carried.
    pub network: u64,
    /// Children born plus children gone.
    pub churn: u64,
    /// Runs of members whose other counters cannot be read.
    pub unreadable: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Step {
    at: Mono,
    cpu: Duration,
    written: u64,
    io: u64,
    network: u64,
    churn: u64,
    unreadable: u64,
    beats: u64,
}

/// The last activity of one life.
#[derive(Debug, Default)]
pub struct Activity {
    before: Option<Counters>,
    steps: VecDeque<Step>,
    beats: u64,
    /// Bytes of datagrams that were heard and are not found in the output yet: since the newest
    /// sample, and since the one before.
    said: u64,
    said_before: u64,
    /// This agent's datagrams do not show in its output.
    sends: bool,
    last: Option<(Mono, ActivityKind)>,
}

impl Activity {
    /// A datagram of so many bytes was handled since the last sample.
    pub fn heard(&mut self, beat: bool, bytes: usize) {
        self.beats += u64::from(beat);
        self.said += bytes as u64;
    }

    /// A sample was taken at `now`; `deadline` is the beat deadline in force.
    pub fn sample(&mut self, now: Mono, counters: Counters, deadline: Option<Duration>) {
        let Some(before) = self.before.replace(counters) else { return };
        let beats = std::mem::take(&mut self.beats);
        let own_cost = BEAT_CPU * u32::try_from(beats).unwrap_or(u32::MAX);
        let mut written = counters.written.saturating_sub(before.written);
        let mut io = counters.io.saturating_sub(before.io);
        let said = self.own_words(written);
        (written, io) = (written - said, io.saturating_sub(said));
        let step = Step {
            at: now,
            cpu: counters.cpu.saturating_sub(before.cpu).saturating_sub(own_cost),
            written,
            io,
            network: counters.network.saturating_sub(before.network),
            churn: counters.churn.saturating_sub(before.churn),
            unreadable: counters.unreadable.saturating_sub(before.unreadable),
            beats,
        };
        if self.steps.len() == SAMPLES_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
        let window = deadline.map_or(WINDOW, |deadline| deadline.min(WINDOW));
        self.note(now, window);
    }

    /// How much of what was written was said to us. A datagram that was heard may show in the
    /// output one sample later; one that never shows was not written but sent.
    fn own_words(&mut self, written: u64) -> u64 {
        let said = std::mem::take(&mut self.said);
        // Nothing else was written: so these are the words, whatever an earlier sender did.
        let exactly = [said, self.said_before, said + self.said_before].contains(&written);
        if self.sends && !exactly {
            self.said_before = said;
            return 0;
        }
        let older = self.said_before.min(written);
        self.sends = older < self.said_before;
        let newer = said.min(written - older);
        self.said_before = said - newer;
        older + newer
    }

    /// How long ago the tree was last active.
    pub fn last(&self, now: Mono) -> Option<LastActivity> {
        self.last.map(|(at, kind)| LastActivity { age: now.since(at), kind })
    }

    fn note(&mut self, now: Mono, window: Duration) {
        let start = now.before(window);
        let within = self.steps.iter().rev().take_while(|step| step.at > start);
        let cpu_min = scaled(window, CPU_SHARE_MIN);
        let (mut written, mut io, mut network, mut cpu) = (0, 0, 0, Duration::ZERO);
        let mut found: Option<(Mono, ActivityKind)> = None;
        let mut later_beats = 0;
        for (index, step) in within.enumerate() {
            written += step.written;
            io += step.io;
            network += step.network;
            cpu += step.cpu;
            let beats_around = later_beats + step.beats + self.beats_before(index);
            later_beats = step.beats;
            let kind = if written > 0 {
                ActivityKind::Output
            } else if io >= IO_MIN {
                ActivityKind::Io
            } else if network >= NETWORK_MIN {
                ActivityKind::Network
            } else if index > 0 && step.churn > 0 && beats_around == 0 {
                ActivityKind::Child
            } else if cpu >= cpu_min {
                ActivityKind::Cpu
            } else {
                continue;
            };
            found = Some((step.at, kind));
            break;
        }
        // What runs and cannot be read may be working: nobody may say that it is inactive.
        let mut newest = self.steps.iter().rev().take_while(|step| step.at > start);
        if let Some(step) = newest.find(|step| step.unreadable > 0)
            && found.is_none_or(|(at, _)| step.at > at)
        {
            found = Some((step.at, ActivityKind::Unreadable));
        }
        if let Some((at, _)) = found
            && self.last.is_none_or(|(last, _)| at > last)
        {
            self.last = found;
        }
    }

    /// Beats in the sample before the one at `index`, counted from the newest.
    fn beats_before(&self, index: usize) -> u64 {
        let at = self.steps.len().checked_sub(index + 2);
        at.and_then(|at| self.steps.get(at)).map_or(0, |step| step.beats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Option<Duration> = Some(Duration::from_secs(3));

    /// Feeds one sample each 250 ms; each row is the CPU in ms, the bytes written, the children
    /// and the beats of that sample. Returns the age and kind of the last activity at the end.
    fn last_after(rows: &[(u64, u64, u64, u64)]) -> Option<(u64, ActivityKind)> {
        let mut activity = Activity::default();
        let mut counters = Counters::default();
        let mut now = Mono(0);
        activity.sample(now, counters, DEADLINE);
        for (cpu, written, churn, beats) in rows {
            now = now.after(Duration::from_millis(250));
            counters.cpu += Duration::from_millis(*cpu);
            counters.written += written;
            counters.io += written;
            counters.churn += churn;
            (0..*beats).for_each(|_| activity.heard(true, 0));
            activity.sample(now, counters, DEADLINE);
        }
        let last = activity.last(now)?;
        Some((u64::try_from(last.age.as_millis()).expect("small"), last.kind))
    }

    const QUIET: (u64, u64, u64, u64) = (0, 0, 0, 0);

    #[test]
    fn nothing_is_no_activity() {
        assert_eq!(last_after(&[QUIET; 20]), None);
    }

    #[test]
    fn a_burst_is_dated_to_its_own_time() {
        let mut rows = vec![(200, 0, 0, 0)];
        rows.extend([QUIET; 12]);
        assert_eq!(last_after(&rows), Some((3000, ActivityKind::Cpu)));
    }

    #[test]
    fn a_trickle_after_a_burst_does_not_renew_it() {
        let mut rows = vec![(200, 0, 0, 0)];
        rows.extend([(1, 0, 0, 0); 12]);
        assert_eq!(last_after(&rows), Some((3000, ActivityKind::Cpu)));
    }

    #[test]
    fn a_steady_share_of_a_core_is_activity() {
        assert_eq!(last_after(&[(10, 0, 0, 0); 20]), Some((500, ActivityKind::Cpu)));
    }

    #[test]
    fn output_counts_at_once() {
        assert_eq!(last_after(&[QUIET, (0, 1, 0, 0)]), Some((0, ActivityKind::Output)));
    }

    #[test]
    fn children_count_unless_a_beat_made_them() {
        let by_itself = [QUIET, (0, 0, 1, 0), QUIET, QUIET];
        assert_eq!(last_after(&by_itself), Some((500, ActivityKind::Child)));
        for beat_at in 1..4 {
            let mut rows = [QUIET; 6];
            rows[2].2 = 1;
            rows[beat_at].3 = 1;
            assert_eq!(last_after(&rows), None, "a beat at {beat_at}");
        }
    }

    #[test]
    fn the_words_of_a_beat_are_no_output_where_they_show_there() {
        let run = |written: u64, late: bool| {
            let mut activity = Activity::default();
            let mut counters = Counters::default();
            let mut now = Mono(0);
            activity.sample(now, counters, DEADLINE);
            for _ in 0..8 {
                activity.heard(true, 30);
                counters.written += if late { 0 } else { written };
                now = now.after(Duration::from_millis(250));
                activity.sample(now, counters, DEADLINE);
                counters.written += if late { written } else { 0 };
            }
            activity.last(now).map(|last| last.kind)
        };
        assert_eq!(run(30, false), None, "written");
        assert_eq!(run(30, true), None, "written, and seen one sample later");
        assert_eq!(run(0, false), None, "sent");
        assert_eq!(run(50, false), Some(ActivityKind::Output), "and more than that");
        assert_eq!(run(20, false), Some(ActivityKind::Output), "sent, and something else written");
    }

    #[test]
    fn who_sent_and_writes_now_is_told_by_what_it_writes() {
        let mut activity = Activity::default();
        let mut counters = Counters::default();
        let mut now = Mono(0);
        activity.sample(now, counters, DEADLINE);
        for tick in 0..40 {
            activity.heard(true, 30);
            // A library that sends for two seconds, then one that writes.
            counters.written += if tick < 8 { 0 } else { 30 };
            now = now.after(Duration::from_millis(250));
            activity.sample(now, counters, DEADLINE);
        }
        assert_eq!(activity.last(now).map(|last| last.kind), None);
    }

    #[test]
    fn who_cannot_be_read_and_runs_may_be_working() {
        let run = |runs: u64| {
            let mut activity = Activity::default();
            let mut counters = Counters::default();
            let mut now = Mono(0);
            activity.sample(now, counters, DEADLINE);
            for _ in 0..20 {
                counters.unreadable += runs;
                now = now.after(Duration::from_millis(250));
                activity.sample(now, counters, DEADLINE);
            }
            activity.last(now)
        };
        assert_eq!(run(0), None, "it stands still");
        let kind = ActivityKind::Unreadable;
        assert_eq!(run(3), Some(LastActivity { age: Duration::ZERO, kind }));
    }

    #[test]
    fn the_cost_of_beats_is_no_activity() {
        assert_eq!(last_after(&[(5, 0, 0, 1); 20]), None);
    }
}
