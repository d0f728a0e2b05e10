//! Who belongs to the agent.
//!
//! A member is a descendant of the main process; a process that was once seen as one (pid and
//! start time); a process with this life's `LUBDUB_LIFE` in its environment; or an orphan that came
//! to us: only our own descendants do. That last rule is off where others may have such orphans: we
//! are an init, had other children when we started, or the agent shares our session.
//!
//! Never a member is what was a child of ours when we started; what shares our session, where the
//! agent has its own: nobody can enter another's; and what the agent keeps on purpose, with
//! `LUBDUB_DETACH=1` in its environment.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use lubdub_shared::id::{LifeId, ProcessId};

use super::{exit, spawn};
use crate::hook;
use crate::speaker::Standing;
use crate::vitals;
use crate::vitals::procfs::{Stat, environ_holds, parse_children, topmost};

/// Strangers that are remembered between two looks.
const REFUSED_MAX: usize = 256;
/// In the environment of who is kept on purpose.
pub(super) const DETACH: &str = "LUBDUB_DETACH";

/// In the environment of what a hook of ours started: it may leave a daemon behind.
pub(super) const HOOK: &str = "LUBDUB_HOOK=1";
/// Whoever is orphaned anywhere in a container comes to its init.
const INIT: u32 = 1;

#[derive(Debug)]
pub(super) struct Tree {
    me: u32,
    session: u32,
    /// The agent may share our session: in a terminal, or where somebody else started it.
    shared: bool,
    /// Our ancestors: the shell that started us, and whoever started that.
    ancestors: HashSet<u32>,
    /// Children of this process that are none of the agent's.
    strangers: HashSet<(u32, u64)>,
    /// Whoever is orphaned and comes to us is the agent's: nobody else here has children.
    takes_orphans: bool,
    main: Option<ProcessId>,
    marker: String,
    seen: HashMap<u32, u64>,
    /// Kept on purpose: pid and start time.
    detached: HashSet<(u32, u64)>,
    /// Asked once more before they are signalled.
    asked: HashSet<(u32, u64)>,
    /// As the newest look found them.
    orphans: Vec<ProcessId>,
    /// Why the newest look may have missed somebody.
    blind: Option<String>,
    /// Processes that spoke and are no members, since the newest look.
    refused: HashSet<u32>,
    churn: u64,
}

impl Tree {
    /// `shared`: the agent may stand in our session.
    pub(super) fn new(shared: bool) -> Self {
        let me = std::process::id();
        let children = children_of(me).into_iter().filter_map(vitals::stat);
        let strangers: HashSet<_> = children.map(|child| (child.pid, child.start_time)).collect();
        Self {
            takes_orphans: me != INIT && !shared && strangers.is_empty(),
            me,
            session: vitals::stat(me).map_or(0, |stat| stat.session),
            shared,
            ancestors: vitals::above(me).collect(),
            strangers,
            main: None,
            marker: String::new(),
            seen: HashMap::new(),
            detached: HashSet::new(),
            asked: HashSet::new(),
            orphans: Vec::new(),
            blind: None,
            refused: HashSet::new(),
            churn: 0,
        }
    }

    /// Why the newest look may have missed somebody: what could not be read is not gone.
    pub(super) fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    pub(super) fn begin(&mut self, main: ProcessId, life: LifeId) {
        self.main = Some(main);
        self.marker = spawn::marker(life);
        self.seen = HashMap::from([(main.pid.get(), main.start_time)]);
        self.detached.clear();
        self.asked.clear();
        self.refused.clear();
        self.orphans.clear();
        self.churn = 0;
    }

    /// What the process with this pid is to the agent. Members that were seen before are known
    /// by pid and start time; who is none is not looked up again for a while.
    pub(super) fn standing(&mut self, pid: u32) -> Standing {
        // Its end is told before its pid can be another's.
        if self.main.is_some_and(|main| main.pid.get() == pid) {
            return Standing::Member;
        }
        if self.refused.contains(&pid) {
            return Standing::Stranger;
        }
        let Some(stat) = vitals::stat(pid).filter(Stat::is_alive) else { return Standing::Gone };
        match () {
            () if self.seen.get(&pid) == Some(&stat.start_time) => Standing::Member,
            () if self.member(pid).is_some() => Standing::Member,
            () => {
                if self.refused.len() < REFUSED_MAX {
                    self.refused.insert(pid);
                }
                Standing::Stranger
            }
        }
    }

    /// The member with this pid: one by itself, or a descendant of one.
    pub(super) fn member(&self, pid: u32) -> Option<Stat> {
        let stat = vitals::stat(pid).filter(Stat::is_alive)?;
        let is_above_us = |pid: &u32| *pid == self.me || self.ancestors.contains(pid);
        let line = std::iter::once(pid).chain(vitals::above(pid));
        let mut line = line.take_while(|pid| !is_above_us(pid)).filter_map(vitals::stat);
        line.any(|stat| self.is_one(&stat)).then_some(stat)
    }

    /// A member by itself. Only whoever came to us can be an orphan of ours.
    fn is_one(&self, stat: &Stat) -> bool {
        self.main.is_some_and(|main| main.pid.get() == stat.pid)
            || if stat.parent == self.me { self.is_member(stat) } else { self.is_known(stat) }
    }

    /// Another member is the main process from now on.
    pub(super) fn move_main(&mut self, process: ProcessId) {
        self.main = Some(process);
        self.seen.insert(process.pid.get(), process.start_time);
    }

    pub(super) fn main_is_gone(&mut self) {
        if let Some(main) = self.main.take() {
            self.seen.remove(&main.pid.get());
        }
    }

    /// Children born and gone so far.
    pub(super) fn churn(&self) -> u64 {
        self.churn
    }

    /// Living members, the main process first.
    pub(super) fn members(&mut self) -> Vec<Stat> {
        drop(vitals::take_unread());
        self.refused.clear();
        let main = self.main.map(|main| main.pid.get());
        let mut roots: Vec<u32> = main.into_iter().collect();
        roots.extend(self.adopted().iter().filter(|s| self.is_member(s)).map(|s| s.pid));
        roots.extend(self.seen.keys());
        let members = self.walk(roots);
        let orphans = topmost(&members).filter(|stat| Some(stat.pid) != main);
        self.orphans = orphans.filter_map(Stat::id).collect();
        members
    }

    /// Members that no other member started, besides the main process: a new sidecar would not find
    /// them by descent.
    pub(super) fn orphans(&self) -> &[ProcessId] {
        &self.orphans
    }

    /// They were members of this life under an earlier sidecar.
    pub(super) fn remember(&mut self, orphans: &[ProcessId]) {
        let known = orphans.iter().map(|orphan| (orphan.pid.get(), orphan.start_time));
        self.seen.extend(known);
    }

    pub(super) fn is_known_kept(&self, stat: &Stat) -> bool {
        self.detached.contains(&(stat.pid, stat.start_time))
    }

    /// The same, and whoever carries the marker anywhere on the machine.
    pub(super) fn marked_members(&mut self) -> Vec<Stat> {
        drop(vitals::take_unread());
        let marked = marked(&self.marker);
        let mut roots: Vec<u32> = marked.iter().map(|stat| stat.pid).collect();
        // Who is just starting a program has no environment for a moment.
        roots.extend(self.adopted().iter().filter(|s| self.is_member(s)).map(|s| s.pid));
        roots.extend(self.seen.keys());
        self.walk(roots)
    }

    /// Orphans that came to us and fit no rule: they left their environment behind.
    pub(super) fn strays(&self) -> Vec<Stat> {
        let strays = self.adopted().into_iter();
        strays
            .filter(|stat| {
                !self.is_member(stat)
                    && stat.is_alive()
                    && !is_detached(stat.pid)
                    && !holds_marker(stat.pid, HOOK)
            })
            .collect()
    }

    /// Reaps orphans that have ended. The status of `main` and of hooks is left for who waits for
    /// it.
    pub(super) fn reap(&self, main: Option<ProcessId>) {
        if !exit::any_has_ended() {
            return;
        }
        let main = main.map_or(0, |main| main.pid.get());
        for child in children_of(self.me).into_iter().filter_map(vitals::stat) {
            // Whoever has such children was replaced by us (exec), and waits for them no more.
            if child.state == 'Z' && child.pid != main && !hook::runs(child.pid) {
                exit::reap(child.pid);
            }
        }
    }

    /// Children of ours that may be the agent's: not strangers, and of our session only those that
    /// were seen below the main process; others there are our own hooks.
    fn adopted(&self) -> Vec<Stat> {
        let children = children_of(self.me).into_iter().filter_map(vitals::stat);
        children
            .filter(|child| {
                let seen = self.seen.get(&child.pid) == Some(&child.start_time);
                (child.session != self.session || self.shared && seen)
                    && !self.strangers.contains(&(child.pid, child.start_time))
            })
            .collect()
    }

    /// The agent keeps it on purpose. Looked up for who is `new`, and again before a signal: what
    /// was just forked still has its parent's environment.
    fn is_kept(&mut self, stat: &Stat, new: bool) -> bool {
        let id = (stat.pid, stat.start_time);
        if self.is_known_kept(stat) {
            return true;
        }
        let is_main = self.main.is_some_and(|main| main.pid.get() == stat.pid);
        let kept = new && !is_main && is_detached(stat.pid);
        if kept {
            self.detached.insert(id);
        }
        kept
    }

    /// Takes those out that turned out to be kept on purpose. Each is asked once more.
    pub(super) fn let_go(&mut self, members: &mut Vec<Stat>) {
        members.retain(|stat| {
            let first = self.asked.insert((stat.pid, stat.start_time));
            let kept = self.is_kept(stat, first);
            if kept {
                self.seen.remove(&stat.pid);
                self.orphans.retain(|orphan| orphan.pid.get() != stat.pid);
            }
            !kept
        });
    }

    /// Who lives on because the agent keeps it on purpose.
    pub(super) fn kept(&self) -> Vec<Stat> {
        let stats = self.detached.iter().filter_map(|(pid, start_time)| {
            vitals::stat(*pid).filter(|stat| stat.start_time == *start_time)
        });
        stats.filter(Stat::is_alive).collect()
    }

    /// It was seen as a member, or carries the marker.
    fn is_known(&self, stat: &Stat) -> bool {
        self.seen.get(&stat.pid) == Some(&stat.start_time)
            || (!self.marker.is_empty() && holds_marker(stat.pid, &self.marker))
    }

    /// Of a child of ours.
    fn is_member(&self, stat: &Stat) -> bool {
        self.is_known(stat) || self.takes_orphans && is_nobodys(stat.pid)
    }

    /// Everybody below the roots, each once. Whoever is found is remembered.
    fn walk(&mut self, roots: Vec<u32>) -> Vec<Stat> {
        let mut found: Vec<Stat> = Vec::new();
        let mut hidden: HashSet<u32> = HashSet::new();
        self.blind = None;
        let mut visited: HashSet<u32> = HashSet::new();
        let roots = roots.into_iter().map(|pid| (pid, None));
        let mut queue: std::collections::VecDeque<(u32, Option<u32>)> = roots.collect();
        while let Some((pid, listed_by)) = queue.pop_front() {
            let above = pid == self.me || self.ancestors.contains(&pid);
            if above || !visited.insert(pid) {
                continue;
            }
            let Some(stat) = vitals::stat(pid) else {
                // A /proc that hides other users' processes shows none who has become one.
                if self.seen.contains_key(&pid) && vitals::exists(pid) {
                    hidden.insert(pid);
                    self.blind = Some(format!("{pid} is there, and /proc does not show it"));
                }
                continue;
            };
            let known = self.seen.get(&pid).copied();
            // Its pid was another's when its parent was asked, or when it was seen first.
            let another = known.is_some_and(|start_time| start_time != stat.start_time)
                || listed_by.is_some_and(|parent| parent != stat.parent);
            let ours = stat.session == self.session && !self.shared;
            if another || ours || !stat.is_alive() {
                continue;
            }
            if self.is_kept(&stat, known.is_none()) {
                continue;
            }
            if known.is_none() {
                self.seen.insert(pid, stat.start_time);
                self.churn += 1;
            }
            let children = if stat.threads == 1 {
                children_of_thread(Path::new(&format!("/proc/{pid}/task/{pid}")))
            } else {
                children_of(pid)
            };
            queue.extend(children.into_iter().map(|child| (child, Some(pid))));
            found.push(stat);
        }
        let before = self.seen.len();
        let main = self.main.map(|main| main.pid.get());
        self.seen.retain(|pid, _| {
            Some(*pid) == main || hidden.contains(pid) || found.iter().any(|stat| stat.pid == *pid)
        });
        self.churn += (before - self.seen.len()) as u64;
        if let Some(unread) = vitals::take_unread() {
            self.blind = Some(format!("cannot read {unread}"));
        }
        found
    }
}

/// Children of every thread: they belong to the thread that forked them.
fn children_of(pid: u32) -> Vec<u32> {
    let threads = vitals::list(Path::new(&format!("/proc/{pid}/task")));
    threads.iter().flat_map(|thread| children_of_thread(thread)).collect()
}

fn children_of_thread(thread: &Path) -> Vec<u32> {
    let list = vitals::slurp_text(thread.join("children")).unwrap_or_default();
    parse_children(&list).collect()
}

/// No hook of ours started it. What cannot be asked is left alone.
fn is_nobodys(pid: u32) -> bool {
    environ_of(pid).is_some_and(|environ| !environ_holds(&environ, HOOK.as_bytes()))
}

fn holds_marker(pid: u32, marker: &str) -> bool {
    environ_of(pid).is_some_and(|environ| environ_holds(&environ, marker.as_bytes()))
}

pub(super) fn environ_of(pid: u32) -> Option<Vec<u8>> {
    vitals::read_own(pid, "environ")
}

/// The agent keeps it on purpose.
pub(super) fn is_detached(pid: u32) -> bool {
    holds_marker(pid, &format!("{DETACH}=1"))
}

fn marked(marker: &str) -> Vec<Stat> {
    let marked = vitals::pids().filter(|pid| holds_marker(*pid, marker));
    marked.filter_map(vitals::stat).filter(Stat::is_alive).collect()
}
