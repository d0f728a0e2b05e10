//! An agent that behaves as told: each argument is a step, done in order. `N/STEP` is done in life
//! N only. Its beats never block, like those of any agent that must go on working.
//!
//! ```text
//! ready                 READY=1
//! beat:EVERY:FOR        WATCHDOG=1 at this pace
//! work:EVERY:FOR        JSON beats whose progress counter grows
//! say:TEXT              one datagram
//! log:FILE              from now on each beat appends a line to the file
//! hang                  never anything again
//! sleep:FOR, spin:FOR   nothing, or a busy loop
//! sh:COMMAND            starts a shell that inherits stdout, and does not wait
//! exit:CODE, die:SIGNAL
//! ```
#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's agent sleeps, starts processes, prints and fails by panic"
)]

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

struct Agent {
    socket: UnixDatagram,
    door: Option<PathBuf>,
    log: Option<File>,
    progress: u64,
}

fn main() {
    let life = std::env::var("LUBDUB_INCARNATION").unwrap_or_default();
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    let door = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from);
    let mut agent = Agent { socket, door, log: None, progress: 0 };
    println!("toy agent, life {life}");
    for step in std::env::args().skip(1) {
        match step.split_once('/') {
            Some((only, step)) if only.chars().all(|c| c.is_ascii_digit()) => {
                if only == life {
                    agent.step(step);
                }
            }
            _ => agent.step(&step),
        }
    }
}

impl Agent {
    fn step(&mut self, step: &str) {
        let (verb, rest) = step.split_once(':').unwrap_or((step, ""));
        match verb {
            "ready" => self.say("READY=1"),
            "say" => self.say(rest),
            "beat" => self.repeat(rest, |agent| agent.say("WATCHDOG=1")),
            "work" => self.repeat(rest, |agent| {
                agent.progress += 1;
                agent.say(&format!("{{\"v\":1,\"progress\":{}}}", agent.progress));
            }),
            "log" => {
                let file = File::options().create(true).append(true).open(rest);
                self.log = Some(file.expect("a log file"));
            }
            "hang" => loop {
                std::thread::park();
            },
            "sleep" => std::thread::sleep(duration(rest)),
            "spin" => {
                let start = Instant::now();
                while start.elapsed() < duration(rest) {
                    std::hint::black_box(0);
                }
            }
            "sh" => drop(Command::new("sh").args(["-c", rest]).spawn().expect("a shell")),
            "exit" => std::process::exit(rest.parse().expect("a code")),
            "die" => {
                let signal = rest.parse().ok().and_then(rustix::process::Signal::from_named_raw);
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, signal.expect("a signal")).expect("a signal");
            }
            _ => panic!("no such step: {step}"),
        }
    }

    fn repeat(&mut self, pace: &str, mut act: impl FnMut(&mut Self)) {
        let (every, span) = pace.split_once(':').expect("EVERY:FOR");
        let (every, span) = (duration(every), duration(span));
        let start = Instant::now();
        while start.elapsed() < span {
            act(self);
            if let Some(log) = &mut self.log {
                writeln!(log, "{}", self.progress).expect("a log line");
            }
            std::thread::sleep(every);
        }
    }

    fn say(&self, text: &str) {
        if let Some(door) = &self.door {
            // A sidecar that is away is no reason to stop.
            drop(self.socket.send_to(text.as_bytes(), door));
        }
    }
}

fn duration(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap_or_else(|_| panic!("no duration: {text}"))
}
