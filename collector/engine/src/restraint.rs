//! What keeps the engine from acting, or speaking, again at once: refusals, saves, nudges that
//! nobody took. It holds whatever is being treated, so it stands beside the treatment.

use std::time::Duration;

use lubdub_shared::incident::Cause;
use lubdub_shared::time::Mono;

/// After a refusal that is no save, nothing automatic for this long: what was refused for a
/// reason of the sidecar's is refused again.
const REST_AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// After the first save of a life; twice as long after each further one.
const REST_AFTER_SAVE: Duration = Duration::from_secs(5);

/// After a nudge that nobody took; twice as long after each further one.
const REST_AFTER_NUDGE: Duration = Duration::from_secs(60);

/// The longest of such rests.
const REST_MAX: Duration = Duration::from_secs(60 * 60);

/// What keeps the engine from acting, or speaking, again at once.
#[derive(Debug, Clone, Default)]
pub struct Restraint {
    /// No automatic act before this moment.
    pub(crate) no_act_before: Mono,
    /// Acts of this life that its sidecar refused because the agent had moved on.
    saves: u32,
    /// A trouble that shadow mode has already told.
    pub(crate) shadowed: Option<Cause>,
    /// When the agent itself was last told something.
    pub(crate) nudged: Option<Mono>,
    /// So many nudges in a row that nobody took.
    pub(crate) untaken: u32,
}

impl Restraint {
    /// A life has begun: what was counted belonged to the one before.
    pub(crate) fn begin_life(&mut self) {
        *self = Self { no_act_before: self.no_act_before, ..Self::default() };
    }

    /// An act was refused, came too late or failed. A save is a new beginning for the agent; many
    /// of them are a disagreement between engine and sidecar, which no haste settles.
    pub(crate) fn note_refusal(&mut self, save: bool, now: Mono) {
        let rest = if save { backoff(REST_AFTER_SAVE, self.saves) } else { REST_AFTER_REFUSAL };
        self.saves = self.saves.saturating_add(u32::from(save));
        self.no_act_before = now.after(rest);
    }

    /// A nudge was taken, or was not.
    pub(crate) fn note_nudge(&mut self, taken: bool) {
        self.untaken = if taken { 0 } else { self.untaken.saturating_add(1) };
    }

    /// When the agent may be nudged again: later and later while nobody takes it.
    pub(crate) fn no_nudge_before(&self) -> Mono {
        let rest = self.untaken.checked_sub(1).map(|times| backoff(REST_AFTER_NUDGE, times));
        self.nudged.map_or_else(Mono::default, |at| at.after(rest.unwrap_or_default()))
    }
}

/// Twice as long with each time.
fn backoff(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(REST_MAX)
}
