//! `lubdub-sidecar attach`: a process that somebody else has started.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use lubdub_shared::id::AgentId;

use super::{Common, Origin};
use crate::config::{Config, RestartBy, Starts};
use crate::process::{Selector, owner_of};
use crate::state;

/// Flags of `attach`.
#[derive(Debug, Clone, Args)]
pub struct Attach {
    /// Name of the agent: letters, digits, dots, dashes, at most 64.
    #[arg(long)]
    id: AgentId,
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    common: Common,
    /// What starts it anew, under `[restart] by = "sidecar"`.
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Which process: exactly one must fit.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Named {
    /// The process with this pid.
    #[arg(long)]
    pid: Option<NonZeroU32>,
    /// The process whose pid this file holds.
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// The main process of this systemd unit.
    #[arg(long)]
    unit: Option<String>,
    /// The process with these words in its command line.
    #[arg(long = "match", value_name = "WORDS")]
    words: Option<String>,
}

impl Named {
    fn selector(&self) -> Selector {
        let Self { pid, pidfile, unit, words } = self.clone();
        let named = [
            pid.map(Selector::Pid),
            pidfile.map(Selector::Pidfile),
            unit.map(Selector::Unit),
            words.map(Selector::Match),
        ];
        named.into_iter().flatten().next().expect("clap asks for one of them")
    }
}

impl Attach {
    /// The same, for a start. Whom it names must be there, unless the agent was supervised before.
    ///
    /// # Errors
    /// The file has a mistake, or not exactly one process fits.
    pub fn find(&self) -> anyhow::Result<Config> {
        let config = self.config()?;
        if !config.state.join(state::FILE_NAME).exists() {
            let process = self.named.selector().resolve()?;
            if let Some(owner) = owner_of(process) {
                bail!("pid {} is the agent of the sidecar with pid {owner}", process.pid);
            }
        }
        Ok(config)
    }

    /// Reads the file, lets the flags win.
    ///
    /// # Errors
    /// The file has a mistake, or says nothing of who restarts the process.
    pub fn config(&self) -> anyhow::Result<Config> {
        let file = self.common.file()?;
        let selector = self.named.selector();
        if matches!(&selector, Selector::Match(words) if words.trim().is_empty()) {
            bail!("--match names no words");
        }
        let by = file.restart.by;
        if by == RestartBy::Sidecar && self.command.is_empty() {
            bail!(
                "who restarts it? Give the command that starts it behind --, or \
                 [restart] by = \"command\" or \"platform\" in the file"
            );
        }
        if by != RestartBy::Sidecar && matches!(selector, Selector::Pid(_)) {
            bail!(
                "a process that is started anew has another pid: name it by --pidfile, --unit \
                   or --match"
            );
        }
        let restarts = file.restart.starts(selector.clone());
        let mut config =
            Config::new(self.id.clone(), self.command.clone(), &self.common.root()?, file);
        if let Starts::ByCommand { within, .. } = restarts {
            config.local.restarted_by_command = Some(within);
        }
        config.starts = restarts;
        config.attach = Some(selector);
        config.origin = Some(Origin::Attach(self.clone()));
        Ok(config)
    }
}
