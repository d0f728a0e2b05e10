//! People who wait for outcomes: first that a command is written down, then how it ended.

use std::collections::HashMap;

use lubdub_shared::command::Outcome;
use lubdub_shared::id::CommandId;
use lubdub_shared::incident::ActionOutcome;
use tokio::sync::mpsc;

/// People who may wait at one time; the next is refused.
const WAITERS_MAX: usize = 4096;

/// Who waits for which command.
#[derive(Debug, Default)]
pub(crate) struct Waiters(HashMap<CommandId, mpsc::Sender<Acted>>);

impl Waiters {
    /// Somebody waits for a command; `None` when too many do.
    pub(crate) fn wait_for(&mut self, command: CommandId) -> Option<mpsc::Receiver<Acted>> {
        let (sender, receiver) = mpsc::channel(2);
        self.0.retain(|_, waiter| !waiter.is_closed());
        if self.0.len() >= WAITERS_MAX {
            return None;
        }
        self.0.insert(command, sender);
        Some(receiver)
    }

    /// Whoever waits for a command hears how far it got; they may have gone.
    pub(crate) fn tell(&self, command: CommandId, acted: Acted) {
        if let Some(waiter) = self.0.get(&command) {
            let (Ok(()) | Err(_)) = waiter.try_send(acted);
        }
    }

    /// The command ended: nobody waits for it any more.
    pub(crate) fn end(
        &mut self,
        command: CommandId,
        outcome: ActionOutcome,
        detail: &str,
        full: Option<Box<Outcome>>,
    ) {
        self.tell(command, Acted::Ended { outcome, detail: detail.to_owned(), full });
        self.0.remove(&command);
    }
}

/// An act under way: first that it is written down, then how it ended.
#[derive(Debug)]
pub(crate) struct Acting {
    pub(crate) command: CommandId,
    pub(crate) progress: mpsc::Receiver<Acted>,
}

impl Acting {
    /// Nothing was begun.
    pub(crate) fn ended(command: CommandId, why: &str) -> Self {
        let (sender, progress) = mpsc::channel(1);
        let outcome = ActionOutcome::Refused;
        let ended = Acted::Ended { outcome, detail: why.to_owned(), full: None };
        sender.try_send(ended).expect("a new channel has room");
        Self { command, progress }
    }
}

/// How far an act got.
#[derive(Debug)]
pub(crate) enum Acted {
    Accepted,
    Pending,
    Ended { outcome: ActionOutcome, detail: String, full: Option<Box<Outcome>> },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_gone_disturbs_nothing_and_leaves_a_place() {
        let rng = &mut fastrand::Rng::with_seed(1);
        let mut waiters = Waiters::default();
        let ids: Vec<_> = (0..WAITERS_MAX).map(|_| CommandId::random(rng)).collect();
        let mut waiting: Vec<_> =
            ids.iter().map(|id| waiters.wait_for(*id).expect("a place")).collect();
        assert!(waiters.wait_for(CommandId::random(rng)).is_none(), "as many as may");
        drop(waiting.pop());
        let gone = *ids.last().expect("some");
        waiters.tell(gone, Acted::Accepted);
        waiters.end(gone, ActionOutcome::Done, "d", None);
        assert!(waiters.wait_for(CommandId::random(rng)).is_some(), "a place is free");
        waiters.end(ids[0], ActionOutcome::Done, "d", None);
        assert!(matches!(waiting[0].try_recv(), Ok(Acted::Ended { .. })));
        assert!(matches!(waiting[0].try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    }
}
