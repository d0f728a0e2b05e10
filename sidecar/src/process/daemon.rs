//! Commands that start a daemon and end (`type = "forking"`), and agents that name another main
//! process (`MAINPID=`).

use std::path::PathBuf;
use std::time::Duration;

use lubdub_shared::beat::Exit;
use lubdub_shared::id::ProcessId;
use lubdub_shared::time::Mono;

use super::selector::by_file;
use super::{Foreign, Main, Process};
use crate::vitals;
use crate::vitals::procfs::{Stat, topmost};

/// How long the main process of a daemon may take to show, once its launcher has ended.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Nobody left for so long after a launcher's end is nobody.
const SETTLE: Duration = Duration::from_millis(500);

/// How the command becomes the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// It is the agent.
    #[default]
    Simple,
    /// It starts the agent and ends. The main process is the one that the file names, that says so
    /// by `MAINPID=`, or that is left alone.
    Forking(Option<PathBuf>),
}

/// How the main process is.
#[derive(Debug)]
pub enum Turn {
    /// It ended.
    Ended(Exit),
    /// Another one is the main process from now on.
    Moved(ProcessId),
    /// Its launcher ended well, and no main process was found; why.
    Nobody(String),
}

/// A main process that has ended well, and may have been a daemon's launcher.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) since: Mono,
    /// How it ended, where it was the main process already: it may have been the agent after all.
    pub(super) exit: Option<Exit>,
}

impl Process {
    /// The launcher has ended well: who is the main process now?
    pub(super) fn find_daemon(&mut self, now: Mono) -> Option<Turn> {
        let members = self.tree.marked_members();
        let named = match &self.spec.kind {
            Kind::Simple => None,
            Kind::Forking(Some(file)) => by_file(file).ok(),
            // The one that no other started: workers are its children.
            Kind::Forking(None) => match topmost(&members).collect::<Vec<_>>().as_slice() {
                [one] => Some((*one).clone()),
                _ => None,
            },
        };
        // The file may still hold the pid of an earlier life.
        let ours = named.filter(|stat| members.iter().any(|member| member.pid == stat.pid));
        if let Some(process) = ours.as_ref().and_then(Stat::id)
            && self.set_main(process)
        {
            self.launched = None;
            return Some(Turn::Moved(process));
        }
        let launched = self.launched.as_ref()?;
        if members.is_empty() && now.since(launched.since) >= SETTLE {
            let exit = launched.exit.clone();
            self.launched = None;
            self.tree.main_is_gone();
            let why = format!("its launcher ended well and left nobody running{}", self.pidfile());
            return Some(exit.map_or(Turn::Nobody(why), Turn::Ended));
        }
        if now.since(launched.since) >= PATIENCE {
            self.launched = None;
            self.tree.main_is_gone();
            let why =
                format!("its launcher ended, and no main process was found{}", self.pidfile());
            return Some(Turn::Nobody(why));
        }
        None
    }

    /// What the file says, that was to name the main process.
    fn pidfile(&self) -> String {
        let Kind::Forking(Some(file)) = &self.spec.kind else { return String::new() };
        match by_file(file) {
            Ok(stat) => format!("; {} names pid {}, no member", file.display(), stat.pid),
            Err(why) => format!("; {why}"),
        }
    }

    /// The agent names its main process. Taken from members of its tree alone.
    pub fn move_main(&mut self, pid: u32) -> Option<ProcessId> {
        if self.main().is_some_and(|main| main.pid.get() == pid) {
            return None;
        }
        let process = self.tree.member(pid)?.id()?;
        if !self.set_main(process) {
            return None;
        }
        self.launched = None;
        Some(process)
    }

    fn set_main(&mut self, process: ProcessId) -> bool {
        let ours =
            vitals::stat(process.pid.get()).is_some_and(|stat| stat.parent == std::process::id());
        let foreign = if ours { None } else { Foreign::open(process).ok() };
        if !ours && foreign.is_none() {
            return false;
        }
        self.main = Some(Main::new(process, false, foreign));
        self.tree.move_main(process);
        true
    }
}
