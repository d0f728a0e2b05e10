//! Real processes: a collector, sidecars with toy agents, and the command that people use. What a
//! world started ends with it, by pid.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{SmallDisk, eventually};

/// Long enough on a loaded machine for what should take no time.
const SOON: Duration = Duration::from_secs(15);

/// How `lubdub` ends when the collector has not heard of the agent it was asked about.
const UNKNOWN_AGENT: i32 = 4;

/// A binary of the workspace, beside this test's own.
pub fn binary(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    let target = exe.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let path = target.join(name);
    assert!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    path
}

/// The state letter of a process, `None` when it is gone.
pub fn stat_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// A process that ends with the test.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a command whose stderr and stdout go to files named after it.
    pub fn start(directory: &Path, name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null());
        let append = |kind| {
            let path = directory.join(format!("{name}.{kind}"));
            File::options().create(true).append(true).open(path).expect("a log")
        };
        Self::raw(directory, name, command.stdout(append("out")).stderr(append("log")))
    }

    /// Starts a command on a terminal.
    pub fn start_on(directory: &Path, name: &str, command: &mut Command, tty: OwnedFd) -> Self {
        let copy = || tty.try_clone().expect("a descriptor");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        Self::raw(directory, name, command)
    }

    /// Starts a command as it is.
    pub fn raw(directory: &Path, name: &str, command: &mut Command) -> Self {
        let log = directory.join(format!("{name}.log"));
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { child, log }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("not 0");
        kill_process(pid, signal).expect("it is ours and not reaped");
    }

    /// Stops it with SIGSTOP, and sees that it has stopped.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        eventually("a stopped process", SOON, || (stat_state(self.pid())? == 'T').then_some(()));
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        eventually("the end of a process", within, || self.child.try_wait().expect("it is ours"))
    }

    /// It runs still.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // A sidecar takes its agent along when it is asked to end.
            self.signal(Signal::CONT);
            self.signal(Signal::TERM);
            let asked = Instant::now();
            while asked.elapsed() < SOON && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// A directory, a policy and a collector.
#[derive(Debug)]
pub struct World {
    directory: tempfile::TempDir,
    disk: Option<SmallDisk>,
    /// The collector.
    pub collector: Daemon,
    grpc: SocketAddr,
    http: SocketAddr,
}

/// Deadlines of 3 s, one miss is Critical, restarts at once.
const QUICK: &str = r#"
[policy.default]
heartbeat_deadline = "3s"
failures_before_critical = 1
startup_grace = "20s"
[policy.default.restart]
delay = { initial = "300ms", factor = 1.0, max = "300ms", jitter = 0.0 }
term_grace = "2s"
"#;

impl World {
    /// A collector with deadlines of 3 s, one miss critical, quick restarts, and what is added.
    pub fn new(more: &str) -> Self {
        Self::with(&format!("{QUICK}{more}"), false)
    }

    /// The same, with these keys of the default policy besides, or instead.
    pub fn under(keys: &str) -> Self {
        let own: Vec<&str> = keys.lines().filter_map(|line| line.split(" =").next()).collect();
        let replaced = |line: &&str| own.iter().any(|key| line.starts_with(&format!("{key} =")));
        let kept: Vec<&str> = QUICK.lines().filter(|line| !replaced(line)).collect();
        let table = "[policy.default]\n";
        let policy = kept.join("\n").replacen(table, &format!("{table}{keys}"), 1);
        Self::with(&(policy + "\n"), false)
    }

    /// The same, with these keys of its restarts besides, or instead.
    pub fn with_restart(keys: &str) -> Self {
        let own: Vec<&str> = keys.lines().filter_map(|line| line.split(" =").next()).collect();
        let replaced = |line: &&str| own.iter().any(|key| line.starts_with(&format!("{key} =")));
        let kept: Vec<&str> = QUICK.lines().filter(|line| !replaced(line)).collect();
        Self::with(&format!("{}\n{keys}", kept.join("\n")), false)
    }

    /// The same, with the collector's data on a small disk.
    pub fn on_a_small_disk(more: &str) -> Self {
        Self::with(&format!("{QUICK}{more}"), true)
    }

    /// The same, on a store that is there already: this database.
    pub fn on_the_store(database: &Path) -> Self {
        let prepare = |directory: &Path| {
            let data = directory.join("data");
            fs::create_dir(&data).expect("a directory");
            fs::copy(database, data.join("lubdub.sqlite3")).expect("a copy");
        };
        Self::prepared(QUICK, false, prepare)
    }

    fn with(policy: &str, small: bool) -> Self {
        Self::prepared(policy, small, |_| {})
    }

    fn prepared(policy: &str, small: bool, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        prepare(directory.path());
        fs::write(directory.path().join("policy.toml"), policy).expect("a file");
        let disk = small.then(|| SmallDisk::over(&directory.path().join("small"), 4096));
        let free = "127.0.0.1:0";
        let collector = start_collector(directory.path(), disk.as_ref(), free, free);
        let (grpc, http) = addresses(&collector, 0);
        Self { directory, disk, collector, grpc, http }
    }

    /// The small disk that the collector's data lies on.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("a world on a small disk")
    }

    /// The directory of the collector's store, as this process sees it.
    pub fn data(&self) -> PathBuf {
        match &self.disk {
            Some(disk) => disk.seen(&disk.directory()),
            None => self.path().join("data"),
        }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where sidecars connect.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Where HTTP is served.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Kills the collector with SIGKILL and starts it anew on the same store and ports.
    pub fn restart_collector(&mut self) {
        self.kill_collector();
        self.start_collector();
    }

    /// Kills the collector with SIGKILL.
    pub fn kill_collector(&mut self) {
        self.collector.signal(Signal::KILL);
        self.collector.wait(SOON);
    }

    /// Starts the collector anew on the same store and ports.
    pub fn start_collector(&mut self) {
        let seen = listenings(&self.collector).count();
        let (grpc, http) = (self.grpc.to_string(), self.http.to_string());
        self.collector = start_collector(self.directory.path(), self.disk.as_ref(), &grpc, &http);
        addresses(&self.collector, seen);
    }

    /// A collector on the same store and ports that may not get far.
    pub fn try_collector(&self) -> Daemon {
        let (grpc, http) = (self.grpc.to_string(), self.http.to_string());
        start_collector(self.directory.path(), self.disk.as_ref(), &grpc, &http)
    }

    /// A sidecar around a command.
    pub fn sidecar(&self, id: &str, command: &[&str]) -> Daemon {
        self.sidecar_via(self.grpc, id, command)
    }

    /// The same, through another address of the collector.
    pub fn sidecar_via(&self, collector: SocketAddr, id: &str, command: &[&str]) -> Daemon {
        let mut sidecar = self.sidecar_command(collector, id);
        Daemon::start(self.path(), id, sidecar.arg("--").args(command))
    }

    /// The command line of a sidecar, up to its agent.
    pub fn sidecar_command(&self, collector: SocketAddr, id: &str) -> Command {
        let sidecar = Command::new(binary("lubdub-sidecar"));
        self.sidecar_in(sidecar, collector, id, &self.path().join("state"))
    }

    /// A sidecar with a file of its own, around a command.
    pub fn sidecar_with(&self, id: &str, file: &str, command: &[&str]) -> Daemon {
        let path = self.path().join(format!("{id}.toml"));
        fs::write(&path, file).expect("a file");
        let mut sidecar = self.sidecar_command(self.grpc, id);
        sidecar.arg("--config").arg(path).arg("--").args(command);
        Daemon::start(self.path(), id, &mut sidecar)
    }

    /// The same, begun by another command line, on another state directory.
    pub fn sidecar_in(
        &self,
        mut sidecar: Command,
        collector: SocketAddr,
        id: &str,
        state: &Path,
    ) -> Command {
        sidecar
            .args(["run", "--id", id, "--collector", &format!("http://{collector}")])
            .arg("--state-dir")
            .arg(state)
            .env_remove("XDG_RUNTIME_DIR")
            .env("LUBDUB_LOG", "debug");
        sidecar
    }

    /// A sidecar around a toy agent.
    pub fn toy(&self, id: &str, steps: &[&str]) -> Daemon {
        let toy = binary("toy_agent");
        let mut command = vec![toy.to_str().expect("UTF-8")];
        command.extend(steps);
        self.sidecar(id, &command)
    }

    /// The same, whose log has a name of its own.
    pub fn toy_named(&self, id: &str, name: &str, steps: &[&str]) -> Daemon {
        let mut sidecar = self.sidecar_command(self.grpc, id);
        sidecar.arg("--").arg(binary("toy_agent")).args(steps);
        Daemon::start(self.path(), name, &mut sidecar)
    }

    /// The state directory of an agent.
    pub fn state(&self, id: &str) -> PathBuf {
        self.path().join("state/agents").join(id)
    }

    /// The socket of an agent.
    pub fn socket(&self, id: &str) -> PathBuf {
        self.state(id).join("notify.sock")
    }

    /// A program that belongs to the tree of an agent that runs, though the test starts it: it has
    /// the marker of its life, and is told of the doors.
    #[track_caller]
    pub fn as_member(&self, id: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let life = eventually("a life", SOON, || {
            let agent = self.agent(id);
            agent["pid"].as_u64()?;
            agent["life"].as_str().map(str::to_owned)
        });
        let mut command = Command::new(program);
        command
            .env("LUBDUB_LIFE", life)
            .env("LUBDUB_SOCKET", self.socket(id))
            .env("NOTIFY_SOCKET", self.socket(id))
            .env("LUBDUB_HTTP", self.state(id).join("http.sock"));
        command
    }

    /// Runs `lubdub`.
    pub fn lubdub(&self, args: &[&str]) -> Output {
        Command::new(binary("lubdub"))
            .args(args)
            .env("LUBDUB_COLLECTOR", format!("http://{}", self.grpc))
            .stdin(Stdio::null())
            .output()
            .expect("lubdub runs")
    }

    /// What `lubdub ... -o json` prints.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.lubdub(&[args, &["-o", "json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{args:?}: {error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// One agent of `status -o json`; null when it is not there yet.
    pub fn agent(&self, id: &str) -> Value {
        let status = self.json(&["status"]);
        let agents = status["agents"].as_array().cloned().unwrap_or_default();
        agents.into_iter().find(|agent| agent["agent"] == id).unwrap_or(Value::Null)
    }

    /// Waits until a field of an agent's status has a value.
    #[track_caller]
    pub fn until(&self, id: &str, field: &str, value: &str, within: Duration) -> Value {
        let what = format!("{id}: {field} is {value}");
        let mut last = Value::Null;
        let start = Instant::now();
        loop {
            let agent = self.agent(id);
            if agent[field] == value {
                return agent;
            }
            if agent != Value::Null {
                last = agent;
            }
            assert!(start.elapsed() < within, "not within {within:?}: {what}; it is {last:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All incidents of an agent, newest first.
    pub fn incidents(&self, id: &str) -> Vec<Value> {
        let list = self.json(&["incidents", "--all", id]);
        list["incidents"].as_array().cloned().unwrap_or_default()
    }

    /// All events of an agent, or of all, oldest first; none of one that the collector has not met
    /// yet.
    #[track_caller]
    pub fn events(&self, agent: Option<&str>) -> Vec<Value> {
        let mut args = vec!["events", "--after", "0", "-o", "json"];
        args.extend(agent);
        let output = self.lubdub(&args);
        if output.status.code() == Some(UNKNOWN_AGENT) {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        let parse = |line: &str| serde_json::from_str(line).expect("one JSON object a line");
        text.lines().map(parse).collect()
    }

    /// What HTTP answers: the status code and the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.http).expect("HTTP");
        // 1.0: what is streamed comes as it is, and ends with the connection.
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
        (code.expect("a status code"), body.to_owned())
    }

    /// What a file of the world holds.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }
}

fn start_collector(directory: &Path, disk: Option<&SmallDisk>, grpc: &str, http: &str) -> Daemon {
    let program = binary("lubdub-collector");
    let (mut command, data) = match disk {
        Some(disk) => (disk.command(&program), disk.directory()),
        None => (Command::new(program), directory.join("data")),
    };
    command
        .args(["--listen", grpc, "--http", http, "--policy"])
        .arg(directory.join("policy.toml"))
        .arg("--data-dir")
        .arg(data)
        .arg("--record")
        .arg(directory.join("trace.ndjson"))
        .env("LUBDUB_LOG", "info");
    Daemon::start(directory, "collector", &mut command)
}

/// The lines in which the collector told its addresses.
fn listenings(collector: &Daemon) -> impl Iterator<Item = String> {
    let lines: Vec<String> = collector.log().lines().map(str::to_owned).collect();
    lines.into_iter().filter(|line| line.contains("listening grpc="))
}

fn addresses(collector: &Daemon, before: usize) -> (SocketAddr, SocketAddr) {
    let line = eventually("a listening collector", SOON, || listenings(collector).nth(before));
    let address = |key: &str| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(key));
        word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {key} in {line:?}"))
    };
    (address("grpc="), address("http="))
}
