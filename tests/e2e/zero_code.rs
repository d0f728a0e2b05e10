//! Agents that know nothing of us: what shows that they work, and what does not.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use harness::{World, eventually, pass};

const SOON: Duration = Duration::from_secs(30);

fn has(world: &World, agent: &str, cause: &str) -> bool {
    let agent = world.agent(agent);
    let findings = agent["findings"].as_array().cloned().unwrap_or_default();
    findings.iter().any(|finding| finding["cause"] == cause)
}

#[test]
fn a_long_answer_that_is_read_from_the_network_is_activity() {
    let world = World::under("inactive_after = \"8s\"\n");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    // recv(2) shows neither in /proc/PID/io nor, at this pace, as CPU time.
    let script = format!(
        "import socket\ns = socket.create_connection((\"127.0.0.1\", {port}))\n\
         while s.recv(65536): pass\nimport time\ntime.sleep(1000)"
    );
    let _sidecar = world.sidecar("n", &["python3", "-c", &script]);
    let (mut answer, _) = listener.accept().expect("the agent");
    world.until("n", "lifecycle", "running", SOON);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(16) {
        answer.write_all(&[b'x'; 1500]).expect("it reads");
        assert!(!has(&world, "n", "inactive"), "after {:?}", began.elapsed());
        pass(Duration::from_millis(250));
    }
    // Nothing more comes: now it is what it looks like. The other end stays open.
    eventually("it is inactive", SOON, || has(&world, "n", "inactive").then_some(()));
}

#[test]
fn a_transcript_shows_progress_and_a_loop() {
    let world = World::new("");
    let session = world.path().join("session.jsonl");
    let script = world.path().join("agent.py");
    std::fs::write(
        &script,
        r#"
import json, sys, time
path = sys.argv[1]
def write(entry):
    with open(path, "a") as file:
        file.write(json.dumps(entry) + "\n")
def step(n, command, result):
    use = {"type": "tool_use", "id": f"t{n}", "name": "Bash", "input": {"command": command}}
    write({"type": "assistant", "message": {"content": [use]}})
    got = {"type": "tool_result", "tool_use_id": f"t{n}", "content": result}
    write({"type": "user", "message": {"content": [got]}})
for n in range(8):
    step(n, f"ls {n}", str(n))
    time.sleep(0.5)
for n in range(100, 130):
    step(n, "make test", "3 failed")
    time.sleep(0.5)
time.sleep(1000)
"#,
    )
    .expect("a script");
    let file = format!("transcript = \"{}/*.jsonl\"\n", world.path().display());
    let words = [script.to_str().expect("UTF-8"), session.to_str().expect("UTF-8")];
    let _sidecar = world.sidecar_with("t", &file, &["python3", words[0], words[1]]);
    eventually("eight different steps", SOON, || {
        let lines = std::fs::read_to_string(&session).unwrap_or_default();
        assert!(lines.contains("make test") || !has(&world, "t", "looping"), "{lines}");
        lines.contains("make test").then_some(())
    });
    eventually("the loop is found", SOON, || has(&world, "t", "looping").then_some(()));
    let shown = world.json(&["explain", "t"]).to_string();
    assert!(shown.contains("same_result"), "{shown}");
}
