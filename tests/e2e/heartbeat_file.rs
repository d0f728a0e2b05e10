//! `heartbeat.json`: never torn, never through a symlink, and no death when it cannot be written.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Daemon, World, eventually, never_within};
use lubdub_shared::heartbeat_file::{Reading, read};
use lubdub_shared::time::Wall;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);
const READS: u32 = 100_000;

fn writes_failed(world: &World, id: &str) -> u64 {
    let text = String::from_utf8_lossy(&world.lubdub(&["explain", id]).stdout).into_owned();
    let line = text.lines().find(|line| line.contains("writes failed")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "writes").unwrap_or(0);
    words.get(at.wrapping_sub(1)).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// It is the sidecar that is sick: the agent is not accused, and lives on.
fn told_of_the_sidecar_alone(world: &World, id: &str) {
    let causes = |agent: &Value| -> Vec<Value> {
        let findings = agent["findings"].as_array().expect("a list");
        findings.iter().map(|finding| finding["cause"].clone()).collect()
    };
    eventually("told", SOON, || (causes(&world.agent(id)) == ["sick_sidecar"]).then_some(()));
    never_within("accused", Duration::from_secs(2), || {
        let agent = world.agent(id);
        let accused = causes(&agent).iter().any(|cause| cause != "sick_sidecar");
        (accused || agent["incarnation"] != 1).then_some(agent)
    });
}

#[test]
fn a_hundred_thousand_reads_see_no_torn_file() {
    let world = World::new("");
    let _sidecar = world.toy("t", &["work:20ms:10m"]);
    let path = world.state("t").join("heartbeat.json");
    eventually("a heartbeat", SOON, || path.exists().then_some(()));
    let mut seen = std::collections::BTreeSet::new();
    let start = Instant::now();
    let mut reads = 0;
    // Go on until enough was read and the file was rewritten several times meanwhile.
    while reads < READS || seen.len() < 4 {
        let bytes = fs::read(&path).expect("it is always there");
        let file: Value = serde_json::from_slice(&bytes).expect("whole JSON");
        seen.insert(file["seq"].as_u64().expect("a count"));
        reads += 1;
        assert!(start.elapsed() < Duration::from_secs(50), "{reads} reads, {} files", seen.len());
    }
    eprintln!("{reads} reads of {} files in {:?}", seen.len(), start.elapsed());
    let bytes = fs::read(&path).expect("there");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later");
    let now = Wall(i64::try_from(now.as_nanos()).expect("this century"));
    let reading = read(Some((&bytes, now)), now, Duration::from_secs(5));
    assert!(matches!(reading, Reading::Fresh(_)), "{reading:?}");
}

#[test]
fn a_planted_symlink_is_replaced_and_not_followed() {
    let world = World::new("");
    let _sidecar = world.toy("l", &["work:100ms:10m"]);
    let path = world.state("l").join("heartbeat.json");
    eventually("a heartbeat", SOON, || path.exists().then_some(()));
    let victim = world.path().join("victim");
    fs::write(&victim, "precious").expect("a file");
    fs::remove_file(&path).expect("there");
    symlink(&victim, &path).expect("planted");
    eventually("a file again", SOON, || fs::symlink_metadata(&path).ok()?.is_file().then_some(()));
    assert_eq!(fs::read_to_string(&victim).expect("there"), "precious");
}

#[test]
fn a_planted_pipe_or_directory_stops_nobody() {
    let world = World::new("");
    let directory = world.path().join("beats");
    fs::create_dir(&directory).expect("a directory");
    let pipe = directory.join("pipe.json");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    fs::create_dir(directory.join("dir.json")).expect("a directory in its place");
    let file = format!("heartbeat_directory = {directory:?}\n");
    let toy = harness::binary("toy_agent");
    let words = [toy.to_str().expect("UTF-8"), "beat:100ms:10m"];
    let _one = world.sidecar_with("pipe", &file, &words);
    let _two = world.sidecar_with("dir", &file, &words);
    eventually("a file instead of the pipe", SOON, || {
        fs::symlink_metadata(&pipe).is_ok_and(|about| about.is_file()).then_some(())
    });
    eventually("counted", SOON, || (writes_failed(&world, "dir") > 0).then_some(()));
    told_of_the_sidecar_alone(&world, "dir");
}

#[test]
fn a_deleted_directory_is_made_anew() {
    let world = World::new("");
    let directory = world.path().join("beats");
    fs::create_dir(&directory).expect("a directory");
    let config = world.path().join("sidecar.toml");
    fs::write(&config, format!("heartbeat_directory = {directory:?}\n")).expect("a file");
    let mut command = world.sidecar_command(world.grpc(), "x");
    command.arg("--config").arg(&config).arg("--");
    command.arg(harness::binary("toy_agent")).arg("beat:100ms:10m");
    let sidecar = Daemon::start(world.path(), "x", &mut command);
    eventually("a heartbeat", SOON, || directory.join("x.json").exists().then_some(()));
    fs::remove_dir_all(&directory).expect("there");
    eventually("written again", SOON, || directory.join("x.json").exists().then_some(()));
    // Where it cannot be: something else stands in its place.
    fs::remove_dir_all(&directory).expect("there");
    fs::write(&directory, "").expect("a file");
    eventually("counted", SOON, || (writes_failed(&world, "x") > 0).then_some(()));
    told_of_the_sidecar_alone(&world, "x");
    fs::remove_file(&directory).expect("there");
    eventually("written again", SOON, || directory.join("x.json").exists().then_some(()));
    eventually("well again", SOON, || (world.agent("x")["status"] == "ok").then_some(()));
    assert!(sidecar.log().contains("cannot write; going on without"), "{}", sidecar.log());
    assert_eq!(world.agent("x")["incarnation"], 1);
}

/// A tmpfs of a few pages in a mount namespace of the sidecar's own, filled up while it runs.
#[test]
fn a_full_disk_is_a_counted_warning() {
    let world = World::new("");
    let small = world.path().join("small");
    fs::create_dir(&small).expect("a directory");
    let config = world.path().join("sidecar.toml");
    fs::write(&config, format!("heartbeat_directory = {small:?}\n")).expect("a file");
    let sidecar = world.sidecar_command(world.grpc(), "full");
    let words: Vec<String> = std::iter::once(sidecar.get_program())
        .chain(sidecar.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("UTF-8")))
        .collect();
    let script = format!(
        "mount -t tmpfs -o size=16k,mode=0700 none {s} && \
         (sleep 3; dd if=/dev/zero of={s}/ballast bs=4k 2>/dev/null; df {s} >{w}/proof; \
          sleep 8; rm {s}/ballast) & \
         exec {sidecar} --config {c} -- {toy} beat:100ms:10m",
        s = small.display(),
        w = world.path().display(),
        c = config.display(),
        toy = harness::binary("toy_agent").display(),
        sidecar = words.join(" "),
    );
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new("unshare");
    command.args(if root { &["-m"][..] } else { &["-rm"] });
    command.args(["sh", "-c", &script]).env_remove("XDG_RUNTIME_DIR").env("LUBDUB_LOG", "debug");
    let sidecar = Daemon::start(world.path(), "full", &mut command);
    world.until("full", "lifecycle", "running", SOON);
    eventually("a full disk", SOON, || world.read("proof").contains("100%").then_some(()));
    let failed =
        eventually("counted", SOON, || Some(writes_failed(&world, "full")).filter(|n| *n > 0));
    told_of_the_sidecar_alone(&world, "full");
    assert!(sidecar.log().contains("No space left on device"), "{failed}: {}", sidecar.log());
    eventually("well again, once there is room", SOON, || {
        (world.agent("full")["status"] == "ok").then_some(())
    });
}
