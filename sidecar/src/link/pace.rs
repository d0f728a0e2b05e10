//! PURE: how fast the link is at least, as its answers show: what was sent, over the time until it
//! was answered. A message that it cannot carry in a moment would hold up every report behind it,
//! until the keepalive ends the stream.

use std::time::Duration;

use lubdub_shared::id::SpoolId;
use lubdub_shared::time::Mono;

/// A bundle up to this size goes whatever the link, bytes.
const SMALL: usize = 16 * 1024;
/// A larger one must get through within this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an answer tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The Hello.
    Welcome,
    /// The events of this spool up to this number.
    Ack(SpoolId, u64),
}

impl Answer {
    /// It answers what was to be answered by `other`.
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Welcome, Self::Welcome) => true,
            (Self::Ack(spool, number), Self::Ack(other, asked)) => {
                spool == other && number >= asked
            }
            (Self::Welcome | Self::Ack(..), _) => false,
        }
    }
}

/// What was answered on one stream.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Sent and not answered: when, bytes, and what answers it.
    asked: Option<(Mono, usize, Answer)>,
    /// Bytes a second: the best that was seen, which is less than the link can.
    at_least: f64,
}

impl Pace {
    /// A new stream: nothing is known of it.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// Something that will be answered goes out. One at a time is measured.
    pub(super) fn sent(&mut self, bytes: usize, by: Answer, now: Mono) {
        self.asked.get_or_insert((now, bytes, by));
    }

    /// It was answered.
    #[expect(clippy::cast_precision_loss, reason = "sizes of messages")]
    pub(super) fn answered(&mut self, answer: Answer, now: Mono) {
        if let Some((at, bytes, _)) = self.asked.take_if(|(.., by)| answer.covers(*by)) {
            // An answer within the clock's own grain says no more than that.
            let took = now.since(at).max(Duration::from_millis(1));
            self.at_least = self.at_least.max(bytes as f64 / took.as_secs_f64());
        }
    }

    /// A bundle of this size would hold nobody up.
    #[expect(clippy::cast_precision_loss, reason = "sizes of messages")]
    pub(super) fn carries(&self, bytes: usize) -> bool {
        bytes <= SMALL || bytes as f64 <= self.at_least * PATIENCE.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(0).after(Duration::from_millis(ms))
    }

    #[test]
    fn what_the_link_can_carry_is_known_by_its_answers() {
        let mut pace = Pace::default();
        assert!(pace.carries(16 * 1024) && !pace.carries(16 * 1024 + 1), "nothing is known");
        // 7,500 bytes a second: a Hello of 2 kB takes a good quarter of a second.
        pace.sent(2_000, Answer::Welcome, at(0));
        pace.answered(Answer::Welcome, at(267));
        assert!(!pace.carries(124_000));
        // A network of one's own.
        pace.begin();
        pace.sent(2_000, Answer::Welcome, at(1_000));
        pace.answered(Answer::Welcome, at(1_005));
        assert!(pace.carries(124_000));
        // Small answers after it say nothing against it.
        pace.sent(100, Answer::Welcome, at(2_000));
        pace.answered(Answer::Welcome, at(2_100));
        assert!(pace.carries(124_000));
        // Fast and far: what got through shows what else will.
        pace.begin();
        pace.sent(2_000, Answer::Welcome, at(0));
        pace.answered(Answer::Welcome, at(150));
        assert!(!pace.carries(124_000));
        pace.sent(16_000, Answer::Welcome, at(1_000));
        pace.answered(Answer::Welcome, at(1_150));
        assert!(pace.carries(124_000));
    }

    #[test]
    fn an_answer_to_something_else_measures_nothing() {
        let rng = &mut fastrand::Rng::with_seed(1);
        let (spool, other) = (SpoolId::random(rng), SpoolId::random(rng));
        let mut pace = Pace::default();
        pace.sent(16_000, Answer::Ack(spool, 7), at(0));
        pace.answered(Answer::Ack(spool, 6), at(1));
        pace.answered(Answer::Ack(other, 9), at(1));
        pace.answered(Answer::Welcome, at(1));
        assert!(!pace.carries(124_000));
        pace.answered(Answer::Ack(spool, 8), at(100));
        assert!(pace.carries(124_000));
    }
}
