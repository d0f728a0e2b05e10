//! Closed words: each is one enum here and one on the wire.

use super::{Invalid, pb};
use crate::beat::{ActivityKind, Phase};
use crate::command::{CommandKind, Refusal};
use crate::incident::{ActionOutcome, Cause};
use crate::policy::{Act, Exhausted, ExpectBeats, Mode, RestartOn, UnknownExit};
use crate::session::GoodbyeReason;
use crate::status::{Lifecycle, Status};

/// A closed word that travels as a number.
pub(super) trait Word: Sized {
    fn to_wire(self) -> i32;
    fn from_wire(field: &'static str, number: i32) -> Result<Self, Invalid>;

    /// The wire's zero is "not said".
    fn optional(field: &'static str, number: i32) -> Result<Option<Self>, Invalid> {
        if number == 0 { Ok(None) } else { Self::from_wire(field, number).map(Some) }
    }
}

macro_rules! words_on_the_wire {
    ($($name:ident { $($variant:ident),* $(,)? })*) => {$(
        impl Word for $name {
            fn to_wire(self) -> i32 {
                match self { $(Self::$variant => pb::$name::$variant as i32,)* }
            }

            fn from_wire(field: &'static str, number: i32) -> Result<Self, Invalid> {
                match pb::$name::try_from(number) {
                    $(Ok(pb::$name::$variant) => Ok(Self::$variant),)*
                    Ok(pb::$name::Unspecified) => Err(Invalid::missing(field)),
                    Err(_) => Err(Invalid::new(field, "a word that is not known here")),
                }
            }
        }
    )*};
}

words_on_the_wire! {
    Status { Ok, Unknown, Warning, Critical }
    Phase { Starting, Working, Llm, Tool, Idle, WaitingHuman, WaitingRateLimit, Stopping }
    Lifecycle {
        Starting, Running, Stopping, Restarting, Verifying, Stopped, Failed, Quarantined,
        Terminated,
    }
    Cause {
        Exited, Crashed, KilledByOther, CrashLoop, NeverSeen, Silent, BusySilent, NoProgress,
        LeaseExpired, ReportedFailure, Inactive, Paused, Unreachable, Missing, Duplicate, SickDisk,
        TaskOverdue, Missed, WaitingHuman, Looping, EnergyLow, EnergyGone, BurnWithoutProgress,
        MemoryHigh, MemoryLeak, SlowResponse, TaskFailures, Flapping, OomKilled, Unkillable,
    }
    ActivityKind { Output, Io, Network, Child, Cpu }
    CommandKind { Restart, Stop, Start, Apoptosis, Revive, Nudge, Capture }
    Refusal {
        PreconditionFailed, WrongLife, Fenced, OverBudget, WrongState, Busy, SickDisk, WrongAgent,
        NobodyListens,
    }
    ActionOutcome { Accepted, Done, Refused, Expired, Failed, Pending }
    Mode { Observe, Shadow, Enforce }
    ExpectBeats { Auto, Always, Never }
    Act { None, Notify, Nudge, Restart, Apoptosis }
    RestartOn { Failure, Always, Never }
    Exhausted { Apoptosis, Quarantine }
    UnknownExit { Failure, Success }
    GoodbyeReason { AgentEnded, Shutdown }
}
