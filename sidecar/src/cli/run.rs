//! `lubdub-sidecar run`.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use lubdub_shared::fs::temp_roots;
use lubdub_shared::id::AgentId;
use lubdub_shared::strict_toml::parse_span;

use super::{Common, Origin};
use crate::config::{Config, File, RestartBy, name_of};
use crate::place;
use crate::process::terminal;
use crate::socket::PATH_LEN_MAX;
use crate::supervisor::Once;

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
    #[command(flatten)]
    common: Common,
    /// The agent's program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
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
        let file = self.common.file()?;
        if file.restart.by != RestartBy::Sidecar {
            bail!("[restart] by is for lubdub-sidecar attach: what run starts, run restarts");
        }
        let named = self.id.clone().or_else(|| name_of(&self.command));
        let agent =
            named.context("no agent name can be made of the command; give one with --id")?;
        let once = self.timeout.map(|timeout| Once { timeout, grace: self.kill_after });
        if self.is_nameless() {
            return nameless(agent, self.command.clone(), file, once);
        }
        let root = self.common.root()?;
        let mut config = Config::new(agent, self.command.clone(), &root, file);
        config.interactive = once.is_none() && terminal::is_ours();
        config.origin = (!config.interactive).then(|| Origin::Run(self.clone()));
        (config.local.once, config.local.interactive) = (once, config.interactive);
        Ok(config)
    }
}

/// A single run that nobody watches: what it needs lies in a directory of its own, and goes with
/// it.
fn nameless(
    agent: AgentId,
    command: Vec<OsString>,
    file: File,
    once: Option<Once>,
) -> anyhow::Result<Config> {
    let scratch = scratch()?;
    let file = File { die_with_sidecar: true, heartbeat_directory: None, ..file };
    let mut config = Config::new(agent, command, scratch.path(), file);
    config.door = Some(scratch.path().join(place::DOOR));
    config.collectors.clear();
    config.scratch = Some(Arc::new(scratch));
    config.local.once = once;
    Ok(config)
}

/// Nowhere is a directory to be had for what a run needs.
#[derive(Debug, thiserror::Error)]
#[error("no directory can be made for this run: {0}")]
pub struct NoPlace(String);

/// In the first temp folder that takes one and whose path leaves room for a socket's address.
fn scratch() -> Result<tempfile::TempDir, NoPlace> {
    const PREFIX: &str = "lubdub-run-";
    let mut why = Vec::new();
    for root in temp_roots() {
        // Six letters are added, and the name of the door.
        if root.as_os_str().len() + PREFIX.len() + place::DOOR.len() + 8 > PATH_LEN_MAX {
            why.push(format!("{} is too long for a socket", root.display()));
            continue;
        }
        let private = Permissions::from_mode(0o700);
        let mut builder = tempfile::Builder::new();
        match builder.prefix(PREFIX).permissions(private).tempdir_in(&root) {
            Ok(scratch) => return Ok(scratch),
            Err(error) => why.push(format!("{}: {error}", root.display())),
        }
    }
    Err(NoPlace(why.join("; ")))
}
