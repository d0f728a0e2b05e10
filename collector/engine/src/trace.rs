//! Record and replay: every input of the engine as one line of JSON, and the same engine on such
//! lines in virtual time.
//!
//! # The format, version 1
//!
//! Newline-delimited JSON. The first line of each file is a header, each further one an input:
//!
//! ```text
//! {"trace":1,"version":"0.1.0","wall":1795305600000000000,"identity":{…}}
//! {"m":61000000000,"w":1795305661000000000,"a":"agent","in":{"report":{…}}}
//! ```
//!
//! `m` is the collector's monotonic clock and `w` the wall clock, both in nanoseconds; `a` is the
//! agent, absent where an input concerns the collector; `in` is one [`v1::Input`], by name. A file
//! begins with one `standing` line for each agent that is known then, so that each file can be
//! replayed alone. Lines that could not be recorded are counted by a `dropped` line.
//!
//! # What a replay is
//!
//! The engine that judges live, with two differences. Nobody is acted on: each act is told as what
//! it would have been, once for a cause and a life, because the recorded agent goes on as it did.
//! And where another policy is given than the one of the recording, what followed from that
//! (deadlines, windows) is put anew from what was measured; checks, exempt tools and quiet hours
//! are those of the recording, for they decided what was measured at all.

use std::time::Duration;

use lubdub_shared::id::StoreId;
use serde::{Deserialize, Serialize};

use crate::Identity;

mod replay;
pub mod v1;

pub use replay::{Assign, Change, OutOfTime, Replay, Told, WouldAct};
pub use v1::Line;

/// The version that is written, and read.
pub const VERSION: u32 = 1;

/// First line of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub trace: u32,
    /// Of the collector that recorded it.
    pub version: String,
    /// When the file was begun, nanoseconds since 1970.
    pub wall: i64,
    /// Whose inputs these are.
    pub identity: IdentityJson,
}

/// [`Identity`] as it is written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct IdentityJson {
    /// The store.
    pub store: StoreId,
    /// Its epoch.
    pub epoch: u64,
    /// Between reports, as long as the fleet is small.
    pub interval: Duration,
    /// What the collector took.
    pub reports_per_second: u32,
}

impl From<Identity> for IdentityJson {
    fn from(identity: Identity) -> Self {
        let Identity { store, epoch, interval, reports_per_second } = identity;
        Self { store, epoch, interval, reports_per_second }
    }
}

impl From<IdentityJson> for Identity {
    fn from(identity: IdentityJson) -> Self {
        let IdentityJson { store, epoch, interval, reports_per_second } = identity;
        Self { store, epoch, interval, reports_per_second }
    }
}
