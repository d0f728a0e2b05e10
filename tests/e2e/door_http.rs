//! The HTTP door, as curl, Node and Python use it.

use std::path::PathBuf;
use std::time::Duration;

use harness::{World, eventually};

const SOON: Duration = Duration::from_secs(20);

fn door<'a>(world: &'a World, id: &'a str) -> Tools<'a> {
    let door = world.state(id).join("http.sock");
    eventually("a door", SOON, || door.exists().then_some(()));
    Tools { world, id, door }
}

/// An agent's own tools.
struct Tools<'a> {
    world: &'a World,
    id: &'a str,
    door: PathBuf,
}

/// What curl prints, and the status code.
fn curl(Tools { world, id, door }: &Tools<'_>, path: &str, more: &[&str]) -> (u16, String) {
    let url = format!("http://agent{path}");
    let output = world
        .as_member(id, "curl")
        .args(["-sS", "--max-time", "40", "-w", "\n%{http_code}", "--unix-socket"])
        .arg(door)
        .args(more)
        .arg(url)
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
    (code.parse().expect("a status code"), body.to_owned())
}

#[test]
fn curl_beats_pings_and_is_told_what_is_wrong() {
    let world = World::under("heartbeat_deadline = \"20s\"\n");
    let _sidecar = world.toy("c", &["hang"]);
    let door = door(&world, "c");
    for number in 1..=3 {
        let body = format!("{{\"v\":1,\"progress\":{number},\"phase\":\"working\"}}");
        assert_eq!(curl(&door, "/v1/beat", &["-d", &body]), (200, "OK\n".to_owned()));
    }
    world.until("c", "phase", "working", SOON);
    let failed = || {
        let agent = world.agent("c");
        (agent["findings"][0]["cause"] == "reported_failure").then_some(agent)
    };
    for path in ["/ping/db/fail", "/ping/db/7"] {
        assert_eq!(curl(&door, path, &["-d", "no route"]).0, 200, "{path}");
        let agent = eventually("a failed check", SOON, failed);
        let detail = agent["findings"][0]["detail"].as_str().expect("words").to_owned();
        assert!(detail.contains("check db failed") && detail.contains("no route"), "{detail}");
        assert_eq!(curl(&door, "/ping/db", &[]).0, 200);
        world.until("c", "status", "ok", SOON);
    }
    assert_eq!(curl(&door, "/ping/job/start", &[]).0, 200);
    let open = |count: u64| {
        eventually("open tasks", SOON, || {
            (world.agent("c")["vitals"]["tasks"]["open"] == count).then_some(())
        });
    };
    open(1);
    assert_eq!(curl(&door, "/ping/job", &["-I"]).0, 200, "HEAD");
    open(0);
    assert_eq!(world.agent("c")["vitals"]["tasks"]["done"], 1);

    // What a script prints may be long: its ping counts all the same.
    let printed = world.path().join("printed");
    std::fs::write(&printed, "x".repeat(3_000_000)).expect("a file");
    let printed = format!("@{}", printed.display());
    assert_eq!(curl(&door, "/ping/backup/1", &["--data-binary", &printed]).0, 200);
    eventually("its failure", SOON, || {
        world.agent("c")["findings"].to_string().contains("check backup").then_some(())
    });
    assert_eq!(curl(&door, "/ping/backup", &[]).0, 200);

    let long = format!("{{\"status\":\"{}\"}}", "x".repeat(100_000));
    std::fs::write(world.path().join("long"), long).expect("a file");
    let from_file = format!("@{}", world.path().join("long").display());
    for (path, more, code, why) in [
        ("/v1/beat", vec!["-d", "{\"energy\":7}"], 400, "energy: not within 0..1"),
        ("/v1/beat", vec!["-d", "WATCHDOG=1"], 400, "not a JSON object"),
        ("/v1/beat", vec!["-d", from_file.as_str()], 413, "\"status\":413"),
        ("/v1/beat", vec![], 405, "no such method"),
        ("/v2/beat", vec!["-d", "{}"], 404, "no such path"),
        ("/ping/db/later", vec![], 400, "not /ping"),
        ("/v1/commands?wait=soon", vec![], 400, "\"status\":400"),
        ("/v1/commands", vec!["-I"], 405, ""),
        ("/ping/256", vec![], 400, "not /ping"),
        ("/ping/%1b%5B31m", vec![], 400, "control character"),
        ("/ping", vec!["-X", "DELETE"], 405, "no such method"),
        ("/v1/commands/7", vec!["-d", ""], 400, "not the id"),
    ] {
        let (found, body) = curl(&door, path, &more);
        assert_eq!(found, code, "{path}: {body}");
        assert!(body.contains(why), "{path}: {body}");
    }
    let (code, body) = curl(&door, "/v1/commands?wait=0.2", &[]);
    assert_eq!((code, body.as_str()), (200, r#"{"v":1,"commands":[]}"#), "nothing is asked");
}

/// Beats, polls, takes what it is asked, and ends when it is told to stop.
fn polls(world: &World, id: &str, command: &[&str]) {
    let mut sidecar = world.sidecar(id, command);
    eventually("an agent that beats", SOON, || {
        (world.agent(id)["phase"] == "working").then_some(())
    });
    let nudged = eventually("a nudge that is taken", SOON, || {
        let output = world.lubdub(&["nudge", id, "--reason", "wake up", "--wait", "-o", "json"]);
        output.status.success().then_some(output)
    });
    let text = String::from_utf8_lossy(&nudged.stdout).into_owned();
    assert!(text.contains("took it: wake up"), "{text}");
    assert_eq!(world.agent(id)["incarnation"], 1, "a nudge ends nothing");
    // The stop is told with its reason, and the agent leaves by itself.
    let stopped = world.lubdub(&["stop", id, "--reason", "time to rest", "--wait"]);
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    let out = world.read(&format!("{id}.out"));
    assert!(out.contains("stop: time to rest, 2000 ms"), "{out}");
    assert!(sidecar.is_running(), "it holds the agent down");
    let nobody = world.lubdub(&["nudge", id, "--reason", "wake up", "--wait"]);
    assert_eq!(nobody.status.code(), Some(1), "nobody is there: {nobody:?}");
}

#[test]
fn many_idle_connections_do_not_close_the_door() {
    let world = World::under("heartbeat_deadline = \"20s\"\n");
    let _sidecar = world.toy("i", &["hang"]);
    let door = door(&world, "i");
    let connect = |_| std::os::unix::net::UnixStream::connect(&door.door).expect("a connection");
    let idle: Vec<_> = (0..100).map(connect).collect();
    let body = "{\"phase\":\"working\"}";
    assert_eq!(curl(&door, "/v1/beat", &["-d", body]).0, 200, "beside {} others", idle.len());
    // What is asked and not taken is offered again, but not at once.
    assert_eq!(curl(&door, "/v1/commands?wait=0", &[]).0, 200);
    let asked = world.lubdub(&["nudge", "i", "--reason", "wake up"]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let (_, first) = curl(&door, "/v1/commands?wait=20", &[]);
    assert!(first.contains("wake up"), "{first}");
    let (_, at_once) = curl(&door, "/v1/commands?wait=1", &[]);
    assert_eq!(at_once, r#"{"v":1,"commands":[]}"#);
    let (_, later) = curl(&door, "/v1/commands?wait=20", &[]);
    assert!(later.contains("wake up"), "{later}");
}

#[test]
fn python_polls_and_acknowledges() {
    let world = World::new("");
    let script = r#"
import http.client, json, os, socket, sys, threading, time, signal
class Door(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["LUBDUB_HTTP"])
def ask(method, path, body=None):
    door = Door("agent"); door.request(method, path, body)
    answer = door.getresponse(); text = answer.read().decode()
    assert answer.status == 200, (answer.status, text)
    return text
signal.signal(signal.SIGTERM, lambda *_: None)
def beat():
    while True:
        ask("POST", "/v1/beat", json.dumps({"phase": "working"})); time.sleep(0.3)
threading.Thread(target=beat, daemon=True).start()
while True:
    for command in json.loads(ask("GET", "/v1/commands?wait=5"))["commands"]:
        ask("POST", "/v1/commands/" + command["id"], "took it: " + command["reason"])
        if command["kind"] == "stop":
            print("stop: %s, %s ms" % (command["reason"], command["grace_ms"]), flush=True)
            sys.exit(0)
"#;
    polls(&world, "p", &["python3", "-c", script]);
}

#[test]
fn node_polls_and_acknowledges() {
    let world = World::new("");
    let script = r#"
const http = require('http');
const ask = (method, path, body) => new Promise((done, failed) => {
  const request = http.request(
    { socketPath: process.env.LUBDUB_HTTP, method, path },
    (answer) => {
      let text = '';
      answer.on('data', (part) => { text += part; });
      answer.on('end', () => answer.statusCode === 200 ? done(text) : failed(new Error(text)));
    });
  request.on('error', failed);
  request.end(body);
});
process.on('SIGTERM', () => {});
setInterval(() => ask('POST', '/v1/beat', JSON.stringify({ phase: 'working' })), 300);
(async () => {
  for (;;) {
    const { commands } = JSON.parse(await ask('GET', '/v1/commands?wait=5'));
    for (const command of commands) {
      await ask('POST', `/v1/commands/${command.id}`, `took it: ${command.reason}`);
      if (command.kind === 'stop') {
        console.log(`stop: ${command.reason}, ${command.grace_ms} ms`);
        process.exit(0);
      }
    }
  }
})();
"#;
    polls(&world, "n", &["node", "-e", script]);
}
