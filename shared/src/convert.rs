//! The only door between wire types and domain types. `From` goes out, `TryFrom` comes in; what is
//! missing or out of range is an error that names the field, never silently a default.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::id::{CommandId, IncidentId, InstanceId, LifeId, ProcessId, SpoolId, StoreId};
use crate::pb;
use crate::time::{LONGEST, Wall};

mod beat;
mod command;
mod explain;
mod limits;
mod policy;
mod session;
mod trend;
mod view;
mod words;

pub use view::{Asked, Forgetting, causes, statuses};

/// A message that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    /// The field of the proto.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Invalid {
    fn new(field: &'static str, why: &'static str) -> Self {
        Self { field, why }
    }

    fn missing(field: &'static str) -> Self {
        Self { field, why: "missing" }
    }
}

impl From<Invalid> for tonic::Status {
    fn from(invalid: Invalid) -> Self {
        Self::invalid_argument(invalid.to_string())
    }
}

trait Required<T> {
    fn required(self, field: &'static str) -> Result<T, Invalid>;
}

impl<T> Required<T> for Option<T> {
    fn required(self, field: &'static str) -> Result<T, Invalid> {
        self.ok_or_else(|| Invalid::missing(field))
    }
}

macro_rules! sixteen_bytes {
    ($($name:ident),*) => {$(
        impl FromBytes for $name {
            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Self::from_slice(bytes)
            }
        }
    )*};
}

trait FromBytes: Sized {
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

sixteen_bytes!(CommandId, IncidentId, InstanceId, LifeId, SpoolId, StoreId);

fn id<T: FromBytes>(field: &'static str, bytes: &[u8]) -> Result<T, Invalid> {
    T::from_bytes(bytes).ok_or_else(|| Invalid::new(field, "not 16 bytes"))
}

/// The id of a store, from an answer of the query service; `None` from an older collector.
///
/// # Errors
/// It is not 16 bytes.
pub fn store_id(bytes: &[u8]) -> Result<Option<StoreId>, Invalid> {
    if bytes.is_empty() { Ok(None) } else { id("store", bytes).map(Some) }
}

/// The id of a command, from an answer of the query service.
///
/// # Errors
/// It is not 16 bytes.
pub fn command_id(bytes: &[u8]) -> Result<CommandId, Invalid> {
    id("command", bytes)
}

fn ms(duration: Duration) -> u64 {
    crate::time::millis(duration)
}

/// A number of milliseconds from a peer: what is longer than [`LONGEST`] is that long, so that no
/// arithmetic on it overflows.
fn duration(ms: u64) -> Duration {
    Duration::from_millis(ms).min(LONGEST)
}

/// A time, as it travels.
pub fn stamp(wall: Wall) -> prost_types::Timestamp {
    let nanos = wall.0.rem_euclid(1_000_000_000);
    prost_types::Timestamp {
        seconds: wall.0.div_euclid(1_000_000_000),
        nanos: i32::try_from(nanos).expect("a remainder below 1e9"),
    }
}

/// A peer's time: what lies before 1970 or behind 2262 is the first or last that is known here.
pub fn wall(stamp: prost_types::Timestamp) -> Wall {
    let nanos = stamp.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(stamp.nanos));
    Wall(nanos.max(0))
}

fn process(pid: u32, start_time: u64) -> Result<ProcessId, Invalid> {
    let pid = NonZeroU32::new(pid).required("pid")?;
    Ok(ProcessId { pid, start_time })
}

fn finite(field: &'static str, value: f64) -> Result<f64, Invalid> {
    if value.is_finite() { Ok(value) } else { Err(Invalid::new(field, "not finite")) }
}

#[cfg(test)]
mod tests;
