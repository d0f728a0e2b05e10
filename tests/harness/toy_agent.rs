//! An agent that behaves as told: each argument is a step, done in order. `N/STEP` is done in life
//! N only. Its beats never block, like those of any agent that must go on working.
//!
//! ```text
//! ready                 READY=1
//! beat:EVERY:FOR        WATCHDOG=1 at this pace
//! work:EVERY:FOR        JSON beats whose progress counter grows
//! say:TEXT              one datagram
//! again:EVERY:FOR:TEXT  the same datagram at this pace
//! deadlock:EVERY        the main thread waits for itself; another goes on beating, by write(2)
//! leak:MIB:EVERY:FOR    so much more memory at this pace, in use
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
            "again" => {
                let mut words = rest.splitn(3, ':');
                let (every, span) = (words.next().expect("EVERY"), words.next().expect("FOR"));
                let text = words.next().expect("TEXT").to_owned();
                self.repeat(&format!("{every}:{span}"), |agent| agent.say(&text));
            }
            "deadlock" => self.deadlock(duration(rest)),
            "leak" => {
                let (mib, pace) = rest.split_once(':').expect("MIB:EVERY:FOR");
                let size = mib.parse::<usize>().expect("MiB") << 20;
                let mut kept = Vec::new();
                self.repeat(pace, |agent| {
                    kept.push(vec![1_u8; size]);
                    agent.say("WATCHDOG=1");
                });
            }
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

    /// The mistake that a watchdog on a helper thread never sees.
    fn deadlock(&self, every: Duration) {
        let own = UnixDatagram::unbound().expect("a socket");
        if let Some(door) = &self.door {
            own.connect(door).expect("the door is there");
        }
        std::thread::spawn(move || {
            let mut own = File::from(std::os::fd::OwnedFd::from(own));
            loop {
                drop(own.write_all(b"WATCHDOG=1"));
                std::thread::sleep(every);
            }
        });
        let lock = std::sync::Mutex::new(());
        let held = lock.lock().expect("free");
        let again = lock.lock().expect("never");
        drop((held, again));
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
