//! `lubdub-sidecar run` wherever people put it: once and bounded, as an init, under a service
//! manager, in a terminal.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::{World, binary, eventually, never_within, stat_state};
use rustix::process::Signal;

use crate::tree::{children_of, sleeping};

const SOON: Duration = Duration::from_secs(15);

fn once(temporary: &std::path::Path, flags: &[&str], script: &str) -> Command {
    let mut command = Command::new(binary("lubdub-sidecar"));
    command
        .arg("run")
        .args(flags)
        .args(["--", "sh", "-c", script])
        .env("TMPDIR", temporary)
        .stdin(Stdio::null());
    command
}

#[test]
fn a_bounded_run_ends_its_whole_tree_though_a_grandchild_holds_the_pipe() {
    let directory = tempfile::tempdir().expect("a directory");
    let word = format!("7101.{}", std::process::id());
    let script = format!("trap '' TERM; (setsid sleep {word} &); echo begun; sleep {word}; :");
    let began = Instant::now();
    let mut command =
        once(directory.path(), &["--timeout", "1s", "--kill-after", "300ms"], &script);
    // Reading to the end waits for everybody who holds the pipe.
    let output = command.output().expect("it runs");
    let took = began.elapsed();
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "begun\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "a script's own words alone");
    assert!((1.0..4.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(sleeping(&word), Vec::<u32>::new(), "survivors");
    let left = std::fs::read_dir(directory.path()).expect("there").count();
    assert_eq!(left, 0, "it leaves nothing behind");
}

#[test]
fn a_bounded_run_never_swallows_an_exit() {
    let directory = tempfile::tempdir().expect("a directory");
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("exit 124", 124)] {
        let mut command = once(directory.path(), &["--timeout", "20s"], script);
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{script}: {output:?}");
    }
    let mut missing = Command::new(binary("lubdub-sidecar"));
    let output = missing.args(["run", "--timeout", "5s", "--", "no-such-program"]).output();
    assert_eq!(output.expect("it runs").status.code(), Some(127), "as a shell has it");
}

#[test]
fn a_bounded_run_with_a_name_is_told_to_the_collector() {
    let world = World::new("");
    let mut command = world.sidecar_command(world.grpc(), "job");
    command.args(["--timeout", "1s", "--", "sleep", "100"]);
    let mut sidecar = harness::Daemon::start(world.path(), "job", &mut command);
    assert_eq!(sidecar.wait(SOON).code(), Some(124));
    let kinds =
        |kind: &str| world.events(Some("job")).iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((kinds("started"), kinds("exited")), (1, 1));
}

/// The first process of a pid namespace of its own, as in a container.
#[test]
fn as_an_init_it_reaps_forwards_and_exits_as_its_agent_does() {
    let world = World::new("");
    let script = "trap 'echo usr1' USR1; trap 'echo asked; exit 7' TERM; \
                  for n in 1 2 3 4 5; do (setsid sleep 0.3 &); done; echo up as $PPID; \
                  while :; do sleep 0.1; done";
    let run = world.sidecar_command(world.grpc(), "init");
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(run.get_program())
        .args(run.get_args())
        .args(["--", "sh", "-c", script]);
    let mut outer = harness::Daemon::start(world.path(), "init", &mut unshare);
    let out = || world.read("init.out");
    eventually("its agent", SOON, || out().contains("up as 1\n").then_some(()));
    let init = children_of(outer.pid())[0].0;
    eventually("no zombie", SOON, || {
        let children = children_of(init);
        (children.len() == 1 && children[0].1 != 'Z').then_some(())
    });
    let signal = |signal| {
        let pid = i32::try_from(init).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("it is ours");
    };
    signal(Signal::USR1);
    eventually("the signal", SOON, || out().contains("usr1").then_some(()));
    signal(Signal::TERM);
    assert_eq!(outer.wait(SOON).code(), Some(7), "{}", outer.log());
    assert!(out().ends_with("asked\n"), "{}", out());
}

/// The manager is another sidecar: its agent is a sidecar, which tells it how it is.
#[test]
fn a_service_manager_above_hears_of_readiness_state_and_life() {
    let world = World::new("");
    let inner = world.sidecar_command(world.grpc(), "inner");
    let mut command = vec![inner.get_program(), std::ffi::OsStr::new("run")];
    command.extend(inner.get_args().skip(1));
    let toy = binary("toy_agent");
    let words: Vec<String> = command
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned())
        .chain(["--".to_owned(), toy.display().to_string(), "sleep:1s".to_owned()])
        .chain(["ready".to_owned(), "beat:200ms:1h".to_owned()])
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut outer = world.sidecar("outer", &words);
    let shown = eventually("STATUS", SOON, || {
        let shown = world.lubdub(&["show", "outer"]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        shown.contains("says       running").then_some(shown)
    });
    assert!(shown.starts_with("outer: ok, running"), "{shown}");
    let beats = || {
        let file = std::fs::read(world.state("outer").join("heartbeat.json")).ok()?;
        serde_json::from_slice::<serde_json::Value>(&file).ok()?["seq"].as_u64()
    };
    let first = eventually("its own beats", SOON, beats);
    eventually("more of them", SOON, || (beats()? > first).then_some(()));
    outer.signal(Signal::TERM);
    outer.wait(SOON);
    assert_eq!(world.agent("inner")["lifecycle"], "stopped", "it ended its agent");
}

#[test]
fn hup_reads_the_file_anew_and_a_mistake_changes_nothing() {
    let world = World::new("");
    let hook = |words: &str| format!("[hooks]\nevidence = [\"echo\", \"{words}\"]\n");
    let sidecar = world.sidecar_with("r", &hook("one"), &["sleep", "1000"]);
    let agent = world.until("r", "lifecycle", "running", SOON);
    let captured = |number: usize| {
        let asked = world.lubdub(&["capture", "r", "--reason", "x", "--wait"]);
        assert!(asked.status.success(), "{asked:?}");
        let shelf = std::fs::read_dir(world.state("r").join("evidence")).expect("a shelf");
        let mut paths: Vec<_> = shelf.map(|entry| entry.expect("read").path()).collect();
        paths.sort();
        assert_eq!(paths.len(), number);
        let unpacked = Command::new("gzip").arg("-dc").arg(&paths[number - 1]).output();
        let unpacked = unpacked.expect("gzip runs").stdout;
        let bundle: serde_json::Value = serde_json::from_slice(&unpacked).expect("JSON");
        bundle["hook"]["Ok"].as_str().expect("its words").trim().to_owned()
    };
    let file = world.path().join("r.toml");
    let reload = |text: &str, says: &str| {
        std::fs::write(&file, text).expect("a file");
        let before = sidecar.log().matches(says).count();
        sidecar.signal(Signal::HUP);
        eventually(says, SOON, || (sidecar.log().matches(says).count() > before).then_some(()));
    };
    assert_eq!(captured(1), "one");
    reload("no_such_key = 1\n", "not reloaded, what held still holds");
    assert!(sidecar.log().contains("no_such_key"), "the key is named: {}", sidecar.log());
    assert_eq!(captured(2), "one");
    reload(&hook("two"), "reloaded");
    assert_eq!(captured(3), "two");
    assert_eq!(world.agent("r")["pid"], agent["pid"], "the agent noticed nothing");
}

/// A shell in a terminal of its own, whose words are read as they come.
struct Shell {
    master: std::fs::File,
    said: Arc<Mutex<String>>,
    child: harness::Daemon,
}

impl Shell {
    fn start(world: &World) -> Self {
        let (master, slave) = crate::demo::pty();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "bash", "--norc", "--noprofile", "-i"]);
        command.env("PS1", "$ ").env_remove("XDG_RUNTIME_DIR");
        let child = harness::Daemon::start_on(world.path(), "shell", &mut command, slave);
        let said = Arc::new(Mutex::new(String::new()));
        let (heard, mut reader) = (Arc::clone(&said), master.try_clone().expect("a copy"));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                let text = String::from_utf8_lossy(&piece[..count]);
                heard.lock().expect("no panic").push_str(&text);
            }
        });
        Self { master, said, child }
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("typed");
    }

    #[track_caller]
    fn sees(&self, words: &str) {
        let said = || self.said.lock().expect("no panic").clone();
        let seen = || said().contains(words).then_some(());
        let start = Instant::now();
        while seen().is_none() {
            assert!(start.elapsed() < SOON, "no {words:?} in {:?}", said());
            harness::pass(Duration::from_millis(20));
        }
    }
}

#[test]
fn in_a_terminal_the_agent_works_as_if_it_was_started_by_hand() {
    let world = World::new("");
    let mut shell = Shell::start(&world);
    // It reads from its controlling terminal, and hears when that changes its size.
    let script = "trap 'echo resized-yes' WINCH; read line < /dev/tty; echo got-$line-yes; \
                  while :; do sleep 0.1; done";
    std::fs::write(world.path().join("agent.sh"), script).expect("a file");
    let run = world.sidecar_command(world.grpc(), "tty");
    let words: Vec<String> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    shell.types(&format!(
        "LUBDUB_LOG=error {} -- sh {}/agent.sh\n",
        words.join(" "),
        world.path().display()
    ));
    let agent = world.until("tty", "lifecycle", "running", SOON);
    shell.types("hello\n");
    shell.sees("got-hello-yes");
    let size = rustix::termios::Winsize { ws_row: 50, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&shell.master, size).expect("another size");
    shell.sees("resized-yes");
    // Ctrl-Z: the shell has its prompt again, and the job goes on where it was.
    shell.types("\u{1a}");
    shell.sees("Stopped");
    let pid = u32::try_from(agent["pid"].as_u64().expect("a pid")).expect("small");
    assert_eq!(stat_state(pid), Some('T'), "the agent is stopped");
    shell.types("fg\n");
    eventually("it goes on", SOON, || (stat_state(pid) != Some('T')).then_some(()));
    // Ctrl-C ends it, and it is not started anew.
    shell.types("\u{3}");
    shell.types("echo code-$?-yes\n");
    shell.sees("code-130-yes");
    never_within("another life", Duration::from_secs(1), || {
        (world.agent("tty")["incarnation"] != 1).then_some(())
    });
    shell.types("exit\n");
    shell.child.wait(SOON);
}
