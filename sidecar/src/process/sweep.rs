//! The end of a tree: looked at until nobody is left, and killed once that was ordered.

use std::time::Duration;

use lubdub_shared::command::Survivor;
use lubdub_shared::text::clip;
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
    /// What was killed does not end; who is left, and in which state the first of them hangs, or
    /// why it cannot be seen whether anybody is left.
    Stuck(Vec<Survivor>, String),
}

/// A kill under way.
#[derive(Debug, Default)]
pub(super) struct Killing {
    since: Option<Mono>,
    /// When it was last repeated.
    last: Option<Mono>,
    /// Why somebody could not be signalled at all.
    refused: Option<signal::NotSent>,
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
        let blind = self.why_blind();
        if left.is_empty() && self.main.is_none() && !populated && blind.is_none() {
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
        if now.since(since) < KILL_PATIENCE {
            return Sweep::NotYet;
        }
        self.out_of_patience(&left, blind)
    }

    /// Why nobody can say that nobody is left.
    fn why_blind(&self) -> Option<String> {
        let blind = self.tree.blind().map(str::to_owned);
        let gone = || "/proc does not show the sidecar itself".to_owned();
        blind.or_else(|| (!vitals::sees_itself()).then(gone))
    }

    fn kill(&mut self, left: &[Stat], populated: bool) {
        // A main process whose first thread has ended looks dead in /proc while others run.
        let main = self.main().map(|main| signal::send(main, signal::KILL));
        let members = left.iter().map(|member| signal::send_to(member, signal::KILL));
        self.killing.refused = main.into_iter().chain(members).find_map(Result::err);
        if let Some(leaf) = self.leaf.as_ref().filter(|_| populated) {
            leaf.kill();
        }
    }

    fn out_of_patience(&mut self, left: &[Stat], blind: Option<String>) -> Sweep {
        if std::mem::replace(&mut self.killing.told, true) {
            return Sweep::NotYet;
        }
        let main = self.main().map(|main| main.pid.get());
        let stuck = main.or_else(|| left.first().map(|member| member.pid));
        let somebody = || blind.unwrap_or_else(|| "somebody in its group".to_owned());
        let plight = stuck.map_or_else(somebody, vitals::plight);
        let refused = self.killing.refused.as_ref();
        let refused =
            refused.map_or_else(String::new, |why| format!("; it may not be killed: {why}"));
        Sweep::Stuck(survivors(left), plight + &refused)
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
