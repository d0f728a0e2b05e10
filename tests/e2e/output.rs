//! Captured output: nothing of it is lost, and nobody who reads it can hurt the agent.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Daemon, World, eventually, never_within};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(20);
const CAPTURE: &str = "die_with_sidecar = false\n[output]\ncapture = true\n";

/// Counts to a number, a line each.
fn counting(to: u32) -> String {
    format!("i=1; while [ $i -le {to} ]; do echo line $i; i=$((i+1)); done")
}

fn expected(to: u32) -> String {
    (1..=to).map(|number| format!("line {number}\n")).collect()
}

#[test]
fn what_is_captured_comes_out_as_it_went_in() {
    let world = World::new("");
    let script = format!(
        "[ $LUBDUB_INCARNATION = 1 ] || exec sleep 1000; {}; echo to stderr >&2; exit 3",
        counting(20_000)
    );
    let mut sidecar = world.sidecar_with("o", CAPTURE, &["sh", "-c", &script]);
    eventually("all of it", SOON, || {
        (world.read("o.out").len() >= expected(20_000).len()).then_some(())
    });
    assert_eq!(world.read("o.out"), expected(20_000), "byte for byte");
    eventually("stderr", SOON, || world.read("o.log").contains("to stderr\n").then_some(()));
    let shelf = world.state("o").join("evidence");
    let bundle = eventually("evidence of its end", SOON, || {
        let path = std::fs::read_dir(&shelf).ok()?.next()?.ok()?.path();
        let unpacked = Command::new("gzip").arg("-dc").arg(path).output().ok()?.stdout;
        serde_json::from_slice::<serde_json::Value>(&unpacked).ok()
    });
    let tail = bundle["output_tail"].as_str().expect("a tail");
    assert!(tail.contains("line 20000\n") && tail.contains("to stderr\n"), "{}", tail.len());
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}

#[test]
fn a_sidecar_that_is_stopped_or_killed_loses_no_line() {
    let world = World::new("");
    let script = "i=1; while :; do echo line $i; echo $i > PROGRESS; i=$((i+1)); sleep 0.01; done"
        .replace("PROGRESS", world.path().join("progress").to_str().expect("UTF-8"));
    let mut first = world.sidecar_with("k", CAPTURE, &["sh", "-c", &script]);
    // The shell empties the file before it writes.
    let read = || world.read("progress").trim().parse::<u32>().ok();
    let progress = || eventually("a number", SOON, read);
    eventually("some lines", SOON, || (progress() > 50).then_some(()));
    first.freeze();
    let at = progress();
    eventually("the agent writes on", SOON, || (progress() > at + 50).then_some(()));
    first.signal(Signal::KILL);
    first.wait(SOON);
    let at = progress();
    eventually("the agent writes on", SOON, || (progress() > at + 50).then_some(()));
    let mut second = world.sidecar_command(world.grpc(), "k");
    second.arg("--config").arg(world.path().join("k.toml")).args(["--", "false"]);
    let mut second = Daemon::start(world.path(), "second", &mut second);
    let until = progress() + 50;
    eventually("the new sidecar follows", SOON, || {
        world.read("second.out").contains(&format!("line {until}\n")).then_some(())
    });
    second.signal(Signal::TERM);
    second.wait(SOON);
    let said = world.read("k.out") + &world.read("second.out");
    let mut numbers: Vec<u32> = said
        .lines()
        .map(|line| line.strip_prefix("line ").and_then(|n| n.parse().ok()).expect("a whole line"))
        .collect();
    // The piece that was being copied at the kill may be said again.
    numbers.dedup();
    numbers.sort_unstable();
    numbers.dedup();
    let last = *numbers.last().expect("lines");
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "no line is missing");
}

#[test]
fn a_reader_that_takes_nothing_costs_the_agent_nothing_and_memory_little() {
    const WRITTEN: &str = "2000000000";
    let world = World::new("");
    let done = world.path().join("done");
    let script = format!(
        "sleep 1; head -c {WRITTEN} /dev/zero; echo ok > {}; exec sleep 1000",
        done.display()
    );
    let path = world.path().join("r.toml");
    std::fs::write(&path, format!("{CAPTURE}max = \"1MiB\"\n")).expect("a file");
    let mut command = world.sidecar_command(world.grpc(), "r");
    command.arg("--config").arg(path).args(["--", "sh", "-c", &script]);
    // A pipe that nobody reads: 64 KiB fit in.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut sidecar = Daemon::raw(world.path(), "r", &mut command);
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    world.until("r", "lifecycle", "running", SOON);
    let before = peak().expect("it runs");
    eventually("the agent is through", SOON, || done.exists().then_some(()));
    let grown = peak().expect("it runs") - before;
    assert!(grown <= 8 << 10, "two billion bytes at full speed cost {grown} KiB");
    let told = eventually("a note", SOON, || {
        let events = world.events(Some("r"));
        let told = events.iter().find(|e| e["detail"].to_string().contains("were dropped"))?;
        Some(told.clone())
    });
    assert_eq!(told["kind"], "note");
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}

#[test]
fn a_reader_that_is_gone_is_told_and_not_at_each_line() {
    let world = World::new("");
    let path = world.path().join("g.toml");
    std::fs::write(&path, CAPTURE).expect("a file");
    let script = "i=0; while [ $i -lt 30 ]; do echo $i; sleep 0.1; i=$((i+1)); done; exec sleep 99";
    let mut command = world.sidecar_command(world.grpc(), "g");
    command.arg("--config").arg(path).args(["--", "sh", "-c", script]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    drop(reader);
    let mut sidecar = Daemon::raw(world.path(), "g", &mut command);
    let notes = |text: &str| {
        let events = world.events(Some("g"));
        events.iter().filter(|e| e["detail"].to_string().contains(text)).count()
    };
    eventually("a note", SOON, || (notes("were dropped") > 0).then_some(()));
    never_within("a second one", Duration::from_secs(2), || {
        (notes("were dropped") > 1).then_some(())
    });
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
    eventually("the rest at the end", SOON, || (notes("nobody took the last") == 1).then_some(()));
}

/// `> /dev/stderr` opens the stream anew, and would empty a file.
#[test]
fn who_opens_a_stream_anew_loses_no_line() {
    let world = World::new("");
    let script = "i=0; while [ $i -lt 300 ]; do echo a$i >&2; echo b$i >/dev/stderr; \
                  echo c$i; echo d$i > /dev/stdout; echo e$i >> /dev/stdout; i=$((i+1)); done; \
                  exec sleep 1000";
    let mut sidecar = world.sidecar_with("n", CAPTURE, &["sh", "-c", script]);
    let of = |name: &str, letters: &str| {
        let text = world.read(name);
        let own = |line: &&str| letters.contains(&line[..1]) && line[1..].parse::<u32>().is_ok();
        text.lines().filter(|line| !line.is_empty()).filter(own).count()
    };
    eventually("all of stderr", SOON, || (of("n.log", "ab") == 600).then_some(()));
    eventually("all of stdout", SOON, || (of("n.out", "cde") == 900).then_some(()));
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}

#[test]
fn a_full_disk_below_the_output_hurts_nobody() {
    let world = World::new("");
    let path = world.path().join("f.toml");
    std::fs::write(&path, CAPTURE).expect("a file");
    let mut command = world.sidecar_command(world.grpc(), "f");
    let script = format!(
        "{}; echo done > {}/f.done; exec sleep 1000",
        counting(1000),
        world.path().display()
    );
    command.arg("--config").arg(path).args(["--", "sh", "-c", &script]);
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    command.stdin(Stdio::null()).stdout(full).stderr(Stdio::null());
    let mut sidecar = Daemon::raw(world.path(), "f", &mut command);
    eventually("the agent is through", SOON, || world.path().join("f.done").exists().then_some(()));
    assert_eq!(world.until("f", "lifecycle", "running", SOON)["status"], "ok");
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}
