//! A sample agent: plain sd_notify and JSON datagrams, nothing of Lubdub's own.

use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::Duration;

use super::cast::Role;

const EVERY: Duration = Duration::from_millis(500);

/// Arguments of a sample agent.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    role: Role,
}

/// Plays a role until it is ended.
pub(crate) fn run(args: &Args) -> ExitCode {
    let first = std::env::var("LUBDUB_INCARNATION").is_ok_and(|life| life == "1");
    let agent = Agent::new();
    match args.role {
        Role::Steady => agent.work(None),
        Role::Thinker => {
            agent.work(Some(3));
            agent.say(r#"{"v":1,"phase":"llm","lease_s":300,"status":"a long model call"}"#);
            hang();
        }
        Role::Sleeper if first => {
            agent.work(Some(5));
            hang();
        }
        Role::Dreamer if first => {
            agent.work(Some(4));
            agent.dream();
        }
        Role::Sleeper | Role::Dreamer => agent.work(None),
        Role::Crasher => {
            agent.work(Some(2));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

struct Agent(Option<(UnixDatagram, OsString)>);

impl Agent {
    fn new() -> Self {
        let connect = || {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, std::env::var_os("NOTIFY_SOCKET")?))
        };
        Self(connect())
    }

    fn say(&self, text: &str) {
        if let Some((socket, door)) = &self.0 {
            // A sidecar that is away is no reason to stop.
            let (Ok(_) | Err(_)) = socket.send_to(text.as_bytes(), door);
        }
    }

    /// Beats and makes progress, for so many seconds or for ever.
    fn work(&self, seconds: Option<u64>) {
        let steps = seconds.map_or(u64::MAX, |seconds| seconds * 2);
        for step in 1..=steps {
            let energy = 1.0 - f64::from(u32::try_from(step % 1000).unwrap_or(0)) / 1000.0;
            self.say(&format!(
                r#"{{"v":1,"phase":"working","progress":{step},"energy":{energy},
                    "task":{{"id":"{step}","event":"done","ms":{}}},"status":"step {step}"}}"#,
                100 + step % 7
            ));
            std::thread::park_timeout(EVERY);
        }
    }

    /// Beats, and gets nowhere.
    fn dream(&self) {
        loop {
            self.say("WATCHDOG=1");
            std::thread::park_timeout(EVERY);
        }
    }
}

fn hang() {
    loop {
        std::thread::park();
    }
}
