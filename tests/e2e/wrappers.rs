//! Agents behind wrappers, as people start them: the last process of a chain beats and hangs, and
//! the whole chain ends with it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::{Daemon, World, eventually, stat_state};
use serde_json::Value;

use crate::clients::python;
use crate::tree::children_of;

const SOON: Duration = Duration::from_secs(30);

/// Eight beats in the first life, and then silence; later lives beat on.
const PYTHON_AGENT: &str = "
import itertools, os, socket, time
door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
first = os.environ['LUBDUB_INCARNATION'] == '1'
for _ in range(8) if first else itertools.count():
    door.sendto(b'WATCHDOG=1', os.environ['NOTIFY_SOCKET'])
    time.sleep(0.3)
time.sleep(1000)
";

/// The same. Node has no datagram sockets of that family: it beats through the HTTP door.
const NODE_AGENT: &str = "#!/usr/bin/env node
const http = require('http');
let left = process.env.LUBDUB_INCARNATION === '1' ? 8 : Infinity;
const beat = () => {
  const options = { socketPath: process.env.LUBDUB_HTTP, path: '/v1/beat', method: 'POST' };
  http.request(options, (answer) => answer.resume()).end('{\"v\":1}');
  if (--left > 0) setTimeout(beat, 300);
  else setTimeout(() => {}, 1e9);
};
beat();
";

const PACKAGE: &str = r#"{"name": "agent", "version": "1.0.0", "bin": "agent.js",
    "scripts": {"agent": "node agent.js"}}"#;

/// A program that `tests/run.sh` put beside the tests' Python.
fn installed(name: &str) -> String {
    python().with_file_name(name).display().to_string()
}

/// Everybody below a process.
fn descendants(pid: u32) -> Vec<u32> {
    let children = children_of(pid).into_iter().filter(|(_, state)| *state != 'Z');
    children.flat_map(|(child, _)| [vec![child], descendants(child)].concat()).collect()
}

fn are_gone(pids: &[u32]) -> bool {
    pids.iter().all(|pid| matches!(stat_state(*pid), None | Some('Z')))
}

/// The chain is found silent, is restarted as a whole, and nothing of it survives its stop.
/// `links`: processes that the chain has at least.
fn ends_as_one(id: &str, links: usize, command: &[&str]) {
    let world = World::new("");
    let put = |name: &str, text: &str| fs::write(world.path().join(name), text).expect("written");
    put("agent.py", PYTHON_AGENT);
    put("agent.js", NODE_AGENT);
    put("package.json", PACKAGE);
    let mut sidecar = world.sidecar_command(world.grpc(), id);
    sidecar.arg("--").args(command).current_dir(world.path());
    for (name, value) in offline(world.path()) {
        sidecar.env(name, value);
    }
    let sidecar = Daemon::start(world.path(), id, &mut sidecar);

    // The last of the chain has beaten: all of it is there.
    let chain = |life: u64| {
        eventually("a beat of this life", SOON, || {
            let file = fs::read(world.state(id).join("heartbeat.json")).ok()?;
            let beat: Value = serde_json::from_slice(&file).expect("replaced as a whole");
            (beat["incarnation"] == life).then_some(())
        });
        let chain = descendants(sidecar.pid());
        assert!(chain.len() >= links, "{links} at least: {chain:?}");
        chain
    };
    let first = chain(1);
    let found = world.until(id, "status", "critical", SOON);
    assert_eq!(found["findings"][0]["cause"], "silent", "it beat, and stopped: {found:#}");
    eventually("a new life", SOON, || (world.agent(id)["incarnation"] == 2).then_some(()));
    assert!(are_gone(&first), "survivors of the first life: {first:?}");

    world.until(id, "status", "ok", SOON);
    let second = chain(2);
    let asked = world.lubdub(&["stop", id, "--reason", "test", "--wait"]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    assert!(are_gone(&second), "survivors of the second: {second:?}");
    assert_eq!(descendants(sidecar.pid()), Vec::<u32>::new());
}

/// The wrappers ask nobody and write nowhere else.
fn offline(home: &Path) -> [(&'static str, String); 5] {
    [
        ("UV_OFFLINE", "1".to_owned()),
        ("UV_CACHE_DIR", home.join("uv").display().to_string()),
        ("npm_config_offline", "true".to_owned()),
        ("npm_config_update_notifier", "false".to_owned()),
        ("npm_config_cache", home.join("npm").display().to_string()),
    ]
}

#[test]
fn a_shell_npm_and_node() {
    ends_as_one("n", 5, &["sh", "-c", &format!("{} run agent; exit $?", installed("npm"))]);
}

#[test]
fn npm_exec() {
    ends_as_one("x", 3, &[&installed("npm"), "exec", "--", "agent"]);
}

#[test]
fn uv_run() {
    let python = python().display().to_string();
    let words = ["run", "--no-project", "--python", &python, "agent.py"];
    ends_as_one("u", 2, &[[installed("uv").as_str()].as_slice(), &words].concat());
}
