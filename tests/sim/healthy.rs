//! Healthy lives that look like stuck ones.

use fastrand::Rng;
use lubdub_shared::policy::{Policy, QuietHours};

use super::script::{
    Doing, Heap, Kind, Script, Steps, Truth, at_work, default, hours, minutes, quiet, seconds,
};

/// Healthy lives.
pub(super) const KINDS: &[Kind] = &[
    healthy("plain work", plain),
    healthy("8 min model call, leased", leased_call),
    healthy("8 min model call, declared", declared_call),
    healthy("8 min quiet call, undeclared (pair of the dead wait)", quiet_call),
    healthy("40 min build", build),
    Kind {
        name: "polls each 5 min, exempt tool",
        found_as: &[],
        ends: false,
        policy: exempt,
        script: polls,
    },
    healthy("rate limit of an hour, and retries", rate_limit),
    healthy("waits 5 h for a person", human),
    healthy("batch of equal items", batch),
    healthy("paginated fetch", pages),
    healthy("two equal errors, then none", stumbles),
    healthy("GC sawtooth near the limit", sawtooth),
    healthy("cache warm-up", warm_up),
    healthy("idle queue over night", idle),
    healthy("idle, wakes each 10 min", reactive),
    healthy("slow start of 4 min", slow_start),
    healthy("GIL-starved for 4 min", starved),
    healthy("host suspended for 8 h", suspended),
    healthy("wall clock +1 h, -1 h, +10 y", clock),
    healthy("CPU famine of watcher and agent", famine),
    Kind {
        name: "sleeps in its quiet hours",
        found_as: &[],
        ends: false,
        policy: night,
        script: sleeps,
    },
    healthy("never beats, works", silent_worker),
    healthy("beats each 2 min", slow_beats),
    healthy("stopped in a debugger for 10 min", debugged),
];

const fn healthy(name: &'static str, script: fn(&mut Rng) -> Script) -> Kind {
    Kind { name, found_as: &[], ends: false, policy: default, script }
}

fn exempt(policy: &mut Policy) {
    policy.limits.looping.exempt.push("poll".to_owned());
}

fn night(policy: &mut Policy) {
    policy.limits.quiet_hours = vec![QuietHours::parse("22:00-06:00 UTC").expect("hours")];
}

/// Between healthy work, this, again and again for some hours.
fn between(rng: &mut Rng, times: u64, mut make: impl FnMut(&mut Rng) -> Doing) -> Script {
    let mut script = Script::healthy(rng);
    for _ in 0..times {
        let doing = make(rng);
        script = script.then(doing);
        let span = minutes(rng.u64(5..30));
        let work = at_work(rng, span);
        script = script.then(work);
    }
    script
}

fn waits(says: &str, span: std::time::Duration) -> Doing {
    Doing { says: vec![says.to_owned()], truth: Truth::Waits, ..quiet(span) }
}

fn plain(rng: &mut Rng) -> Script {
    between(rng, 8, |rng| at_work(rng, minutes(20)))
}

fn leased_call(rng: &mut Rng) -> Script {
    between(rng, 8, |rng| waits(r#"{"phase":"llm","lease_s":600}"#, seconds(rng.u64(400..560))))
}

fn declared_call(rng: &mut Rng) -> Script {
    between(rng, 8, |rng| {
        let says = vec![r#"{"phase":"llm"}"#.to_owned()];
        Doing { says, ..quiet(seconds(rng.u64(420..540))) }
    })
}

fn quiet_call(rng: &mut Rng) -> Script {
    between(rng, 6, |rng| quiet(seconds(rng.u64(420..500))))
}

fn build(rng: &mut Rng) -> Script {
    between(rng, 3, |rng| {
        let says = vec![r#"{"phase":"tool"}"#.to_owned()];
        let (cpu, prints) = (0.5 + rng.f64() * 3.0, Some(seconds(rng.u64(1..120))));
        Doing { says, cpu, prints, ..quiet(minutes(rng.u64(30..45))) }
    })
}

fn polls(rng: &mut Rng) -> Script {
    between(rng, 3, |rng| {
        let says = vec![r#"{"phase":"idle"}"#.to_owned()];
        let steps = Some((minutes(5), Steps::Polls));
        Doing { says, steps, truth: Truth::Waits, ..quiet(minutes(rng.u64(15..90))) }
    })
}

fn rate_limit(rng: &mut Rng) -> Script {
    between(rng, 3, |rng| {
        let wait = rng.u64(600..3600);
        let says = vec![format!(r#"{{"phase":"waiting_rate_limit","until":{wait}}}"#)];
        let steps = Some((seconds(wait / 5), Steps::SameError));
        Doing { says, steps, truth: Truth::Waits, ..quiet(seconds(wait)) }
    })
}

fn human(rng: &mut Rng) -> Script {
    between(rng, 1, |rng| {
        waits(r#"{"phase":"waiting_human","status":"approve?"}"#, minutes(rng.u64(240..360)))
    })
}

fn batch(rng: &mut Rng) -> Script {
    between(rng, 6, |rng| {
        let steps = Some((seconds(20), Steps::Same));
        Doing { steps, works: Some(seconds(20)), ..at_work(rng, minutes(20)) }
    })
}

fn pages(rng: &mut Rng) -> Script {
    between(rng, 6, |rng| {
        let steps = Some((seconds(rng.u64(1..20)), Steps::Pages));
        Doing { steps, works: Some(minutes(8)), ..at_work(rng, minutes(9)) }
    })
}

fn stumbles(rng: &mut Rng) -> Script {
    between(rng, 6, |rng| {
        let steps = Some((seconds(30), Steps::SameError));
        Doing { steps, works: None, ..at_work(rng, seconds(75)) }
    })
}

fn sawtooth(rng: &mut Rng) -> Script {
    let mut script = between(rng, 8, |rng| at_work(rng, minutes(40)));
    let saw = Heap::Saw(500.0, 300.0, seconds(rng.u64(30..900)));
    script.doings.iter_mut().for_each(|doing| doing.heap = saw);
    script.memory_limit = Some(1000.0);
    script
}

fn warm_up(rng: &mut Rng) -> Script {
    let minutes_full = rng.u64(5..20);
    let mut script = Script::default();
    let mut first = at_work(rng, minutes(minutes_full));
    first.says.insert(0, "READY=1".to_owned());
    #[expect(clippy::cast_precision_loss, reason = "minutes")]
    let rate = 500.0 / minutes_full as f64;
    first.heap = Heap::Grows(300.0, rate);
    let full = Doing { heap: Heap::Flat(800.0), ..at_work(rng, hours(4)) };
    script = script.then(first).then(full);
    script.memory_limit = Some(1000.0);
    script
}

fn idle(rng: &mut Rng) -> Script {
    between(rng, 1, |rng| waits(r#"{"phase":"idle"}"#, hours(rng.u64(6..12))))
}

fn reactive(rng: &mut Rng) -> Script {
    let mut script = Script::healthy(rng);
    for _ in 0..20 {
        let rest = waits(r#"{"phase":"idle"}"#, minutes(10));
        let turn = at_work(rng, seconds(40));
        script = script.then(rest).then(turn);
    }
    script
}

fn slow_start(rng: &mut Rng) -> Script {
    let span = seconds(rng.u64(180..280));
    let start = waits(r#"{"phase":"starting"}"#, span);
    let mut work = at_work(rng, hours(3));
    work.says.insert(0, "READY=1".to_owned());
    Script::default().then(Doing { answers: false, ..start }).then(work)
}

fn starved(rng: &mut Rng) -> Script {
    between(rng, 5, |rng| {
        let span = seconds(rng.u64(120..260));
        Doing { cpu: 1.0, answers: false, ..quiet(span) }
    })
}

fn suspended(rng: &mut Rng) -> Script {
    between(rng, 1, |rng| {
        let span = hours(rng.u64(7..9));
        Doing { suspended: true, answers: false, truth: Truth::Waits, ..quiet(span) }
    })
}

fn clock(rng: &mut Rng) -> Script {
    let mut script = between(rng, 6, |rng| at_work(rng, minutes(20)));
    for (number, step) in (1..).zip(["+3600", "-3600", "+315576000"]) {
        script.doings[number * 2].says.push(format!("wall {step}"));
    }
    script
}

fn famine(rng: &mut Rng) -> Script {
    between(rng, 5, |rng| {
        let most = seconds(rng.u64(2..60));
        Doing { famine: most, ..at_work(rng, minutes(20)) }
    })
}

fn sleeps(rng: &mut Rng) -> Script {
    // It is midnight; it wakes at six, and sleeps again at ten in the evening.
    let night = Doing { truth: Truth::Waits, ..quiet(seconds(6 * 3600 - 60)) };
    let mut first = at_work(rng, seconds(60));
    first.says.insert(0, "READY=1".to_owned());
    let day = at_work(rng, hours(16));
    let rest = Doing { truth: Truth::Waits, ..quiet(hours(5)) };
    Script::default().then(first).then(night).then(day).then(rest)
}

fn silent_worker(rng: &mut Rng) -> Script {
    let mut script = between(rng, 8, |rng| at_work(rng, minutes(20)));
    for doing in &mut script.doings {
        (doing.beats, doing.works) = (None, None);
        doing.says.clear();
    }
    script
}

fn slow_beats(rng: &mut Rng) -> Script {
    let mut script = between(rng, 8, |rng| at_work(rng, minutes(20)));
    for doing in &mut script.doings {
        (doing.beats, doing.works) = (Some(seconds(120)), None);
        doing.says.clear();
    }
    script
}

fn debugged(rng: &mut Rng) -> Script {
    between(rng, 2, |rng| {
        let span = minutes(rng.u64(5..15));
        Doing { paused: true, answers: false, truth: Truth::Waits, ..quiet(span) }
    })
}
