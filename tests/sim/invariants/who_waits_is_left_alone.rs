//! Whoever truly waits, and said so, is never ended.

use super::{Moment, Truth};

pub(super) fn check(moment: &Moment<'_>) -> Result<(), String> {
    match moment.destructive().next() {
        Some(command) if moment.truth == Truth::Waits => {
            Err(format!("{} while it waits: {}", command.kind, command.reason))
        }
        Some(_) | None => Ok(()),
    }
}
