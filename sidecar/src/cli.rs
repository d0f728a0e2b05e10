//! The sidecar's own command line: `run` and `beat`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use lubdub_shared::id::AgentId;
use lubdub_shared::strict_toml::parse_span;

use crate::config::{Config, File, name_of};
use crate::process::terminal;
use crate::supervisor::Once;

/// The small process beside each agent.
#[derive(Debug, Parser)]
#[command(name = "lubdub-sidecar", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run an agent and supervise it until it has ended for good.
    Run(Run),
    /// Beat once, from a shell: to the socket in LUBDUB_SOCKET or NOTIFY_SOCKET.
    Beat(Beat),
}

/// Flags of `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Name of the agent: letters, digits, dots, dashes, at most 64. [default: the stem of the
    /// script or program]
    #[arg(long)]
    id: Option<AgentId>,
    /// Run the command once, and end its whole tree after this time: exit code 124 then. Without
    /// --id no collector hears of it, and it leaves nothing behind.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    timeout: Option<Duration>,
    /// How long it may go on after --timeout, once it was asked to end.
    #[arg(long, value_name = "TIME", value_parser = parse_span, requires = "timeout",
          default_value = "5s")]
    kill_after: Duration,
    /// Address of the collector; again for its other addresses. [default: http://127.0.0.1:7411]
    #[arg(long = "collector", value_name = "URL")]
    collectors: Vec<String>,
    /// Directory that holds what must survive a crash. [default: $XDG_STATE_HOME/lubdub]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The sidecar's file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A label of the agent; again for more.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// The agent's program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

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

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Run {
    /// A single run that nobody watches: its own output is all that anybody wants to see.
    pub fn is_nameless(&self) -> bool {
        self.timeout.is_some() && self.id.is_none()
    }

    /// Reads the file, lets the flags win.
    ///
    /// # Errors
    /// The file has a mistake.
    pub fn config(&self) -> anyhow::Result<Config> {
        let origin = self.clone();
        let once = self.timeout.map(|timeout| Once { timeout, grace: self.kill_after });
        let this = self.clone();
        let mut file = match &self.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        if !this.collectors.is_empty() {
            file.collectors = this.collectors;
        }
        file.labels.extend(BTreeMap::from_iter(this.labels));
        let named = this.id.or_else(|| name_of(&self.command));
        let agent =
            named.context("no agent name can be made of the command; give one with --id")?;
        if self.is_nameless() {
            return nameless(agent, this.command, file, once);
        }
        let root = this.state_dir.or_else(lubdub_shared::fs::state_root);
        let root = root.context("neither XDG_STATE_HOME nor HOME is set; name a --state-dir")?;
        let root = std::path::absolute(&root).with_context(|| root.display().to_string())?;
        let mut config = Config::new(agent, this.command, &root, file);
        config.interactive = once.is_none() && terminal::is_ours();
        config.origin = Some(origin).filter(|_| !config.interactive);
        (config.local.once, config.local.interactive) = (once, config.interactive);
        Ok(config)
    }
}

/// A single run that nobody watches: what it needs lies in a directory of its own, and goes with it.
fn nameless(
    agent: AgentId,
    command: Vec<OsString>,
    file: File,
    once: Option<Once>,
) -> anyhow::Result<Config> {
    let scratch = tempfile::Builder::new().prefix("lubdub-run-").tempdir();
    let scratch = scratch.context("cannot make a directory")?;
    let file = File { die_with_sidecar: true, heartbeat_directory: None, ..file };
    let mut config = Config::new(agent, command, scratch.path(), file);
    config.socket = scratch.path().join("notify.sock");
    config.http = config.http.map(|_| scratch.path().join("http.sock"));
    config.collectors.clear();
    config.scratch = Some(Arc::new(scratch));
    config.local.once = once;
    Ok(config)
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
