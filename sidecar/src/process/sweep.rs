//! The end of a tree: looked at until nobody is left, and killed once that was ordered.

use std::time::Duration;

use lubdub_shared::command::Survivor;
use lubdub_shared::line::clip;
use lubdub_shared::time::Mono;

use super::leaf::Leaf;
use super::{Process, signal};
use crate::vitals;
use crate::vitals::procfs::Stat;

/// How long a kill is repeated before what is left is called unkillable.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How often a kill is repeated after that: one that is delivered needs no second.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// Survivors that are named at most.
pub(super) const SURVIVORS_MAX: usize = 64;

/// How far a sweep got.
#[derive(Debug, PartialEq)]
pub enum Sweep {
    /// Members are left.
    NotYet,
    /// Nothing is left but these, which fit no rule of membership or do not die.
    Gone(Vec<Survivor>),
    /// What was killed does not end; who is left, and in which state the first of them hangs.
    Stuck(Vec<Survivor>, String),
}

/// A kill under way.
#[derive(Debug, Default)]
pub(super) struct Killing {
    since: Option<Mono>,
    /// When it was last repeated.
    last: Option<Mono>,
    /// That it does not help was told.
    told: bool,
}

impl Process {
    /// From now on each [`Process::sweep`] kills what is left.
    pub fn kill_tree(&mut self, now: Mono) {
        self.killing.since.get_or_insert(now);
        if let Some(leaf) = &self.leaf {
            leaf.kill();
        }
    }

    /// One step of a sweep: looks for members, and kills them once that was ordered.
    pub fn sweep(&mut self, now: Mono) -> Sweep {
        self.reap();
        let mut left = self.tree.members();
        if left.is_empty() && self.main.is_none() {
            // The walk from the main process found nobody; what hides elsewhere has the marker,
            // or sits in the leaf.
            left = self.tree.marked_members();
        }
        self.tree.let_go(&mut left);
        if let Some(leaf) = &self.leaf {
            leaf.let_go();
        }
        let populated = self.leaf.as_ref().is_some_and(Leaf::is_populated);
        if left.is_empty() && self.main.is_none() && !populated {
            // Whoever restarts it may do so by a command of ours: that starts the next life.
            let escaped = if self.spec.attaches { Vec::new() } else { self.tree.strays() };
            self.leaf = None;
            return Sweep::Gone(survivors(&escaped));
        }
        let Some(since) = self.killing.since else { return Sweep::NotYet };
        let again = self.killing.last.is_none_or(|killed| now.since(killed) >= KILL_AGAIN);
        if !self.killing.told || again {
            self.killing.last = Some(now);
            self.kill(&left, populated);
        }
        if now.since(since) >= KILL_PATIENCE { self.out_of_patience(&left) } else { Sweep::NotYet }
    }

    fn kill(&self, left: &[Stat], populated: bool) {
        // A main process whose first thread has ended looks dead in /proc while others run.
        if let Some(main) = self.main() {
            signal::send(main, signal::KILL);
        }
        for member in left {
            signal::send_to(member, signal::KILL);
        }
        if let Some(leaf) = self.leaf.as_ref().filter(|_| populated) {
            leaf.kill();
        }
    }

    fn out_of_patience(&mut self, left: &[Stat]) -> Sweep {
        if std::mem::replace(&mut self.killing.told, true) {
            return Sweep::NotYet;
        }
        let main = self.main().map(|main| main.pid.get());
        let stuck = main.or_else(|| left.first().map(|member| member.pid));
        let plight = stuck.map_or_else(|| "somebody in its group".to_owned(), vitals::plight);
        Sweep::Stuck(survivors(left), plight)
    }
}

/// Names what is left, up to a bound: the list travels in one message.
pub(super) fn survivors(left: &[Stat]) -> Vec<Survivor> {
    let survivor = |stat: &Stat| Survivor {
        pid: stat.pid,
        comm: clip(stat.comm.as_str().into()),
        start_time: stat.start_time,
    };
    left.iter().take(SURVIVORS_MAX).map(survivor).collect()
}
