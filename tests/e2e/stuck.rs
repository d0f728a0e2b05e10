//! Ways to be stuck, and lives that look like them, on real processes.

use std::time::Duration;

use harness::{World, binary, eventually, never_within};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

fn restarted(world: &World, id: &str) -> Option<Value> {
    let agent = world.agent(id);
    (agent["incarnation"].as_u64() > Some(1)).then_some(agent)
}

fn finding(world: &World, id: &str, cause: &str) -> Option<Value> {
    let agent = world.agent(id);
    let findings = agent["findings"].as_array().cloned().unwrap_or_default();
    findings.into_iter().find(|finding| finding["cause"] == cause)
}

#[test]
fn a_deadlock_behind_a_beating_thread_is_found_and_restarted() {
    let world = World::under("progress_window = \"4s\"\n");
    let _sidecar = world.toy(
        "d",
        &["say:{\"phase\":\"working\"}", "work:200ms:2s", "1/deadlock:200ms", "work:200ms:10m"],
    );
    let frozen = eventually("frozen progress", SOON, || finding(&world, "d", "no_progress"));
    assert_eq!(frozen["level"], "warning", "{frozen:#}");
    let agent = world.agent("d");
    // The fault happened: beats go on, and the main thread waits for a lock.
    let pid = agent["pid"].as_u64().expect("it runs");
    let wchan = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    let syscall = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    assert!(wchan.contains("futex") || syscall.starts_with("202 "), "{wchan:?} {syscall:?}");
    let shown = || String::from_utf8_lossy(&world.lubdub(&["show", "d"]).stdout).into_owned();
    assert!(shown().contains("beats"), "{}", shown());
    let healed = eventually("a second life", SOON, || restarted(&world, "d"));
    assert_eq!(healed["incarnation"], 2);
    let incidents = world.incidents("d");
    assert_eq!(incidents[0]["cause"], "no_progress", "{incidents:#?}");
    let why = incidents[0]["summary"].as_str().expect("a summary");
    assert!(why.contains("no activity either"), "its beats are no activity: {why}");
    world.until("d", "status", "ok", SOON);
}

#[test]
fn beats_and_polls_over_http_are_no_activity() {
    let world = World::under("progress_window = \"4s\"\n");
    // Node writes its sockets with write(2), which the kernel counts as output of the process.
    let script = r#"
const http = require('http');
const ask = (method, path, body) => new Promise((done) => {
  const options = { socketPath: process.env.LUBDUB_HTTP, method, path };
  const request = http.request(options, (answer) => { answer.resume(); answer.on('end', done); });
  request.on('error', done);
  request.end(body);
});
const beat = (more) => ask('POST', '/v1/beat', JSON.stringify({ phase: 'working', ...more }));
const stuck = process.env.LUBDUB_INCARNATION === '1';
let progress = 0;
setInterval(() => beat(stuck && progress > 5 ? {} : { progress: ++progress }), 500);
(async () => { for (;;) await ask('GET', '/v1/commands?wait=1'); })();
"#;
    let _sidecar = world.sidecar("n", &["node", "-e", script]);
    eventually("frozen progress", SOON, || finding(&world, "n", "no_progress"));
    let healed = eventually("a second life", SOON, || restarted(&world, "n"));
    assert_eq!(healed["incarnation"], 2);
    let why = world.incidents("n")[0]["summary"].to_string();
    assert!(why.contains("no activity either"), "its own door is no output: {why}");
    world.until("n", "status", "ok", SOON);
}

#[test]
fn a_counter_that_never_moves_is_told() {
    let world = World::under("progress_window = \"3s\"\n");
    let step = "again:300ms:10m:{\"phase\":\"working\",\"progress\":5}";
    let _sidecar = world.toy("f", &[step]);
    let found = eventually("a first step that hangs", SOON, || finding(&world, "f", "no_progress"));
    let detail = found["detail"].as_str().expect("words");
    assert!(detail.starts_with("its counter never moved"), "{detail}");
    never_within("restarted", Duration::from_secs(5), || restarted(&world, "f"));
    assert_eq!(world.agent("f")["status"], "warning", "it was never seen to work");
}

#[test]
fn a_loop_of_identical_tool_calls_is_nudged_and_never_restarted() {
    let world = World::new("");
    let toy = binary("toy_agent");
    let step = "again:300ms:10m:{\"action\":\"bash: ls\",\"result\":\"a.txt\"}";
    let told = world.path().join("nudged");
    let hook = format!(
        "[hooks]\nnudge = [\"sh\", \"-c\", \"echo $LUBDUB_CAUSE $LUBDUB_PID >> {}\"]\n",
        told.display()
    );
    let command = [toy.to_str().expect("UTF-8"), "beat:200ms:1s", step];
    let _sidecar = world.sidecar_with("l", &hook, &command);
    let looping = eventually("a loop", SOON, || finding(&world, "l", "looping"));
    assert_eq!(looping["level"], "warning", "{looping:#}");
    let line = eventually("a nudge", SOON, || {
        std::fs::read_to_string(&told).ok().filter(|text| text.contains("looping"))
    });
    let pid = world.agent("l")["pid"].to_string();
    assert_eq!(line.trim(), format!("looping {pid}"), "the hook knows whom");
    let actions = eventually("a nudge that was taken", SOON, || {
        let actions = world.incidents("l")[0]["actions"].clone();
        (actions[0]["outcome"] == "done").then_some(actions)
    });
    assert_eq!(actions[0]["kind"], "nudge", "{actions:#}");
    never_within("restarted", Duration::from_secs(6), || restarted(&world, "l"));
    assert_eq!(std::fs::read_to_string(&told).expect("a file").lines().count(), 1, "told once");
}

#[test]
fn a_call_of_twenty_seconds_under_a_lease_is_no_hang_at_a_deadline_of_three() {
    let world = World::new("");
    let _sidecar = world.toy(
        "c",
        &[
            "beat:200ms:1s",
            "say:{\"phase\":\"llm\",\"lease_s\":30}",
            "sleep:20s",
            "say:{\"phase\":\"working\",\"status\":\"the call is over\"}",
            "beat:200ms:10m",
        ],
    );
    world.until("c", "phase", "llm", SOON);
    let accused = || {
        let agent = world.agent("c");
        (agent["status"] != "ok").then_some(agent)
    };
    never_within("accused", Duration::from_secs(19), accused);
    world.until("c", "phase", "working", SOON);
    assert_eq!(world.agent("c")["incarnation"], 1);
    assert_eq!(world.incidents("c").len(), 0);
}

#[test]
fn who_waits_for_a_person_is_told_of_and_left_alone() {
    let world = World::under("human_after = \"2s\"\n");
    let _sidecar = world.toy(
        "h",
        &[
            "beat:200ms:1s",
            "say:{\"phase\":\"waiting_human\",\"status\":\"approve the plan\"}",
            "sleep:15s",
            "say:{\"phase\":\"working\"}",
            "beat:200ms:10m",
        ],
    );
    let waits = eventually("a person is needed", SOON, || finding(&world, "h", "waiting_human"));
    assert_eq!(waits["level"], "warning", "{waits:#}");
    let detail = waits["detail"].as_str().expect("words");
    assert!(detail.starts_with("needs you") && detail.ends_with("approve the plan"), "{detail}");
    never_within("restarted", Duration::from_secs(9), || restarted(&world, "h"));
    world.until("h", "status", "ok", SOON);
    let incidents = world.incidents("h");
    let seen = (&incidents[0]["cause"], &incidents[0]["status"], incidents.len());
    assert_eq!(seen, (&"waiting_human".into(), &"resolved".into(), 1));
    assert_eq!(incidents[0]["actions"], Value::Array(Vec::new()), "nobody acted");
}

#[test]
fn tokens_that_bring_no_progress_are_told() {
    let world = World::under("energy.burn_tokens = 1000\n");
    let burn = "again:200ms:10m:{\"tokens\":{\"in\":100,\"out\":10}}";
    let _sidecar = world.toy("b", &["say:{\"phase\":\"working\"}", "work:200ms:1s", burn]);
    let burnt = eventually("a burn", SOON, || finding(&world, "b", "burn_without_progress"));
    assert_eq!(burnt["level"], "warning", "{burnt:#}");
    let explained = world.json(&["explain", "b"]);
    let tokens = explained["findings"][0]["evidence"]["tokens"].as_str().expect("a number");
    assert!(tokens.parse::<u64>().expect("a number") >= 1000, "{explained:#}");
    let configured = &explained["configured"];
    assert_eq!(configured["policy.default.energy.burn_tokens"], "1000", "{configured:#}");
    never_within("restarted", Duration::from_secs(4), || restarted(&world, "b"));
}

#[test]
fn a_leak_is_told_on_its_way_to_the_limit() {
    let limits = "memory.limit = \"400MiB\"\nmemory.window = \"3s\"\n";
    let world = World::under(limits);
    let _sidecar = world.toy("m", &["beat:200ms:1s", "leak:4:250ms:30s", "beat:200ms:10m"]);
    let leak =
        eventually("a leak", Duration::from_secs(40), || finding(&world, "m", "memory_leak"));
    assert_eq!(leak["level"], "warning", "{leak:#}");
    let memory = world.agent("m")["vitals"]["memory_bytes"].as_u64().expect("memory");
    assert!(memory > 250 << 20, "the fault happened: {memory}");
    let high =
        eventually("high memory", Duration::from_secs(40), || finding(&world, "m", "memory_high"));
    assert!(high["detail"].as_str().expect("words").contains("of 400 MiB"), "{high:#}");
    assert_eq!(restarted(&world, "m"), None, "a slope alone restarts nobody");
}
