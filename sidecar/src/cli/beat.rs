//! `lubdub-sidecar beat`: once, from a shell.

use std::ffi::OsString;
use std::io::{IoSlice, PipeReader};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the sidecar is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Flags of `beat`.
#[derive(Debug, Args)]
pub struct Beat {
    /// What to say, as one JSON object; without it a plain beat.
    #[arg(long)]
    json: Option<OsString>,
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
        // A word that is not UTF-8 is said with replacement characters.
        let json = self.json.as_ref().map(|json| json.to_string_lossy());
        let said = json.as_deref().unwrap_or("WATCHDOG=1");
        if let Some(json) = &json
            && let Err(why) = lubdub_shared::line::parse(json.as_bytes())
        {
            bail!("the sidecar would drop this: {why}");
        }
        let path = std::env::var_os("LUBDUB_SOCKET").or_else(|| std::env::var_os("NOTIFY_SOCKET"));
        let path = PathBuf::from(path.context("neither LUBDUB_SOCKET nor NOTIFY_SOCKET is set")?);
        let socket = UnixDatagram::unbound().context("cannot make a socket")?;
        // A sidecar that is stopped must not block the script that beats.
        socket.set_write_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
        let unreachable = || format!("cannot reach the sidecar at {}", path.display());
        let address = UnixAddr::new(&path).with_context(unreachable)?;
        let (heard, barrier) = std::io::pipe().context("cannot make a pipe")?;
        let words = [IoSlice::new(said.as_bytes())];
        let descriptors = [barrier.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg(socket.as_raw_fd(), &words, &rights, MsgFlags::empty(), Some(&address))
            .with_context(unreachable)?;
        drop(barrier);
        wait_until_heard(&heard);
        Ok(())
    }
}

/// The sidecar closes what came along once it knows who spoke: until then we are here to be looked
/// up. One that is stopped is not waited for.
fn wait_until_heard(heard: &PipeReader) {
    let mut closed = [PollFd::new(heard, PollFlags::IN)];
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    let (Ok(_) | Err(_)) = poll(&mut closed, Some(&patience));
}
