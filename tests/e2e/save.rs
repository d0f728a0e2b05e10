//! Compare-and-kill: what the agent did between the decision and the act counts.

use std::time::Duration;

use harness::{Proxy, World, eventually};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

/// Says one datagram, and waits until it was heard.
const SAY: &str = "import os, socket, sys\n\
    door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
    read, write = os.pipe()\n\
    to = os.environ['NOTIFY_SOCKET']\n\
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, write.to_bytes(4, sys.byteorder))]\n\
    door.sendmsg([sys.argv[1].encode()], rights, 0, to)\n\
    os.close(write)\n\
    os.read(read, 1)\n";

/// Lets the collector decide on a restart whose command is held on its way; then lets the agent
/// speak, which `counter` of its heartbeat file shows; then lets the command go. Returns the agent
/// and its incident afterwards.
fn decide_then_speak(world: &World, steps: &[&str], word: &str, counter: &str) -> (Value, Value) {
    let proxy = Proxy::before(world.grpc());
    let toy = harness::binary("toy_agent");
    let mut command = vec![toy.to_str().expect("UTF-8")];
    command.extend(steps);
    let _sidecar = world.sidecar_via(proxy.address(), "p", &command);
    world.until("p", "lifecycle", "running", SOON);
    proxy.hold_down();
    let actions =
        || world.incidents("p").first().cloned().filter(|i| i["actions"][0] != Value::Null);
    let decided = eventually("a decision", SOON, actions);
    assert_eq!(decided["actions"][0]["outcome"], "accepted", "{decided:#}");
    eventually("a held command", SOON, || (proxy.held_bytes() > 0).then_some(()));

    let heard = || {
        let text = std::fs::read_to_string(world.state("p").join("heartbeat.json")).ok()?;
        serde_json::from_str::<Value>(&text).ok()?[counter].as_u64()
    };
    let before = heard();
    let mut voice = world.as_member("p", "python3");
    let said = voice.arg("-c").arg(SAY).arg(word).status().expect("python3 runs");
    assert!(said.success());
    // What the agent said has arrived before the command is let go.
    eventually("the word was heard", SOON, || (heard() > before).then_some(()));
    proxy.release();
    let ended = eventually("an answer", SOON, || {
        actions().filter(|incident| incident["actions"][0]["outcome"] != "accepted")
    });
    (world.agent("p"), ended)
}

#[test]
fn a_beat_that_comes_after_the_decision_cancels_the_restart() {
    let world = World::new("");
    let (agent, incident) =
        decide_then_speak(&world, &["beat:200ms:1s", "hang"], "WATCHDOG=1", "seq");
    assert_eq!(incident["actions"][0]["outcome"], "refused", "{incident:#}");
    let detail = incident["actions"][0]["detail"].as_str().expect("words");
    assert!(detail.contains("precondition_failed: 1 newer beat"), "{detail}");
    assert_eq!(agent["incarnation"], 1, "nobody was restarted");
    assert_eq!(agent["restarts"]["used"], 0);
}

#[test]
fn progress_that_comes_after_the_decision_cancels_the_restart() {
    let steps = ["say:{\"phase\":\"working\",\"progress\":1}", "work:200ms:1s", "beat:300ms:10m"];
    let policy = "[policy.work]\nprogress_window = \"2s\"\n\
                  [[assign]]\nagents = [\"p\"]\npolicy = \"work\"\n";
    let world = World::new(policy);
    let (agent, incident) =
        decide_then_speak(&world, &steps, "{\"v\":1,\"progress\":99}", "progress");
    assert_eq!(incident["cause"], "no_progress", "{incident:#}");
    assert_eq!(incident["actions"][0]["outcome"], "refused", "{incident:#}");
    let detail = incident["actions"][0]["detail"].as_str().expect("words");
    assert!(detail.contains("precondition_failed: progress moved"), "{detail}");
    assert_eq!(agent["incarnation"], 1, "nobody was restarted");
}
