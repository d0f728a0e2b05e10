//! Local hooks: a command from the sidecar's own file, never from the wire and never through a
//! shell. Each has its time; what takes longer is killed.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

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

impl Hook {
    /// Runs it. How it ended, in words.
    pub(crate) async fn run(self) -> Result<String, String> {
        let program = self.argv[0].clone();
        let mut command = self.command();
        let ran = async { command.spawn()?.wait().await };
        let status = self.in_time(ran).await?;
        if status.success() {
            Ok(format!("the hook {program} ended well"))
        } else {
            Err(format!("the hook {program} ended with {status}"))
        }
    }

    /// Runs it, and takes what it prints, up to so many bytes.
    pub(crate) async fn output(self, at_most: u64) -> Result<String, String> {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let read = async {
            let mut child = command.spawn()?;
            let mut text = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                stdout.take(at_most).read_to_end(&mut text).await?;
            }
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        self.in_time(read).await
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts a hook")]
    fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .env("LUBDUB_HOOK", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn in_time<T>(&self, ran: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
        let program = &self.argv[0];
        match tokio::time::timeout(self.patience, ran).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(format!("the hook {program} did not start: {error}")),
            Err(_) => {
                let patience = lubdub_shared::time::words(self.patience);
                Err(format!("the hook {program} did not end in {patience}"))
            }
        }
    }
}
