//! Local hooks: a command from the sidecar's own file, never from the wire and never through a
//! shell.

use std::process::Stdio;
use std::time::Duration;

use lubdub_shared::id::{AgentId, CommandId};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::supervisor::Notice;

/// How long a hook may take; then it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a hook ended.
pub(crate) type Ended = (CommandId, Result<String, String>);

/// Runs the hook for a notice. What it is about stands in its environment: `LUBDUB_AGENT`,
/// `LUBDUB_PID` of the main process, `LUBDUB_KIND`, `LUBDUB_CAUSE` and `LUBDUB_REASON`.
#[expect(clippy::disallowed_methods, reason = "the one place that starts a hook")]
pub(crate) fn run(
    argv: &[String],
    agent: &AgentId,
    main: Option<u32>,
    notice: &Notice,
    ended: mpsc::Sender<Ended>,
) {
    let mut command = Command::new(&argv[0]);
    command
        .args(&argv[1..])
        .env("LUBDUB_AGENT", agent.as_str())
        .env("LUBDUB_PID", main.map(|pid| pid.to_string()).unwrap_or_default())
        .env("LUBDUB_KIND", notice.kind.as_str())
        .env("LUBDUB_CAUSE", notice.cause.map_or("", |cause| cause.as_str()))
        .env("LUBDUB_REASON", &notice.reason)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let (program, id) = (argv[0].clone(), notice.id);
    tokio::spawn(async move {
        let ran = tokio::time::timeout(PATIENCE, async { command.spawn()?.wait().await }).await;
        let result = match ran {
            Ok(Ok(status)) if status.success() => Ok(format!("the hook {program} took it")),
            Ok(Ok(status)) => Err(format!("the hook {program} ended with {status}")),
            Ok(Err(error)) => Err(format!("the hook {program} did not start: {error}")),
            Err(_) => Err(format!("the hook {program} did not end in {}s", PATIENCE.as_secs())),
        };
        // The driver may have ended meanwhile: nobody waits for it then.
        let (Ok(()) | Err(_)) = ended.send((id, result)).await;
    });
}
