//! The main job of the README, on the example agent.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Daemon, binary, eventually, stat_state};
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/agent.py")
}

fn up(directory: &Path, name: &str, agent: &[&str]) -> Daemon {
    let mut command = Command::new(binary("lubdub"));
    command
        .args(["up", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--state-dir"])
        .arg(directory.join("state"))
        .arg("--")
        .args(agent)
        .env_remove("XDG_RUNTIME_DIR");
    Daemon::start(directory, name, &mut command)
}

/// What `up` printed behind a word.
fn printed(directory: &Path, name: &str, word: &str) -> Option<String> {
    let out = std::fs::read_to_string(directory.join(format!("{name}.out"))).ok()?;
    let prefix = format!("lubdub: {word} ");
    out.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
}

fn status(directory: &Path, name: &str) -> Option<Value> {
    let collector = printed(directory, name, "grpc")?;
    let output = Command::new(binary("lubdub"))
        .args(["status", "-o", "json", "--collector", &collector])
        .output()
        .expect("runs");
    let mut status: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(status["agents"][0].take()).filter(|agent| *agent != Value::Null)
}

#[test]
fn the_example_agent_runs_is_shown_and_its_code_is_passed_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let example = example();
    let example = example.to_str().expect("UTF-8");
    let mut up = up(path, "up", &["python3", example, "--cycles", "14"]);
    let agent = eventually("a shown agent that works", SOON, || {
        let agent = status(path, "up")?;
        (agent["vitals"]["tasks"]["done"].as_u64() > Some(2)).then_some(agent)
    });
    assert_eq!((&agent["agent"], &agent["status"]), (&"agent".into(), &"ok".into()), "{agent:#}");
    assert_eq!(agent["phase"], "working");
    let energy = agent["vitals"]["energy"].as_f64().expect("it declares its energy");
    assert!((0.5..1.0).contains(&energy), "{energy}");
    assert!(agent["vitals"]["memory_bytes"].as_u64() > Some(1 << 20), "{agent:#}");
    assert!(agent["vitals"]["response_ms"]["max"].is_u64(), "{agent:#}");

    let http = printed(path, "up", "http").expect("it prints its HTTP address");
    assert!(http.starts_with("http://127.0.0.1:"), "{http}");
    let socket = printed(path, "up", "socket").expect("it prints the socket");
    assert!(Path::new(&socket).exists(), "{socket}");
    let heartbeat = printed(path, "up", "heartbeat").expect("it prints the heartbeat file");
    let file: Value =
        serde_json::from_slice(&std::fs::read(heartbeat).expect("there")).expect("JSON");
    assert_eq!((&file["v"], &file["agent"]), (&1.into(), &"agent".into()), "{file:#}");
    assert!(file["cycle"].as_u64() > Some(0), "{file:#}");

    assert_eq!(up.wait(SOON * 2).code(), Some(0));
    let out = std::fs::read_to_string(path.join("up.out")).expect("there");
    assert!(out.contains("agent ok (running)"), "{out}");
    assert!(out.contains("read 14 files in 14 cycles"), "the agent's own output: {out}");
    assert!(out.trim_end().ends_with("agent ok (stopped)"), "{out}");
}

#[test]
fn the_agents_failure_is_passed_on_once_its_events_are_stored() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    std::fs::write(path.join("p.toml"), "[policy.default.restart]\non = \"never\"\n")
        .expect("a file");
    let mut command = Command::new(binary("lubdub"));
    command.args(["up", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--policy"]);
    command.arg(path.join("p.toml")).arg("--state-dir").arg(path.join("state"));
    command.args(["--id", "f", "--", "sh", "-c", "exit 9"]);
    let mut up = Daemon::start(path, "up", &mut command);
    assert_eq!(up.wait(SOON).code(), Some(9));
    let out = std::fs::read_to_string(path.join("up.out")).expect("there");
    assert!(out.contains("f critical (failed): crashed: ended with exit code 9"), "{out}");
}

#[test]
fn kill_9_of_up_takes_the_main_process_along_and_leftovers_go_at_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let word = format!("7004.{}", std::process::id());
    let script = format!("setsid sleep {word} & exec sleep {word}1");
    let mut first = up(path, "first", &["sh", "-c", &script]);
    let pid = eventually("a running agent", SOON, || status(path, "first")?["pid"].as_u64());
    let pid = u32::try_from(pid).expect("small");
    let pids = |word: &str| {
        let all = std::fs::read_dir("/proc").expect("/proc");
        let ours = all.filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            line.ends_with(format!("{word}\0").as_bytes()).then_some(pid)
        });
        ours.collect::<Vec<u32>>()
    };
    let leftover = eventually("a descendant", SOON, || pids(&word).first().copied());
    first.signal(Signal::KILL);
    first.wait(SOON);
    eventually("the main process is gone", SOON, || {
        matches!(stat_state(pid), None | Some('Z')).then_some(())
    });
    assert!(stat_state(leftover).is_some(), "what it left behind lives on");

    let _second = up(path, "second", &["sh", "-c", "sleep 1000"]);
    eventually("the leftover is gone", SOON, || {
        matches!(stat_state(leftover), None | Some('Z')).then_some(())
    });
}

#[test]
fn a_reader_that_goes_away_ends_nobody() {
    use std::io::{BufRead as _, BufReader};
    let directory = tempfile::tempdir().expect("a directory");
    let done = directory.path().join("done");
    let script = format!("sleep 2; kill -STOP $$; echo x > {}", done.display());
    let mut up = Command::new(binary("lubdub"))
        .args(["up", "--id", "r", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .arg("--state-dir")
        .arg(directory.path())
        .args(["--", "sh", "-c", &script])
        .env_remove("XDG_RUNTIME_DIR")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(up.stdout.take().expect("a pipe")).lines();
    let running = lines.by_ref().map_while(Result::ok).any(|line| line.contains("(running)"));
    assert!(running);
    drop(lines);
    // A change of status that nobody reads any more: the agent stops itself, and goes on.
    let state = directory.path().join("agents/r/state.json");
    let pid = eventually("its pid", SOON, || {
        let state: Value = serde_json::from_slice(&std::fs::read(&state).ok()?).ok()?;
        state["process"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    });
    eventually("it stops itself", Duration::from_secs(20), || {
        (stat_state(pid) == Some('T')).then_some(())
    });
    harness::never_within("it is ended", Duration::from_secs(3), || {
        stat_state(pid).is_none().then_some(())
    });
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    rustix::process::kill_process(pid, Signal::CONT).expect("it is ours");
    assert_eq!(up.wait().expect("ours").code(), Some(0));
    assert!(done.exists(), "it went on to its own end");
}
