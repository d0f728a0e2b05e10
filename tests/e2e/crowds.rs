//! Too many, too slow, never finished: who only sits there costs nobody a place, and whoever has a
//! question gets an answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Daemon, World, binary, eventually, sample};
use lubdub_shared::pb;
use lubdub_shared::pb::sidecar_service_client::SidecarServiceClient;
use lubdub_shared::session::FromSidecar;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const SOON: Duration = Duration::from_secs(30);

/// A collector that was started with a limit on open files.
struct Limited {
    daemon: Daemon,
    grpc: SocketAddr,
    http: SocketAddr,
    directory: tempfile::TempDir,
}

impl Limited {
    fn start(limit: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let collector = binary("lubdub-collector");
        let script = format!(
            "ulimit {limit} && exec {} --listen 127.0.0.1:0 --http 127.0.0.1:0 --data-dir {}",
            collector.display(),
            directory.path().join("data").display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let daemon = Daemon::start(directory.path(), "collector", &mut command);
        let address = |key: &str| {
            eventually("a listening collector", SOON, || {
                let log = daemon.log();
                log.split_whitespace().find_map(|word| word.strip_prefix(key))?.parse().ok()
            })
        };
        let (grpc, http) = (address("grpc="), address("http="));
        Self { daemon, grpc, http, directory }
    }

    /// `lubdub status -o json`, and how long that took.
    fn status(&self) -> (Value, Duration) {
        let began = Instant::now();
        let output = Command::new(binary("lubdub"))
            .args(["status", "-o", "json", "--collector", &format!("http://{}", self.grpc)])
            .output()
            .expect("lubdub runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
        (status, began.elapsed())
    }

    fn connected(&self) -> usize {
        let (status, _) = self.status();
        let agents = status["agents"].as_array().expect("a list");
        agents.iter().filter(|agent| agent["link"] == "connected").count()
    }
}

/// Strangers that say nothing, or not enough.
fn strangers(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    const BEGUN: [&[u8]; 4] = [b"", b"PRI * HT", b"GET / HTTP/1.1\r\nHos", b"\x16\x03\x01"];
    let knock = |number: usize| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(BEGUN[number % BEGUN.len()]).expect("sent");
        stream
    };
    (0..count).map(knock).collect()
}

fn raise_own_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("up to the hard limit");
}

/// Sidecars, each on a connection of its own.
async fn sidecars(address: SocketAddr, count: usize) -> Vec<mpsc::Sender<pb::FromSidecar>> {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut streams = Vec::new();
    for number in 0..count {
        let (hello, _) = sample::hello(number, &mut rng);
        let mut client =
            SidecarServiceClient::connect(format!("http://{address}")).await.expect("connected");
        let (up, messages) = mpsc::channel(8);
        let hello = FromSidecar::Hello(Box::new(hello));
        up.send(hello.into()).await.expect("room");
        let down = client.attach(ReceiverStream::new(messages)).await.expect("attached");
        let mut down = down.into_inner();
        let welcome = down.message().await.expect("a message").expect("a Welcome");
        assert!(matches!(welcome.message, Some(pb::to_sidecar::Message::Welcome(_))));
        // Whoever does not listen would be a lost link.
        tokio::spawn(async move { while let Ok(Some(_)) = down.message().await {} });
        streams.push(up);
    }
    streams
}

#[test]
fn two_thousand_sidecars_find_room_beside_five_hundred_strangers() {
    raise_own_limit();
    let collector = Limited::start("-Sn 1024");
    let _strangers = strangers(collector.grpc, 500);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _streams = runtime.block_on(sidecars(collector.grpc, 2000));
    assert_eq!(collector.connected(), 2000);
    let (_, took) = collector.status();
    assert!(took < Duration::from_secs(10), "people are served: {took:?}");
}

#[test]
fn where_descriptors_are_few_whoever_asks_is_served_and_who_sits_there_is_not() {
    let collector = Limited::start("-n 64");
    let mut sitting = strangers(collector.grpc, 60);
    sitting.extend(strangers(collector.http, 40));
    let (_, took) = collector.status();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let mut sidecar = Command::new(binary("lubdub-sidecar"));
    let state = collector.directory.path().join("state");
    sidecar
        .args(["run", "--id", "new", "--collector", &format!("http://{}", collector.grpc)])
        .arg("--state-dir")
        .arg(&state)
        .args(["--", "sleep", "1000"]);
    let _sidecar = Daemon::start(collector.directory.path(), "new", &mut sidecar);
    eventually("a new sidecar is served", SOON, || (collector.connected() == 1).then_some(()));
    let before = cpu(collector.daemon.pid());
    eventually("all who only sit there are gone", SOON, || {
        sitting.iter_mut().all(is_closed).then_some(())
    });
    let spent = cpu(collector.daemon.pid()).saturating_sub(before);
    assert!(spent < Duration::from_secs(2), "it does not spin: {spent:?}");
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    match stream.read(&mut [0; 256]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    let ticks = rest.split(' ').skip(11).take(2).map(|t| t.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[test]
fn http_is_http_1_by_a_name_of_its_own() {
    let world = World::new("");
    let ask = |text: &str| {
        let mut stream = TcpStream::connect(world.http()).expect("HTTP");
        stream.write_all(text.as_bytes()).expect("sent");
        let mut answer = String::new();
        let (Ok(_) | Err(_)) = stream.read_to_string(&mut answer);
        answer
    };
    let head = |host: &str| {
        format!("GET /api/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    for (host, code) in [
        ("localhost", "200"),
        ("127.0.0.1:7412", "200"),
        ("[::1]:7412", "200"),
        ("evil.example.org", "421"),
        ("localhost.evil.example.org:80", "421"),
    ] {
        let answer = ask(&head(host));
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{host}: {answer}");
    }
    let absolute = "GET http://evil.example.org/metrics HTTP/1.1\r\nHost: localhost\r\n\
                    Connection: close\r\n\r\n";
    assert!(ask(absolute).starts_with("HTTP/1.1 421"));
    let two = ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(!two.starts_with('\0') && !two.contains("HTTP/2"), "{two:?}");
}

#[test]
fn heads_that_never_end_block_no_beat() {
    let world = World::under("heartbeat_deadline = \"20s\"\n");
    let _sidecar = world.toy("h", &["hang"]);
    world.until("h", "lifecycle", "running", SOON);
    let door = world.state("h").join("http.sock");
    eventually("a door", SOON, || door.exists().then_some(()));
    let slow: Vec<UnixStream> = (0..150)
        .map(|_| {
            let mut stream = UnixStream::connect(&door).expect("a door");
            stream.write_all(b"POST /v1/beat HTTP/1.1\r\nHo").expect("sent");
            stream
        })
        .collect();
    let began = Instant::now();
    assert_eq!(beat(&world, &door, "20"), "200");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let mut two = UnixStream::connect(&door).expect("a door");
    two.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let (Ok(_) | Err(_)) = two.read_to_end(&mut answer);
    assert!(!answer.starts_with(&[0]), "no frame of HTTP/2: {answer:?}");
    drop(slow);
}

#[test]
fn bodies_that_never_end_hold_no_place_for_long() {
    let world = World::under("heartbeat_deadline = \"40s\"\n");
    let _sidecar = world.toy("h", &["hang"]);
    world.until("h", "lifecycle", "running", SOON);
    let door = world.state("h").join("http.sock");
    eventually("a door", SOON, || door.exists().then_some(()));
    let mut stuck: Vec<UnixStream> = (0..150)
        .map(|_| {
            let mut stream = UnixStream::connect(&door).expect("a door");
            let head = b"POST /v1/beat HTTP/1.1\r\nHost: agent\r\nContent-Length: 99\r\n\r\n{";
            stream.write_all(head).expect("sent");
            stream
        })
        .collect();
    assert_eq!(beat(&world, &door, "1"), "000", "every place is busy");
    assert_eq!(beat(&world, &door, "30"), "200");
    let mut answer = [0; 12];
    stuck[0].read_exact(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", answer.escape_ascii());
}

#[test]
fn a_question_over_grpc_that_never_ends_is_refused() {
    let collector = Limited::start("-Sn 1024");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let address = format!("http://{}", collector.grpc);
        let channel = tonic::transport::Channel::from_shared(address).expect("an address");
        let mut client = tonic::client::Grpc::new(channel.connect().await.expect("connected"));
        client.ready().await.expect("ready");
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(
            "/lubdub.v1.QueryService/ListAgents",
        );
        let never = tokio_stream::pending::<pb::ListAgentsRequest>();
        let codec =
            tonic_prost::ProstCodec::<pb::ListAgentsRequest, pb::ListAgentsResponse>::default();
        let asked = client.client_streaming(tonic::Request::new(never), path, codec);
        tokio::time::timeout(SOON, asked).await.expect("an answer").expect_err("refused");
    });
    let (_, took) = collector.status();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// What a beat is answered within so many seconds; 000: nothing.
fn beat(world: &World, door: &Path, within: &str) -> String {
    let output = world
        .as_member("h", "curl")
        .args(["-sS", "--max-time", within, "-o", "/dev/null", "-w", "%{http_code}"])
        .arg("--unix-socket")
        .arg(door)
        .args(["-d", "{\"progress\":1}", "http://agent/v1/beat"])
        .stdin(Stdio::null())
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
