//! The sidecar's own command line: `run`, `attach` and `beat`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, File};

mod attach;
mod beat;
mod run;

pub use attach::Attach;
pub use beat::Beat;
pub use run::{NoPlace, Run};

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
    /// Supervise a process that somebody else has started.
    Attach(Attach),
    /// Beat once, from a shell: to the socket in LUBDUB_SOCKET or NOTIFY_SOCKET.
    Beat(Beat),
}

/// A command line that makes a configuration, again whenever the file is to be read anew.
#[derive(Debug, Clone)]
pub enum Origin {
    /// `run`.
    Run(Run),
    /// `attach`.
    Attach(Attach),
}

impl Origin {
    /// Reads the file, lets the flags win.
    ///
    /// # Errors
    /// The file has a mistake, or the process to attach to is not there.
    pub fn config(&self) -> anyhow::Result<Config> {
        match self {
            Self::Run(run) => run.config(),
            Self::Attach(attach) => attach.config(),
        }
    }
}

/// Flags of both.
#[derive(Debug, Clone, Args)]
struct Common {
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
}

impl Common {
    /// The file, with what the flags say instead.
    fn file(&self) -> anyhow::Result<File> {
        let mut file = match &self.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        if !self.collectors.is_empty() {
            file.collectors.clone_from(&self.collectors);
        }
        file.labels.extend(BTreeMap::from_iter(self.labels.iter().cloned()));
        Ok(file)
    }

    fn root(&self) -> anyhow::Result<PathBuf> {
        use anyhow::Context as _;
        let root = self.state_dir.clone().or_else(lubdub_shared::fs::state_root);
        let root = root.context("neither XDG_STATE_HOME nor HOME is set; name a --state-dir")?;
        std::path::absolute(&root).with_context(|| root.display().to_string())
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
