use proptest::prelude::*;

use super::*;

fn lines(text: &str) -> Message {
    parse(text.as_bytes()).expect(text)
}

#[test]
fn sd_notify_keys() {
    for text in
        ["WATCHDOG=1", "WATCHDOG=1\n", "WATCHDOG=1\nX_OTHER_THING=abc\nFDSTORE=1\nno assignment"]
    {
        let beat = Message { beat: true, size: text.len(), ..Message::default() };
        assert_eq!(lines(text), beat);
    }
    let message = lines("READY=1\nSTATUS=up\nMAINPID=42\nBARRIER=1\nRESTART_RESET=1");
    assert!(message.ready && message.barrier && message.restart_reset && !message.beat);
    assert_eq!((message.text.as_deref(), message.main_pid), (Some("up"), Some(42)));
    let message = lines("X_LUBDUB_PHASE=llm\nX_LUBDUB_LEASE_USEC=600000000\nX_LUBDUB_CYCLE=7");
    assert_eq!(message.phase, Some(Phase::Llm));
    assert_eq!(message.lease, Some(Duration::from_secs(600)));
    assert_eq!(message.cycle, Some(7));
    assert_eq!(lines("STOPPING=1").phase, Some(Phase::Stopping));
    assert_eq!(lines("WATCHDOG_USEC=3000000").deadline, Some(Duration::from_secs(3)));
    assert_eq!(lines("X_LUBDUB_ENERGY=0.25").energy, Some(0.25));
    assert_eq!(lines("ERRNO=2").text.as_deref(), Some("errno 2"));
    assert_eq!(lines("STATUS=broken\nERRNO=2").text.as_deref(), Some("broken"));
    assert_eq!(lines("WATCHDOG=trigger").check, Some(trigger(String::new())));
}

#[test]
fn steps_are_hashed_and_keep_the_name_of_their_tool() {
    let step = |text: &str| lines(text).step.expect("a step");
    let deed = |text: &str| step(text).action.expect("an action");
    let (first, second) = (deed(r#"{"action":"bash: ls"}"#), deed(r#"{"action":"bash: ls -l"}"#));
    assert_eq!((first.tool.as_str(), second.tool.as_str()), ("bash", "bash"));
    assert_ne!(first.hash, second.hash);
    assert_eq!(first, deed(r#"{"action":"bash: ls","progress":3}"#));
    let came = step(r#"{"result":"x","error":"y"}"#);
    assert!(came.action.is_none() && came.result.is_some() && came.error.is_some());
    assert_ne!(came.result, came.error);
}

#[test]
fn json_keys() {
    let message = lines(
        r#"{"v":1,"phase":"waiting_rate_limit","until":"2026-11-22T00:00:00Z","provider":"acme",
        "cycle":3,"progress":9,"energy":0.5,"tokens":{"in":10,"out":4},"cost_usd":0.02,
        "task":{"id":"t1","event":"done","ms":1500},"check":{"name":"db","ok":false,"message":"x"},
        "source":"worker","model":"m","status":"busy","vitals":{"queue":4},"new_key":[1,2]}"#,
    );
    assert!(message.beat);
    assert_eq!(message.step, None);
    let until = Wall::parse("2026-11-22T00:00:00Z").map(Until::At);
    assert_eq!((message.phase, message.until), (Some(Phase::WaitingRateLimit), until));
    let took = Some(Duration::from_millis(1500));
    assert_eq!(message.task, Some(Task { id: "t1".to_owned(), step: TaskStep::Done, took }));
    assert_eq!(message.spent, Spent { tokens_in: 10, tokens_out: 4, cost_usd: 0.02 });
    let check = message.check.expect("a check");
    assert_eq!((check.name.as_str(), check.ok, check.trigger), ("db", false, false));
    assert_eq!(message.vitals.get("queue"), Some(&4.0));
    assert_eq!(lines(r#"{"until":90}"#).until, Some(Until::In(Duration::from_secs(90))));
    let failed = lines(r#"{"fail":{"message":"no disk"}}"#).check.expect("a trigger");
    assert_eq!((failed.name.as_str(), failed.trigger), (SELF_CHECK, true));
}

#[test]
fn what_is_dropped_says_why() {
    let table: [(&[u8], &str); 17] = [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"hello", "neither KEY=value nor JSON"),
        (b"WATCHDOG=1\0", "a NUL byte"),
        (b"WATCHDOG_USEC=abc", "WATCHDOG_USEC: not a number of microseconds"),
        (b"WATCHDOG_USEC=-1", "WATCHDOG_USEC: not a number of microseconds"),
        (b"WATCHDOG_USEC=99999999999999999", "WATCHDOG_USEC: too long"),
        (b"X_LUBDUB_PHASE=dancing", "X_LUBDUB_PHASE: no such phase"),
        (b"X_LUBDUB_ENERGY=NaN", "X_LUBDUB_ENERGY: not within 0..1"),
        (b"X_LUBDUB_ENERGY=1.5", "X_LUBDUB_ENERGY: not within 0..1"),
        (b"X_LUBDUB_CYCLE=1.5", "X_LUBDUB_CYCLE: not a whole number"),
        (b"{\"v\":2}", "version 2 of the JSON shape is not known here (1 is)"),
        (b"{\"lease_s\":-1}", "lease_s: not a duration"),
        (b"{\"until\":\"tomorrow\"}", "until: neither seconds nor RFC 3339"),
        (b"{\"task\":{\"id\":\"\",\"event\":\"start\"}}", "task.id: empty"),
        (b"{\"cost_usd\":-1}", "cost_usd: not an amount"),
        (b"EXIT_STATUS=256", "EXIT_STATUS: not 0..255"),
    ];
    for (datagram, why) in table {
        let dropped = parse(datagram).expect_err(why);
        assert_eq!(dropped.to_string(), why, "{}", String::from_utf8_lossy(datagram));
    }
    for json in ["{", "{\"cycle\":\"x\"}", "{\"energy\":1e999}", "{\"task\":1}", "{} {}"] {
        assert!(matches!(parse(json.as_bytes()), Err(Dropped::Json(_))), "{json}");
    }
    assert_eq!(parse(&vec![b'A'; DATAGRAM_LEN_MAX + 1]), Err(Dropped::TooLong));
}

#[test]
fn texts_that_are_not_utf_8_are_kept() {
    let message = parse(b"STATUS=caf\xe9\nWATCHDOG=1").expect("a beat");
    assert!(message.beat);
    assert_eq!(message.text.as_deref(), Some("caf\u{fffd}"));
}

#[test]
fn control_characters_are_replaced_in_texts_and_refused_in_names() {
    let text = lines("STATUS=a\u{1b}[31mb\u{7}").text;
    assert_eq!(text.as_deref(), Some("a\u{fffd}[31mb\u{fffd}"));
    let check = parse(br#"{"check":{"name":"a\u0000b","ok":true}}"#);
    assert_eq!(check, Err(bad("check.name", "a control character")));
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let message = lines(&format!("STATUS=x{}", "é".repeat(300)));
    assert_eq!(message.text.map(|text| text.len()), Some(199));
}

proptest! {
    #[test]
    fn no_datagram_panics(datagram in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(parse(&datagram));
    }

    #[test]
    fn near_misses_of_real_lines_do_not_panic(
        key in "(WATCHDOG|WATCHDOG_USEC|X_LUBDUB_[A-Z]{1,9}|READY|[A-Z_]{1,12})",
        value in "\\PC{0,40}",
    ) {
        drop(parse(format!("{key}={value}").as_bytes()));
    }

    #[test]
    fn near_misses_of_json_do_not_panic(
        key in "(phase|until|lease_s|task|check|energy|tokens|v)",
        value in "(-?[0-9]{1,20}|\"\\PC{0,9}\"|\\{\\}|null|true|\\[\\]|1e99)",
    ) {
        drop(parse(format!("{{\"{key}\":{value}}}").as_bytes()));
    }

    #[test]
    fn order_of_lines_does_not_matter(cycle in any::<u64>(), progress in any::<u64>()) {
        let one = format!("WATCHDOG=1\nX_LUBDUB_CYCLE={cycle}\nX_LUBDUB_PROGRESS={progress}");
        let other = format!("X_LUBDUB_PROGRESS={progress}\nX_LUBDUB_CYCLE={cycle}\nWATCHDOG=1");
        prop_assert_eq!(parse(one.as_bytes()), parse(other.as_bytes()));
    }

    #[test]
    fn numbers_survive(lease in 0_u64..31_000_000_000_000) {
        let message = parse(format!("EXTEND_TIMEOUT_USEC={lease}").as_bytes());
        prop_assert_eq!(message.map(|m| m.lease), Ok(Some(Duration::from_micros(lease))));
    }
}
