//! `lubdub demo` in a pseudo-terminal: the screen is what a person would see.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::binary;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const ROWS: u16 = 40;
const COLUMNS: u16 = 110;

pub(crate) fn pty() -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
    grantpt(&master).expect("a pty");
    unlockpt(&master).expect("a pty");
    let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).expect("a size");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty());
    (File::from(master), slave.expect("its other end"))
}

/// Processes that belong to demonstrations which began in this directory.
fn left_behind(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("procfs");
    let line = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    };
    let lines = entries.filter_map(|entry| line(entry.ok()?));
    lines.filter(|line| line.contains("demo-") && line.contains(directory)).collect()
}

#[test]
fn five_stories_are_seen_on_the_screen_and_nothing_is_left() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (mut master, slave) = pty();
    let other = || Stdio::from(slave.try_clone().expect("a descriptor"));
    let began = Instant::now();
    let mut demo = Command::new(binary("lubdub"))
        .arg("demo")
        .env("TMPDIR", temporary.path())
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .stdin(other())
        .stdout(other())
        .stderr(other())
        .spawn()
        .expect("lubdub runs");
    drop(slave);
    let mut screen = vt100::Parser::new(ROWS, COLUMNS, 0);
    let (mut buffer, mut seen_red, mut seen_restart) = ([0; 4096], false, false);
    // Reading ends when the last of its processes has closed the terminal.
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        screen.process(&buffer[..length]);
        let text = screen.screen().contents();
        seen_restart |= text.contains("sleeper critical (restarting)");
        let rows = 0..ROWS;
        seen_red |= rows.into_iter().any(|row| {
            let cell = screen.screen().cell(row, 0);
            cell.is_some_and(|cell| cell.fgcolor() == vt100::Color::Idx(1) && cell.contents() != "")
        });
        assert!(began.elapsed() < Duration::from_secs(130), "it ends by itself:\n{text}");
    }
    let status = demo.wait().expect("ours");
    let text = screen.screen().contents();
    assert!(status.success(), "{status}:\n{text}");
    assert!(began.elapsed() < Duration::from_secs(120), "within two minutes");
    assert!(seen_restart, "the restart was on the screen");
    assert!(seen_red, "what is critical is red");
    for line in [
        "AGENT",
        "what was seen",
        "steady: no incident, life 1",
        "thinker: no incident, life 1",
        "sleeper: silent (critical); restart done; resolved",
        "dreamer: no_progress (critical); restart done; resolved",
        "crasher: crash_loop (critical); restart done, restart done, apoptosis done; now termin",
    ] {
        assert!(text.contains(line), "no {line:?} on the screen:\n{text}");
    }
    let left: Vec<_> = std::fs::read_dir(temporary.path()).expect("there").collect();
    assert!(left.is_empty(), "its directory is gone: {left:?}");
    let place = temporary.path().to_str().expect("UTF-8");
    assert_eq!(left_behind(place), Vec::<String>::new(), "so are its processes");
}

#[test]
fn a_demonstration_that_is_interrupted_leaves_nothing() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut demo = Command::new(binary("lubdub"))
        .arg("demo")
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lubdub runs");
    let place = temporary.path().to_str().expect("UTF-8").to_owned();
    harness::eventually("its sidecars", Duration::from_secs(20), || {
        (left_behind(&place).len() >= 5).then_some(())
    });
    let pid = i32::try_from(demo.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::INT).expect("ours");
    let status = demo.wait().expect("ours");
    assert_eq!(status.code(), Some(1));
    assert_eq!(left_behind(&place), Vec::<String>::new());
    let left = std::fs::read_dir(temporary.path()).expect("there").count();
    assert_eq!(left, 0, "its directory is gone");
}
