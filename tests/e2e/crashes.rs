//! Any of the three parts may be killed at any moment, under load, again and again: nothing that
//! was acked is lost, nothing is there twice, and nobody is restarted by it.
//!
//! `LUBDUB_KILLS` says how often; a few times in the suite, 200 times by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use harness::{Daemon, World, eventually, pass};
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// Schedules that are never spent: the load goes on for as long as the kills do.
const POLICY: &str = r#"
[policy.load.restart]
on = "always"
attempts = 100000
per_day_max = 100000
[[assign]]
agents = ["crash-*", "exit-*", "hang-*"]
policy = "load"
"#;

fn kills() -> u32 {
    std::env::var("LUBDUB_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12)
}

/// Opened, resolved.
type Span = (String, Option<String>);

/// One agent under its sidecar. Each life writes its ordinal into a file of its own.
struct Agent {
    id: String,
    steps: Vec<String>,
    sidecar: Daemon,
    /// How often its sidecar was killed.
    killed: usize,
}

/// 50 agents that work, exit, crash, hang and recover.
struct Load {
    /// Ended first, while the collector still takes their last words.
    agents: Vec<Agent>,
    world: World,
    rng: fastrand::Rng,
}

impl Load {
    fn new() -> Self {
        let world = World::new(POLICY);
        let kinds: [(&str, usize, &[&str]); 4] = [
            ("steady", 20, &["beat:300ms:10h"]),
            ("crash", 10, &["beat:100ms:2s", "exit:1"]),
            ("exit", 10, &["beat:100ms:3s", "exit:0"]),
            ("hang", 10, &["beat:100ms:1s", "hang"]),
        ];
        let mut agents = Vec::new();
        for (kind, count, steps) in kinds {
            for number in 0..count {
                let id = format!("{kind}-{number}");
                let lives = world.path().join(format!("lives-{id}"));
                let note = format!("sh:echo $LUBDUB_INCARNATION >> {}", lives.display());
                let own = steps.iter().map(|step| (*step).to_owned());
                let steps: Vec<String> = std::iter::once(note).chain(own).collect();
                let sidecar = start(&world, &id, &steps);
                agents.push(Agent { id, steps, sidecar, killed: 0 });
            }
        }
        let load = Self { world, agents, rng: fastrand::Rng::with_seed(4711) };
        eventually("fifty agents", Duration::from_secs(60), || {
            let status = load.world.json(&["status"]);
            let agents = status["agents"].as_array()?;
            let alive = agents.iter().filter(|agent| agent["link"] == "connected").count();
            (alive == 50).then_some(())
        });
        load
    }

    fn steady(&self) -> BTreeMap<String, Value> {
        let status = self.world.json(&["status"]);
        let agents = status["agents"].as_array().cloned().unwrap_or_default();
        let steady = agents.into_iter().filter_map(|agent| {
            let id = agent["agent"].as_str()?.to_owned();
            id.starts_with("steady").then_some((id, agent))
        });
        steady.collect()
    }

    fn wait_a_random_while(&mut self) {
        pass(Duration::from_millis(self.rng.u64(20..900)));
    }

    /// The lives that an agent itself has noted.
    fn lives(&self, id: &str) -> Vec<u64> {
        let noted = self.world.read(&format!("lives-{id}"));
        noted.lines().map(|line| line.parse().expect("an ordinal")).collect()
    }

    /// Everything that happened is in the store, once and in order, by the agents' own notes.
    fn check_events(&self) {
        for agent in &self.agents {
            let id = &agent.id;
            let start = Instant::now();
            let (started, exited, lives) = loop {
                let lives = self.lives(id);
                let events = self.world.events(Some(id));
                let ordinals = |kind: &str| -> Vec<u64> {
                    let own = events.iter().filter(|event| event["kind"] == kind);
                    own.filter_map(|event| event["incarnation"].as_u64()).collect()
                };
                let (started, exited) = (ordinals("started"), ordinals("exited"));
                // The newest life may be younger than what was asked.
                let caught_up = started.len() >= lives.len();
                if caught_up || start.elapsed() > SOON {
                    break (started, exited, lives);
                }
                pass(Duration::from_millis(100));
            };
            let expected: Vec<u64> = (1..=started.len() as u64).collect();
            assert_eq!(started, expected, "{id}: each life began once, in order");
            assert!(lives.len() <= started.len(), "{id}: {lives:?} noted, {started:?} stored");
            assert!(started.len() - lives.len() <= 1, "{id}: {lives:?} noted, {started:?} stored");
            let ended = &expected[..exited.len()];
            assert_eq!(exited, ended, "{id}: each life ended once, in order");
            assert!(started.len() - exited.len() <= 1, "{id}: {started:?} began, {exited:?} ended");
        }
    }

    /// No trouble was told twice: the incidents of a family follow one another.
    fn check_incidents(&self) {
        let list = self.world.json(&["incidents", "--all"]);
        let mut by_family: BTreeMap<(String, &str), Vec<Span>> = BTreeMap::new();
        for incident in list["incidents"].as_array().expect("a list") {
            let word = |key: &str| incident[key].as_str().map(str::to_owned);
            let family = match incident["cause"].as_str().expect("a cause") {
                "crashed" | "killed_by_other" | "crash_loop" => "crashed",
                "silent" | "busy_silent" => "silent",
                "unreachable" | "missing" => "unreachable",
                _ => "other",
            };
            let whose = word("agent").expect("an agent");
            assert!(
                !whose.starts_with("steady") || family == "unreachable",
                "nothing was wrong with it: {incident:#}"
            );
            let span = (word("opened").expect("a time"), word("resolved"));
            by_family.entry((whose, family)).or_default().push(span);
        }
        for (whose, mut spans) in by_family {
            spans.sort();
            for pair in spans.windows(2) {
                let ended = pair[0].1.as_ref();
                assert!(
                    ended.is_some_and(|ended| *ended <= pair[1].0),
                    "{whose:?}: two at a time: {pair:?}"
                );
            }
        }
    }

    /// A hang is still found and treated: the ladder goes on once the collector trusts itself.
    fn check_ladder(&self) {
        let hang = |agent: &&Agent| agent.id.starts_with("hang");
        let lives = |load: &Self| -> usize {
            load.agents.iter().filter(hang).map(|agent| load.lives(&agent.id).len()).sum()
        };
        let before = lives(self) + 2;
        eventually("a hang is treated", Duration::from_secs(150), || {
            (lives(self) > before).then_some(())
        });
    }
}

fn start(world: &World, id: &str, steps: &[String]) -> Daemon {
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    world.toy(id, &steps)
}

fn lives_and_pid(agent: &Value) -> (u64, u64) {
    let number = |key: &str| agent[key].as_u64().unwrap_or_default();
    (number("incarnation"), number("pid"))
}

#[test]
fn a_collector_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let begun = Instant::now();
    let mut load = Load::new();
    let before = load.steady();
    eprintln!("{:?}: fifty agents run", begun.elapsed());
    let mut backups = Vec::new();
    for kill in 0..kills() {
        load.wait_a_random_while();
        if kill % 4 == 0 {
            backups.push(Backup::begin(&load.world, kill));
            load.wait_a_random_while();
        }
        load.world.restart_collector();
    }
    eprintln!("{:?}: {} kills", begun.elapsed(), kills());
    eventually("everybody is back", Duration::from_secs(90), || {
        let status = load.world.json(&["status"]);
        let agents = status["agents"].as_array()?;
        agents.iter().all(|agent| agent["link"] == "connected").then_some(())
    });
    for (id, after) in load.steady() {
        let was = lives_and_pid(&before[&id]);
        assert_eq!(lives_and_pid(&after), was, "{id} was restarted by it: {after:#}");
    }
    load.check_ladder();
    eprintln!("{:?}: the ladder goes on", begun.elapsed());
    load.check_events();
    load.check_incidents();
    eprintln!("{:?}: all there, once", begun.elapsed());
    let count = backups.len();
    for backup in backups {
        backup.check(&load.world);
    }
    eprintln!("{:?}: {count} backups are whole", begun.elapsed());
}

/// A backup that is made while everything goes on, and the collector is killed.
struct Backup {
    making: Child,
    file: PathBuf,
    /// What was acked when it was begun.
    acked: Vec<Value>,
}

impl Backup {
    fn begin(world: &World, number: u32) -> Self {
        let file = world.path().join(format!("backup-{number}"));
        let acked = world.events(None);
        let mut command = Command::new(harness::binary("lubdub"));
        command.args(["store", "backup"]).arg(&file).arg("--data-dir").arg(world.data());
        let making = command.spawn().expect("lubdub runs");
        Self { making, file, acked }
    }

    /// It restores to a state that was acked: everything from before it was begun is in it.
    fn check(mut self, world: &World) {
        assert!(self.making.wait().expect("it is ours").success(), "{}", self.file.display());
        let data = self.file.with_extension("data");
        let data = data.to_str().expect("UTF-8");
        let file = self.file.to_str().expect("UTF-8");
        let restored = world.lubdub(&["store", "restore", file, "--data-dir", data]);
        assert!(restored.status.success(), "{restored:?}");
        let free = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir", data];
        let mut collector = Command::new(harness::binary("lubdub-collector"));
        let name = self.file.file_name().expect("a name").to_string_lossy().into_owned();
        let collector = Daemon::start(world.path(), &name, collector.args(free));
        let address = eventually("its address", SOON, || {
            let log = collector.log();
            let word = log.split_whitespace().find_map(|word| word.strip_prefix("grpc="))?;
            Some(format!("http://{word}"))
        });
        let listed =
            world.lubdub(&["events", "--after", "0", "-o", "json", "--collector", &address]);
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let events: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(events[..self.acked.len()], self.acked, "{name}");
    }
}

/// Kills one sidecar and sees that its agent lives on; a new one says who is there. Then the agent
/// is ended, and a new sidecar goes on where the old one was.
fn kill_a_sidecar(load: &mut Load, also_the_collector: bool) {
    let chosen = load.rng.usize(..load.agents.len());
    if also_the_collector {
        load.world.collector.signal(Signal::KILL);
    }
    let agent = &mut load.agents[chosen];
    agent.sidecar.signal(Signal::KILL);
    agent.sidecar.wait(SOON);
    agent.killed += 1;
    if also_the_collector {
        load.world.collector.wait(SOON);
        load.world.start_collector();
    }
    let id = load.agents[chosen].id.clone();
    let before = main_pid(&load.world, &id);
    let sidecar = start_again(load, chosen);
    if let Some(pid) = before.filter(|_| id.starts_with("steady")) {
        assert_eq!(main_pid(&load.world, &id), Some(pid), "{id}: it works on");
        assert!(sidecar.log().contains("took over"), "{id}: {}", sidecar.log());
    }
    load.agents[chosen].sidecar = sidecar;
}

/// A new sidecar goes on with the life that it finds, or starts the next.
fn start_again(load: &Load, chosen: usize) -> Daemon {
    let agent = &load.agents[chosen];
    let name = format!("{}-again-{}", agent.id, harness::unique());
    let steps: Vec<&str> = agent.steps.iter().map(String::as_str).collect();
    let mut sidecar = load.world.toy_named(&agent.id, &name, &steps);
    eventually("a life", SOON, || {
        assert!(sidecar.is_running(), "{}", sidecar.log());
        let log = sidecar.log();
        (log.contains("starting life=") || log.contains("took over")).then_some(())
    });
    sidecar
}

/// The main process of an agent by the marker in its environment: what the sidecar's own memory
/// says is what is tested.
fn main_pid(world: &World, id: &str) -> Option<u32> {
    let marker = format!("LUBDUB_AGENT={id}");
    let file = format!("LUBDUB_HEARTBEAT_FILE={}", world.state(id).display());
    let entries = std::fs::read_dir("/proc").expect("procfs");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut marked = pids.filter(|pid| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut words = environ.split(|byte| *byte == 0);
        let own = words.clone().any(|word| word == marker.as_bytes());
        let here = words.any(|word| word.starts_with(file.as_bytes()));
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        own && here
            && comm.trim() == "toy_agent"
            && !matches!(harness::stat_state(*pid), None | Some('Z'))
    });
    marked.next()
}

fn check_after_sidecar_kills(load: &mut Load) {
    for agent in load.agents.iter().filter(|agent| agent.id.starts_with("steady")) {
        let restarted = load.world.agent(&agent.id);
        assert_eq!(restarted["restarts"]["used"], 0, "nobody restarted it: {restarted:#}");
    }
    for agent in &load.agents {
        let lives = load.lives(&agent.id);
        let of = |events: &[Value], kind: &str| -> Vec<u64> {
            let own = events.iter().filter(|event| event["kind"] == kind);
            own.filter_map(|event| event["incarnation"].as_u64()).collect()
        };
        // Whoever is killed between a start and the record of it may lose that event.
        let (events, started) = eventually("its lives are told", SOON, || {
            let events = load.world.events(Some(&agent.id));
            let started = of(&events, "started");
            let missing = lives.iter().filter(|life| !started.contains(life)).count();
            (missing <= agent.killed).then_some((events, started))
        });
        let mut once = started.clone();
        once.dedup();
        assert_eq!(started, once, "{}: no life began twice", agent.id);
        assert!(started.is_sorted(), "{}: in order", agent.id);
        let exited = of(&events, "exited");
        let newest = lives.last().copied().unwrap_or_default();
        let untold: Vec<_> =
            lives.iter().filter(|life| **life < newest && !exited.contains(life)).collect();
        assert!(untold.is_empty(), "{}: no end of {untold:?} in {exited:?}", agent.id);
        let mut once = exited.clone();
        once.dedup();
        assert_eq!(exited, once, "{}: no life ended twice", agent.id);
        let mut ordered = lives.clone();
        ordered.dedup();
        assert_eq!(lives, ordered, "{}: no ordinal was used twice", agent.id);
    }
}

#[test]
fn a_sidecar_that_is_killed_again_and_again_costs_its_agent_nothing() {
    let mut load = Load::new();
    for _ in 0..kills() {
        load.wait_a_random_while();
        kill_a_sidecar(&mut load, false);
    }
    eventually("everybody is back", Duration::from_secs(60), || {
        let status = load.world.json(&["status"]);
        let agents = status["agents"].as_array()?;
        agents.iter().all(|agent| agent["link"] == "connected").then_some(())
    });
    check_after_sidecar_kills(&mut load);
    load.check_incidents();
}

#[test]
fn both_killed_at_once_again_and_again_cost_nobody_anything() {
    let mut load = Load::new();
    for _ in 0..kills() {
        load.wait_a_random_while();
        kill_a_sidecar(&mut load, true);
    }
    eventually("everybody is back", Duration::from_secs(90), || {
        let status = load.world.json(&["status"]);
        let agents = status["agents"].as_array()?;
        agents.iter().all(|agent| agent["link"] == "connected").then_some(())
    });
    check_after_sidecar_kills(&mut load);
    load.check_incidents();
}

#[test]
fn what_was_answered_is_neither_done_nor_told_again_after_a_kill() {
    let world = World::new("");
    let steps = ["beat:200ms:10h"];
    for number in 0..6 {
        let id = format!("r{number}");
        let mut sidecar = world.toy(&id, &steps);
        world.until(&id, "lifecycle", "running", SOON);
        let answered = world.lubdub(&["restart", &id, "--reason", "r", "--wait"]);
        sidecar.signal(Signal::KILL);
        sidecar.wait(SOON);
        assert!(answered.status.success(), "{answered:?}");
        let _again = world.toy_named(&id, &format!("{id}-again"), &steps);
        let kinds = eventually("it is taken over", SOON, || {
            let events = world.events(Some(&id));
            let taken = events.iter().any(|event| event.to_string().contains("took it over"));
            let kinds = events.iter().map(|event| event["kind"].as_str().unwrap_or_default());
            taken.then(|| kinds.map(str::to_owned).collect::<Vec<_>>())
        });
        let count = |kind: &str| kinds.iter().filter(|own| *own == kind).count();
        // What waited in the spool goes before the word of the one who took over.
        assert_eq!((count("started"), count("outcome"), count("exited")), (2, 1, 1), "{kinds:?}");
        world.until(&id, "lifecycle", "running", SOON);
        assert_eq!(lives_and_pid(&world.agent(&id)).0, 2, "it was not restarted again");
    }
}
