//! Names of things: parsed once, then trusted.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Wall;

/// Longest agent id, bytes. Short enough that a socket path with it stays below 107 bytes in most
/// runtime directories, and that it can be a file name and a metric label.
pub const AGENT_ID_LEN_MAX: usize = 64;

/// Name of an agent: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(Arc<str>);

/// Why a text is no agent id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAgentId {
    /// Nothing was given.
    #[error("an agent id may not be empty")]
    Empty,
    /// More than [`AGENT_ID_LEN_MAX`] bytes.
    #[error("an agent id has at most {AGENT_ID_LEN_MAX} characters, this has {0}")]
    TooLong(usize),
    /// A character that is not allowed where it stands.
    #[error(
        "an agent id is made of A-Z a-z 0-9 . _ - and begins with a letter or digit: {0:?} at {1}"
    )]
    BadCharacter(char, usize),
}

impl AgentId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id made of what a text offers (a file stem, say): other characters become `-`.
    pub fn from_lossy(text: &str) -> Option<Self> {
        let mapped: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .collect();
        let mut id = mapped.trim_start_matches(['.', '_', '-']).to_owned();
        id.truncate(AGENT_ID_LEN_MAX);
        id.parse().ok()
    }
}

impl FromStr for AgentId {
    type Err = InvalidAgentId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidAgentId::Empty);
        }
        if text.len() > AGENT_ID_LEN_MAX {
            return Err(InvalidAgentId::TooLong(text.len()));
        }
        let bad = text.char_indices().find(|&(at, c)| {
            !(c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '.' | '_' | '-')))
        });
        match bad {
            Some((at, c)) => Err(InvalidAgentId::BadCharacter(c, at)),
            None => Ok(Self(text.into())),
        }
    }
}

impl Serialize for AgentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// From 16 bytes; `None` for any other length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }

            /// The 16 bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// A random one (UUIDv4) from the given source.
            pub fn random(rng: &mut fastrand::Rng) -> Self {
                Self(uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid())
            }

            /// One that sorts by time (UUIDv7): the wall clock's milliseconds, then random bits.
            pub fn ordered(at: Wall, rng: &mut fastrand::Rng) -> Self {
                let mut random = [0; 10];
                rng.fill(&mut random);
                let unix_ms = at.unix_ms();
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One run of an agent; random, so that it fences commands.
    LifeId
);
uuid_id!(
    /// One process of a sidecar.
    InstanceId
);
uuid_id!(
    /// Lasting identity of a sidecar's event spool.
    SpoolId
);
uuid_id!(
    /// One collector store.
    StoreId
);
uuid_id!(
    /// One command; the idempotency key.
    CommandId
);
uuid_id!(
    /// One incident.
    IncidentId
);

/// A life: the random id that fences, and the ordinal that people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Life {
    /// Random; carried by every beat, finding and command.
    pub id: LifeId,
    /// From 1.
    pub ordinal: NonZeroU32,
}

/// One process, safe against reuse of its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// In the sidecar's pid namespace.
    pub pid: NonZeroU32,
    /// Ticks since boot, field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_ids() {
        let error = |text: &str| text.parse::<AgentId>().expect_err(text);
        for good in ["a", "night-7", "A.b_c-d", &"x".repeat(64)] {
            assert_eq!(good.parse::<AgentId>().expect(good).as_str(), good);
        }
        assert_eq!(error(""), InvalidAgentId::Empty);
        assert_eq!(error(&"x".repeat(65)), InvalidAgentId::TooLong(65));
        assert_eq!(error("-a"), InvalidAgentId::BadCharacter('-', 0));
        assert_eq!(error("a/b"), InvalidAgentId::BadCharacter('/', 1));
        assert_eq!(error("aé"), InvalidAgentId::BadCharacter('é', 1));
    }

    #[test]
    fn lossy_agent_ids() {
        let id = |text| AgentId::from_lossy(text).map(|id| id.as_str().to_owned());
        assert_eq!(id("my agent.py"), Some("my-agent.py".to_owned()));
        assert_eq!(id("--x"), Some("x".to_owned()));
        assert_eq!(id("..."), None);
    }
}
