//! Local hooks: a command from the sidecar's own file, never from the wire and never through a
//! shell. Each has its time; what takes longer is killed.

use std::collections::BTreeSet;
use std::io;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// One hook, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// What it is about: `LUBDUB_AGENT`, `LUBDUB_PID` of the main process, and what else its user
    /// needs to know.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// How long it may take.
    pub(crate) patience: Duration,
}

/// Hooks that run now: the reaper of orphans leaves their status alone.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// This process is a hook of ours.
pub(crate) fn runs(pid: u32) -> bool {
    RUNNING.lock().is_ok_and(|running| running.contains(&pid))
}

/// A hook that runs, with everything it started. Dropping it kills all of it.
struct Running {
    child: Child,
    pid: u32,
}

impl Running {
    fn start(mut command: Command) -> io::Result<Self> {
        // Registered before anybody else may look for children that have ended.
        let mut running = RUNNING.lock().map_err(|_| io::Error::other("a hook panicked"))?;
        let child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        running.insert(pid);
        Ok(Self { child, pid })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // While it has an id it is not reaped, and the number of its group is its own; it may have
        // ended and left others in it.
        if let Some(group) = group.filter(|_| self.child.id().is_some()) {
            let (Ok(()) | Err(_)) = kill_process_group(group, Signal::KILL);
        }
        if let Ok(mut running) = RUNNING.lock() {
            running.remove(&self.pid);
        }
    }
}

impl Hook {
    /// Runs it. How it ended, in words.
    pub(crate) async fn run(self) -> Result<String, String> {
        let program = self.argv[0].clone();
        let command = self.command();
        let ran = async { Running::start(command)?.child.wait().await };
        let status = self.in_time(ran).await?;
        if status.success() {
            Ok(format!("{program} ended well"))
        } else {
            Err(format!("{program} ended with {status}"))
        }
    }

    /// Runs it, and takes what it prints, up to so many bytes.
    pub(crate) async fn output(self, at_most: u64) -> Result<String, String> {
        let program = self.argv[0].clone();
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut text = Vec::new();
        let read = async {
            let mut running = Running::start(command)?;
            if let Some(stdout) = running.child.stdout.take() {
                stdout.take(at_most).read_to_end(&mut text).await?;
            }
            running.child.wait().await
        };
        let ended = self.in_time(read).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        match ended {
            Ok(status) if status.success() => Ok(text),
            Ok(status) => Err(format!("{program} ended with {status}; printed: {text}")),
            Err(why) => Err(format!("{why}; printed: {text}")),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts a hook")]
    fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .env("LUBDUB_HOOK", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        lubdub_shared::inherited::take().give_back(command.as_std_mut());
        command
    }

    async fn in_time<T>(&self, ran: impl Future<Output = io::Result<T>>) -> Result<T, String> {
        let program = &self.argv[0];
        match tokio::time::timeout(self.patience, ran).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(format!("{program} did not start: {error}")),
            Err(_) => {
                let patience = lubdub_shared::time::words(self.patience);
                Err(format!("{program} did not end in {patience}"))
            }
        }
    }
}
