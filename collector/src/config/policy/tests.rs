use lubdub_shared::strict_toml;

use super::*;

fn policies(text: &str) -> Result<Policies, String> {
    let file: PolicyFile = strict_toml::parse("p.toml", text).map_err(|e| e.to_string())?;
    Policies::new("p.toml", file.policy, file.assign).map_err(|e| e.to_string())
}

fn refused(text: &str) -> String {
    policies(text).expect_err(text)
}

#[test]
fn policies_inherit_key_by_key() {
    let policies = policies(
        r#"
        [policy.default]
        heartbeat_deadline = "60s"
        expect_beats = true
        [policy.default.phase]
        llm = "20m"
        [policy.night]
        mode = "shadow"
        [policy.night.phase]
        tool = "none"
        [policy.night.restart]
        delay = { initial = "1s" }
        exhausted = "quarantine"
        stop_signal = "INT"
        [[assign]]
        agents = ["night-*", "*-late-*"]
        policy = "night"
        [[assign]]
        labels = { team = "red" }
        policy = "night"
        "#,
    )
    .expect("valid");
    let of = |id: &str, team: &str| {
        let labels = BTreeMap::from([("team".to_owned(), team.to_owned())]);
        policies.of(&id.parse().expect("an id"), &labels)
    };
    let night = of("night-7", "");
    assert_eq!(night.name, "night");
    assert_eq!(night.heartbeat_deadline, Duration::from_secs(60));
    assert_eq!((night.mode, night.expect_beats), (Mode::Shadow, ExpectBeats::Always));
    assert_eq!(night.phase[&Phase::Llm], Some(Duration::from_secs(1200)));
    assert_eq!(night.phase[&Phase::Tool], None);
    assert_eq!(night.restart.delay.initial, Duration::from_secs(1));
    assert_eq!((night.restart.delay.factor, night.restart.stop_signal), (2.0, 2));
    assert_eq!(of("my-late-shift", "").name, "night");
    assert_eq!(of("x", "red").name, "night");
    assert_eq!(of("my-night-7", "blue").name, "default");
}

#[test]
fn mistakes_are_refused_with_their_place() {
    let table = [
        (
            "[policy.default]\nhartbeat_deadline = \"1s\"",
            "p.toml:2: unknown key `hartbeat_deadline`; did you mean `heartbeat_deadline`?",
        ),
        (
            "[policy.default]\nmode = \"enforced\"",
            "p.toml:2: policy.default.mode: unknown value `enforced`; did you mean `enforce`?",
        ),
        (
            "[policy.default.act]\nsilent = \"restrat\"",
            "p.toml:2: policy.default.act.silent: unknown value `restrat`; did you mean `restart`?",
        ),
        (
            "[policy.default.act]\nunreachable = \"restart\"",
            "p.toml: [policy.default] act.unreachable = \"restart\": this cause can lead to \
             \"notify\" at most",
        ),
        (
            "[policy.default.act]\nlooping = \"restart\"",
            "p.toml: [policy.default] act.looping = \"restart\": this cause can lead to \"nudge\" \
             at most",
        ),
        (
            "[policy.x.loop]\nsame_result = 11",
            "p.toml: [policy.x] loop.same_result = 11 can never be reached while an agent waits: \
             doubled it is more than the 20 steps that are remembered",
        ),
        (
            "[policy.x]\nquiet_hours = [\"22:00-06:00 Europe/Berlim\"]",
            "p.toml: [policy.x] quiet_hours: \"Europe/Berlim\" is not known as a time zone; names \
             are like Europe/Berlin",
        ),
        (
            "[policy.x.check.backup]\ngrace = \"1m\"",
            "p.toml: [policy.x] check.backup has neither every nor cron",
        ),
        (
            "[policy.x.check.leap]\ncron = \"0 0 30 2 * UTC\"",
            "p.toml: [policy.x] check.leap.cron = \"0 0 30 2 * UTC\" never comes",
        ),
        (
            "[policy.x.memory]\nlimit = \"2 gigs\"",
            "p.toml:2: policy.x.memory.limit: \"2 gigs\" is no amount such as 512MiB or 2GiB",
        ),
        ("[policy.x.energy]\ngone = 0.5", "p.toml: [policy.x] energy.gone is above energy.low"),
        (
            "[policy.x]\nheartbeat_deadline = \"200ms\"",
            "p.toml: [policy.x] heartbeat_deadline is below 1s, the least that a sidecar can tell",
        ),
        (
            "[policy.x.restart]\nattempts = 30",
            "p.toml: [policy.x] restart.attempts can never be reached: restart.per_day_max is \
             below it",
        ),
        (
            "[policy.night]\n[[assign]]\nagents = [\"*\"]\npolicy = \"nigth\"",
            "p.toml: [[assign]] number 1: there is no policy \"nigth\"; did you mean \"night\"?",
        ),
        ("[fleet]\nx = 1", "p.toml:1: unknown key `fleet`; known here: policy, assign"),
    ];
    for (text, why) in table {
        assert_eq!(refused(text), why);
    }
    for key in ["expect_beats = \"yes\"", "failures_before_critical = 0"] {
        let name = key.split(' ').next().expect("a name");
        let why = refused(&format!("[policy.default]\n{key}"));
        assert!(why.starts_with(&format!("p.toml:2: policy.default.{name}: ")), "{why}");
    }
}

#[test]
fn counts_are_bounded() {
    let table = [
        ("failures_before_critical = 1001", "above 1000"),
        ("restart.per_day_max = 1000001", "above 1000000"),
        ("restart.attempts = 2000000\nrestart.per_day_max = 2000000", "above 1000000"),
    ];
    for (key, why) in table {
        let refused = refused(&format!("[policy.default]\n{key}"));
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn globs() {
    let table = [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "anything", true),
        ("a*", "ab", true),
        ("*b", "ab", true),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abde", false),
        ("ab*b", "ab", false),
    ];
    for (glob, id, holds) in table {
        assert_eq!(glob_holds(glob, &id.parse().expect("an id")), holds, "{glob} {id}");
    }
}
