use lubdub_shared::line::parse;
use lubdub_shared::policy::{Due, Expected};

use super::*;

/// Clocks that are told things at times; the policy is the default one.
struct Told {
    clocks: LifeClocks,
    policy: Policy,
    gaps: Gaps,
    now: Mono,
}

impl Told {
    fn new() -> Self {
        let now = Mono(0).after(Duration::from_secs(10));
        let clocks = LifeClocks::new(now);
        Self { clocks, policy: Policy::default(), gaps: Gaps::default(), now }
    }

    fn say(&mut self, text: &str) -> &mut Self {
        let message = parse(text.as_bytes()).expect(text);
        let wall = Wall::parse("2026-11-22T00:00:00Z").expect("valid");
        self.clocks.say(message, self.now, wall, &self.policy, &mut self.gaps);
        self
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.clocks.advance(self.now);
        self
    }

    fn ages(&self) -> Ages {
        self.clocks.ages(self.now, &self.policy, &self.gaps)
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn three_beats_arm_and_ready_does_not() {
    let mut told = Told::new();
    told.say("READY=1").say("WATCHDOG=1").say("WATCHDOG=1");
    assert!(!told.ages().armed);
    assert!(told.say("WATCHDOG=1").ages().armed);
    assert!(Told::new().say("WATCHDOG_USEC=5000000").ages().armed, "an explicit contract");
    let mut expected = Told::new();
    expected.policy.expect_beats = ExpectBeats::Always;
    assert!(expected.ages().armed);
    told.policy.expect_beats = ExpectBeats::Never;
    assert!(!told.ages().armed);
}

/// The collector foretells what comes next by such ages.
#[test]
fn time_alone_does_to_the_clocks_what_is_foretold() {
    let stories: [&[&str]; 8] = [
        &["WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"],
        &["READY=1", "X_LUBDUB_PHASE=working", "X_LUBDUB_PROGRESS=1", "X_LUBDUB_PROGRESS=2"],
        &["X_LUBDUB_PHASE=working", "X_LUBDUB_PROGRESS=0"],
        &["X_LUBDUB_PHASE=llm\nX_LUBDUB_LEASE_USEC=40000000"],
        &["X_LUBDUB_PHASE=idle"],
        &[r#"{"task":{"id":"t","event":"start"}}"#],
        &["WATCHDOG=1", "pause"],
        &["WATCHDOG=1", "rest"],
    ];
    for story in stories {
        let mut told = Told::new();
        for word in story {
            match *word {
                "pause" => told.clocks.set_paused(true, told.now),
                "rest" => told.clocks.set_resting(true),
                text => drop(told.say(text)),
            }
            told.wait(3);
        }
        let (before, asked) = (told.ages(), told.now);
        for _ in 0..140 {
            told.wait(1);
            let foretold = before.aged(told.now.since(asked));
            assert_eq!(told.ages(), foretold, "{story:?}");
        }
    }
}

#[test]
fn what_is_leased_or_paused_is_not_charged() {
    let mut told = Told::new();
    told.say("WATCHDOG=1").wait(7);
    assert_eq!(told.ages().silence, seconds(7));
    told.say("WATCHDOG=1\nX_LUBDUB_PHASE=llm\nX_LUBDUB_LEASE_USEC=100000000").wait(100).wait(9);
    let ages = told.ages();
    assert_eq!((ages.silence, ages.beat), (seconds(0), Some(seconds(109))));
    assert_eq!(ages.lease.map(|lease| (lease.left, lease.over)), Some((seconds(0), None)));
    told.wait(2).wait(3);
    let ages = told.ages();
    assert_eq!(ages.lease.and_then(|lease| lease.over), Some(seconds(14)), "slack is 10 s");
    assert_eq!(ages.silence, seconds(5), "the phase's clock runs on");
    told.clocks.set_paused(true, told.now);
    told.wait(500);
    assert_eq!(told.ages().silence, seconds(5));
    assert_eq!(told.ages().paused, Some(seconds(500)));
}

#[test]
fn another_phase_ends_a_lease_and_the_same_one_does_not() {
    let mut told = Told::new();
    told.say("X_LUBDUB_PHASE=tool\nX_LUBDUB_LEASE_USEC=60000000").say("X_LUBDUB_PHASE=tool");
    assert!(told.ages().lease.is_some());
    assert!(told.say("X_LUBDUB_PHASE=working").ages().lease.is_none());
}

#[test]
fn leases_are_capped_until_there_is_progress() {
    let mut told = Told::new();
    told.policy.lease_max = seconds(100);
    let lease = "X_LUBDUB_PHASE=llm\nX_LUBDUB_LEASE_USEC=80000000";
    told.say("X_LUBDUB_PROGRESS=1").say(lease).wait(80).say(lease);
    let left = |told: &Told| told.ages().lease.map(|lease| lease.left);
    assert_eq!(left(&told), Some(seconds(20)), "80 of 100 s are used");
    told.say("X_LUBDUB_PROGRESS=2").say(lease);
    assert_eq!(left(&told), Some(seconds(80)));
}

#[test]
fn a_rate_limit_suspends_until_its_time() {
    let mut told = Told::new();
    told.say(r#"{"phase":"waiting_rate_limit","until":"2026-11-22T05:00:00Z"}"#);
    assert_eq!(told.ages().lease.map(|lease| lease.left), Some(seconds(5 * 3600)));
    let mut other = Told::new();
    other.say(r#"{"phase":"working","until":60}"#);
    assert_eq!(other.ages().lease, None, "only that phase waits until something");
}

#[test]
fn deadlines_by_phase_contract_and_learned_gap() {
    let mut told = Told::new();
    let after = |told: &Told| told.ages().deadline.map(|deadline| deadline.after);
    assert_eq!(after(&told), Some(seconds(180)));
    assert_eq!(after(told.say("X_LUBDUB_PHASE=llm")), Some(seconds(900)));
    assert_eq!(after(told.say("X_LUBDUB_PHASE=idle")), None);
    told.say("X_LUBDUB_PHASE=working").say("WATCHDOG_USEC=5000000");
    assert_eq!(after(&told), Some(seconds(5)));
    assert_eq!(after(told.say("X_LUBDUB_PHASE=llm")), Some(seconds(900)), "the phase says more");
    told.say("X_LUBDUB_PHASE=working").say("WATCHDOG_USEC=99999000000");
    assert_eq!(after(&told), Some(seconds(3600)), "capped by lease_max");

    let mut slow = Told::new();
    slow.say("WATCHDOG=1").say("WATCHDOG=1").say("WATCHDOG=1").wait(100).say("WATCHDOG=1");
    assert_eq!(after(&slow), Some(seconds(300)), "three times the gap survived");
    slow.wait(900).say("WATCHDOG=1");
    assert_eq!(after(&slow), Some(seconds(720)), "at most four times the policy's");
    slow.policy.expect_beats = ExpectBeats::Always;
    assert_eq!(after(&slow), Some(seconds(180)), "never where beats are demanded");
}

#[test]
fn leased_gaps_teach_nothing() {
    let mut told = Told::new();
    told.say("WATCHDOG=1").say("WATCHDOG=1").say("WATCHDOG=1");
    told.say("EXTEND_TIMEOUT_USEC=500000000").wait(400).say("WATCHDOG=1");
    assert_eq!(told.gaps, Gaps::default());
}

#[test]
fn counters_are_monotone_for_each_source_and_summed() {
    let mut told = Told::new();
    let progress = |told: &Told| told.ages().progress;
    told.say(r#"{"phase":"working","progress":10}"#);
    assert_eq!((progress(&told).counter, progress(&told).frozen), (0, None), "a baseline");
    told.say(r#"{"progress":13}"#).say(r#"{"progress":5,"source":"b"}"#);
    told.say(r#"{"progress":6,"source":"b"}"#);
    assert_eq!(progress(&told).counter, 4);
    told.wait(5).say(r#"{"progress":2}"#);
    assert_eq!(progress(&told).counter, 4, "a decrease is a new baseline");
    assert_eq!(progress(&told).frozen, Some(seconds(5)));
    told.say(r#"{"progress":3}"#);
    assert_eq!((progress(&told).counter, progress(&told).frozen), (5, Some(seconds(0))));
}

#[test]
fn turns_count_only_where_nothing_better_was_sent() {
    let mut told = Told::new();
    told.say(r#"{"cycle":1}"#).say(r#"{"cycle":4}"#);
    assert_eq!(told.ages().progress.counter, 3);
    told.say(r#"{"task":{"id":"t","event":"start"}}"#).wait(9).say(r#"{"cycle":9}"#);
    let progress = told.ages().progress;
    assert_eq!((progress.counter, progress.owed), (0, true), "a task is open: it is what counts");
    told.say(r#"{"task":{"id":"t","event":"done"}}"#);
    assert_eq!(told.ages().progress.counter, 1);
}

#[test]
fn progress_is_charged_only_where_it_is_owed() {
    let mut told = Told::new();
    told.say(r#"{"phase":"working","progress":1}"#).say(r#"{"progress":2}"#);
    told.wait(3).say(r#"{"phase":"idle"}"#).wait(500).say(r#"{"phase":"working"}"#).wait(2);
    assert_eq!(told.ages().progress.frozen, Some(seconds(2)), "owed anew since then");
}

#[test]
fn checks_fail_in_a_row_and_are_withdrawn() {
    let mut told = Told::new();
    let fail = r#"{"check":{"name":"db","ok":false,"message":"no"}}"#;
    told.say(fail).say(fail).say("WATCHDOG=trigger");
    let failed = told.ages().failed;
    let names: Vec<_> = failed.iter().map(|c| (c.name.as_str(), c.count, c.trigger)).collect();
    assert_eq!(names, [("self", 1, true), ("db", 2, false)], "worst first");
    told.say("READY=1").say(r#"{"check":{"name":"db","ok":true}}"#);
    assert_eq!(told.ages().failed, []);
    for number in 0..100 {
        told.say(&format!(r#"{{"check":{{"name":"c{number}","ok":false}}}}"#));
    }
    assert_eq!(told.clocks.checks.failed.len(), checks::CHECKS_MAX);
    assert_eq!(told.ages().failed.len(), lubdub_shared::beat::FAILED_CHECKS_MAX);
}

#[test]
fn sources_are_bounded() {
    let mut told = Told::new();
    for number in 0..1000 {
        told.say(&format!(r#"{{"progress":1,"source":"s{number}"}}"#));
    }
    assert_eq!(told.clocks.work.sources.len(), work::SOURCES_MAX + 1, "the last place is shared");
}

#[test]
fn a_lease_that_is_renewed_for_ever_ends_at_its_cap() {
    let mut told = Told::new();
    told.policy.lease_max = seconds(20);
    told.say(r#"{"phase":"working","progress":1}"#).say(r#"{"progress":2}"#);
    for _ in 0..30 {
        told.say(r#"{"phase":"working","lease_s":8}"#).wait(4);
    }
    let frozen = told.ages().progress.frozen.expect("it moved");
    assert!(frozen >= seconds(80), "the progress clock runs beyond the cap: {frozen:?}");
}

#[test]
fn waiting_with_an_open_task_owes_no_progress() {
    let mut told = Told::new();
    told.say(r#"{"progress":1}"#).say(r#"{"progress":2,"task":{"id":"t","event":"start"}}"#);
    assert!(told.ages().progress.owed);
    told.wait(100).say(r#"{"phase":"waiting_human"}"#).wait(9000);
    assert!(!told.ages().progress.owed);
    told.say(r#"{"phase":"working"}"#);
    let progress = told.ages().progress;
    assert_eq!((progress.owed, progress.frozen), (true, Some(seconds(0))), "owed anew");
}

#[test]
fn a_rate_limit_is_no_lease_and_zero_ends_one() {
    let mut told = Told::new();
    told.policy.lease_max = seconds(100);
    told.say(r#"{"phase":"waiting_rate_limit","until":5000}"#).wait(5000);
    told.say(r#"{"phase":"llm","lease_s":60}"#);
    assert_eq!(told.ages().lease.map(|lease| lease.left), Some(seconds(60)), "the cap is whole");
    assert_eq!(told.say(r#"{"lease_s":0}"#).ages().lease, None);
    told.say("X_LUBDUB_PHASE=waiting_rate_limit");
    assert_eq!(told.ages().lease.map(|lease| lease.left), Some(seconds(100)), "not known until");
}

#[test]
fn quiet_stands_while_leased_or_paused() {
    let mut told = Told::new();
    told.say("WATCHDOG=1").wait(7);
    told.clocks.set_paused(true, told.now);
    told.wait(500);
    assert_eq!(told.ages().quiet, seconds(7));
    told.clocks.set_paused(false, told.now);
    told.wait(1).clocks.rebase();
    assert_eq!(told.ages().quiet, seconds(0));
}

#[test]
fn steps_of_two_senders_are_no_turns() {
    let mut told = Told::new();
    for number in 0..3 {
        told.say(r#"{"source":"a","action":"x","result":"1"}"#);
        told.say(r#"{"source":"b","action":"y","result":"2"}"#);
        assert_eq!(told.ages().repeats.same_result, number + 1);
        assert_eq!(told.ages().repeats.period_two, 0);
    }
    told.say(r#"{"source":"a","progress":1}"#).say(r#"{"source":"a","progress":2}"#);
    assert_eq!(told.ages().repeats.same_result, 3, "the work of one is not the other's");
    told.say(r#"{"source":"b","progress":1}"#).say(r#"{"source":"b","progress":2}"#);
    assert_eq!(told.ages().repeats.same_result, 0);
}

#[test]
fn a_check_at_an_interval_is_not_owed_at_night() {
    let mut told = Told::new();
    let hour = Duration::from_secs(3600);
    for (name, due) in
        [("often", Due::Every(hour)), ("daily", Due::Cron("0 3 * * * UTC".to_owned()))]
    {
        let expected = Expected { due, grace: Duration::ZERO };
        told.policy.limits.check.insert(name.to_owned(), expected);
    }
    told.say(r#"{"check":{"name":"often","ok":true}}"#);
    told.say(r#"{"check":{"name":"daily","ok":true}}"#);
    told.clocks.set_resting(true);
    told.wait(3600);
    let ages: Vec<_> = told.ages().checks.into_iter().map(|check| check.age).collect();
    assert_eq!(ages, [hour, Duration::ZERO], "daily by the day, often by the hours awake");
}
