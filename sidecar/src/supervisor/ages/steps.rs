//! PURE: the newest steps of an agent, and how they repeat.
//!
//! A step is an action with what came of it. It is compared by hashes of the whole texts: nothing
//! is taken out of them, so that pages 1 and 2 of one listing stay two things.

use std::collections::VecDeque;

use lubdub_shared::line;
use lubdub_shared::policy::STEPS_MAX;
use lubdub_shared::trend::Repeats;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    action: u64,
    came: Came,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Nothing,
    Result(u64),
    Error(u64),
}

/// At most [`STEPS_MAX`]; the oldest is forgotten.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Steps {
    steps: VecDeque<Step>,
    /// The action that goes on is one that polls.
    exempt: bool,
    /// The agent tells what comes of its actions.
    tells_results: bool,
    repeats: Repeats,
}

impl Steps {
    /// The agent took a step, or says what came of the one before.
    pub(in crate::supervisor) fn take(&mut self, said: line::Step, exempt: &[String]) {
        let came = match (said.error, said.result) {
            (Some(error), _) => Came::Error(error),
            (None, Some(result)) => Came::Result(result),
            (None, None) => Came::Nothing,
        };
        self.tells_results |= came != Came::Nothing;
        if let Some(deed) = said.action {
            self.exempt = exempt.contains(&deed.tool);
            if self.exempt {
                return;
            }
            if self.steps.len() == STEPS_MAX as usize {
                self.steps.pop_front();
            }
            self.steps.push_back(Step { action: deed.hash, came });
        } else if let Some(last) = self.steps.back_mut()
            && last.came == Came::Nothing
            && !self.exempt
        {
            last.came = came;
        }
        self.repeats = self.count();
    }

    /// What came before was no loop: work was done, or a wait is over.
    pub(in crate::supervisor) fn clear(&mut self) {
        self.steps.clear();
        self.repeats = Repeats::default();
    }

    pub(in crate::supervisor) fn repeats(&self) -> Repeats {
        self.repeats
    }

    fn count(&self) -> Repeats {
        // What is still going on has no result yet, and is compared with nothing.
        let going_on = self.steps.back().is_some_and(|last| last.came == Came::Nothing);
        let ended = self.steps.len() - usize::from(going_on && self.tells_results);
        let newest = || self.steps.iter().take(ended).rev();
        let Some(last) = newest().next() else { return Repeats::default() };
        let same = length(newest().take_while(|step| *step == last));
        let period = |length_of: usize| {
            let turns = newest().zip(newest().skip(length_of)).take_while(|(a, b)| a == b).count();
            // One and the same step is not two that take turns.
            let differ = newest().take(length_of).any(|step| step != last);
            if differ && turns > 0 { length(newest().take(turns + length_of)) } else { 0 }
        };
        let silent = self.steps.back().copied().filter(|step| step.came == Came::Nothing);
        let monologue = silent
            .filter(|_| self.tells_results)
            .map_or(0, |last| length(self.steps.iter().rev().take_while(|step| **step == last)));
        Repeats {
            same_result: if matches!(last.came, Came::Result(_)) { same } else { 0 },
            same_error: if matches!(last.came, Came::Error(_)) { same } else { 0 },
            period_two: period(2),
            period_three: period(3),
            monologue,
        }
    }
}

fn length<'a>(steps: impl Iterator<Item = &'a Step>) -> u32 {
    u32::try_from(steps.count()).expect("at most STEPS_MAX")
}

#[cfg(test)]
mod tests {
    use lubdub_shared::line::parse;

    use super::*;

    /// Each word is a step: `a=1` an action with its result, `a!1` with its error, `a` alone,
    /// `=1` a result that comes later, `.` work done.
    fn after(words: &str) -> Repeats {
        let mut steps = Steps::default();
        for word in words.split_whitespace() {
            if word == "." {
                steps.clear();
                continue;
            }
            let (action, came) = word.split_at(word.find(['=', '!']).unwrap_or(word.len()));
            let mut said = serde_json::Map::new();
            if !action.is_empty() {
                said.insert("action".to_owned(), action.into());
            }
            match came.split_at_checked(1) {
                Some(("=", text)) => said.insert("result".to_owned(), text.into()),
                Some((_, text)) => said.insert("error".to_owned(), text.into()),
                None => None,
            };
            let message = parse(serde_json::Value::Object(said).to_string().as_bytes());
            let step = message.expect("a datagram").step.expect("a step");
            steps.take(step, &["poll".to_owned()]);
        }
        steps.repeats()
    }

    #[test]
    fn what_repeats_is_counted() {
        let none = Repeats::default();
        for (words, repeats) in [
            ("a=1 a=1 a=1 a=1", Repeats { same_result: 4, ..none }),
            ("b=1 a=1 a=1", Repeats { same_result: 2, ..none }),
            ("a=1 a=2 a=3 a=4", Repeats { same_result: 1, ..none }),
            ("a!1 a!1 a!1", Repeats { same_error: 3, ..none }),
            ("a =1 a =1 a", Repeats { same_result: 2, monologue: 1, ..none }),
            ("a=1 b b b", Repeats { same_result: 0, monologue: 3, ..none }),
            ("b b b", none),
            ("a=1 a=1 . a=1", Repeats { same_result: 1, ..none }),
            ("a=1 b=1 a=1 b=1 a=1 b=1", Repeats { same_result: 1, period_two: 6, ..none }),
            ("a=1 b=1 c=1 a=1 b=1 c=1", Repeats { same_result: 1, period_three: 6, ..none }),
            ("a=1 b=1 a=1", Repeats { same_result: 1, period_two: 3, ..none }),
            ("poll=1 poll=1 poll=1 poll=1", none),
            ("poll =1 poll =1 poll =1", none),
        ] {
            assert_eq!(after(words), repeats, "{words}");
        }
    }

    #[test]
    fn twenty_are_remembered() {
        let many = "a=1 ".repeat(50);
        assert_eq!(after(&many).same_result, STEPS_MAX);
    }
}
