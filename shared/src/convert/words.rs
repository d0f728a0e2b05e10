//! Words: each is one enum here and one on the wire.
//!
//! A word of a newer peer is never a reason to end a stream. An open word is carried as `Other`.
//! A setting of a policy that is not known is taken for the mildest that there is: what a newer
//! collector means by it, this version could not do anyway.

use std::sync::LazyLock;

use super::{Invalid, pb};
use crate::beat::{ActivityKind, Phase};
use crate::command::{CommandKind, Refusal};
use crate::incident::{ActionOutcome, Cause};
use crate::policy::{Act, Exhausted, ExpectBeats, Mode, RestartOn, UnknownExit};
use crate::session::GoodbyeReason;
use crate::status::{Lifecycle, Status};

/// A word that travels as a number.
pub(super) trait Word: Sized {
    fn to_wire(self) -> i32;
    /// The wire's zero is "not said", which is a mistake where something must be said.
    fn from_wire(field: &'static str, number: i32) -> Result<Self, Invalid>;

    /// Where nothing need be said.
    fn optional(field: &'static str, number: i32) -> Result<Option<Self>, Invalid> {
        if number == 0 { Ok(None) } else { Self::from_wire(field, number).map(Some) }
    }
}

macro_rules! words_on_the_wire {
    ($($name:ident { $($variant:ident),* $(,)? } else $unknown:ident)*) => {$(
        impl Word for $name {
            fn to_wire(self) -> i32 {
                match self { $(Self::$variant => pb::$name::$variant as i32,)* }
            }

            fn from_wire(field: &'static str, number: i32) -> Result<Self, Invalid> {
                match pb::$name::try_from(number) {
                    $(Ok(pb::$name::$variant) => Ok(Self::$variant),)*
                    Ok(pb::$name::Unspecified) => Err(Invalid::missing(field)),
                    Err(_) => Ok(Self::$unknown),
                }
            }
        }
    )*};
}

/// A cause has the same name on the wire, so that a new one is written there and in its row alone.
impl Word for Cause {
    fn to_wire(self) -> i32 {
        static NUMBERS: LazyLock<Vec<i32>> = LazyLock::new(|| {
            let number = |cause: &Cause| {
                let name = format!("CAUSE_{}", cause.as_str().to_uppercase());
                i32::from(pb::Cause::from_str_name(&name).expect("tested: each has one"))
            };
            Cause::ALL.iter().chain([&Cause::Other]).map(number).collect()
        });
        NUMBERS[self as usize]
    }

    fn from_wire(field: &'static str, number: i32) -> Result<Self, Invalid> {
        if number == 0 {
            return Err(Invalid::missing(field));
        }
        let known = Self::ALL.iter().find(|cause| cause.to_wire() == number);
        Ok(known.copied().unwrap_or(Self::Other))
    }
}

words_on_the_wire! {
    Status { Ok, Unknown, Warning, Critical } else Unknown
    Phase {
        Starting, Working, Llm, Tool, Idle, WaitingHuman, WaitingRateLimit, Stopping, Other,
    } else Other
    Lifecycle {
        Starting, Running, Stopping, Restarting, Verifying, Stopped, Failed, Quarantined,
        Terminated, Other,
    } else Other
    ActivityKind { Output, Io, Network, Child, Cpu, Unreadable, Other } else Other
    CommandKind { Restart, Stop, Start, Apoptosis, Revive, Nudge, Capture, Other } else Other
    Refusal {
        PreconditionFailed, WrongLife, Fenced, OverBudget, WrongState, Busy, SickDisk, WrongAgent,
        NobodyListens, Unsupported, Other,
    } else Other
    ActionOutcome { Accepted, Done, Refused, Expired, Failed, Pending, Other } else Other
    GoodbyeReason { AgentEnded, Shutdown, Other } else Other
    Mode { Observe, Shadow, Enforce } else Observe
    ExpectBeats { Auto, Always, Never } else Auto
    Act { None, Notify, Nudge, Restart, Apoptosis } else Notify
    RestartOn { Failure, Always, Never } else Failure
    Exhausted { Apoptosis, Quarantine } else Quarantine
    UnknownExit { Failure, Success } else Failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_number_of_its_own() {
        for &cause in Cause::ALL.iter().chain([&Cause::Other]) {
            assert_eq!(Cause::from_wire("cause", cause.to_wire()), Ok(cause));
        }
        let newest = Cause::ALL.iter().map(|cause| cause.to_wire()).max();
        let on_the_wire = (1..=126).filter(|number| pb::Cause::try_from(*number).is_ok());
        assert_eq!(on_the_wire.max(), newest, "the wire knows one that has no row");
    }
}
