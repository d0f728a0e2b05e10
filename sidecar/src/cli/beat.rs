//! `lubdub-sidecar beat`: once, from a shell.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

/// Flags of `beat`.
#[derive(Debug, Args)]
pub struct Beat {
    /// What to say, as one JSON object; without it a plain beat.
    #[arg(long)]
    json: Option<String>,
    /// Say nothing and exit with 0, whatever happens: a beat must not end the script it is in.
    #[arg(long)]
    quiet: bool,
}

impl Beat {
    /// Sends the beat.
    ///
    /// # Errors
    /// There is no socket, or nobody listens; none when quiet.
    pub fn send(&self) -> anyhow::Result<()> {
        let sent = self.try_send();
        if self.quiet { Ok(()) } else { sent }
    }

    fn try_send(&self) -> anyhow::Result<()> {
        let said = self.json.as_deref().unwrap_or("WATCHDOG=1");
        if let Some(json) = &self.json
            && let Err(why) = lubdub_shared::line::parse(json.as_bytes())
        {
            bail!("the sidecar would drop this: {why}");
        }
        let path = std::env::var_os("LUBDUB_SOCKET").or_else(|| std::env::var_os("NOTIFY_SOCKET"));
        let path = PathBuf::from(path.context("neither LUBDUB_SOCKET nor NOTIFY_SOCKET is set")?);
        let socket = UnixDatagram::unbound().context("cannot make a socket")?;
        // A sidecar that is stopped must not block the script that beats.
        socket.set_write_timeout(Some(Duration::from_secs(1))).context("cannot set a timeout")?;
        socket
            .send_to(said.as_bytes(), &path)
            .with_context(|| format!("cannot reach the sidecar at {}", path.display()))?;
        Ok(())
    }
}
