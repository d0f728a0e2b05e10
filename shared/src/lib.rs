//! What Lubdub's two daemons must agree on: words, policy values, the restart schedule, the
//! local line protocol, the heartbeat file and the wire.
//!
//! ```text
//!   agent ── line ──▶ sidecar ══ session (pb ⇄ convert) ══▶ collector ── view ──▶ lubdub
//!                        │                                      │
//!                        └── schedule, late, policy ────────────┘   the same code on both sides
//! ```
//!
//! **Invariant:** nothing here spawns a process or opens a socket; the only IO is the file module
//! [`fs`], what [`telemetry`] logs and what [`inherited`] settles at a start; the only reader of a
//! clock is [`time`]. Proto types leave this crate through [`convert`] alone.
#![warn(missing_docs)]

pub mod beat;
pub mod cause;
pub mod command;
pub mod convert;
pub mod facts;
pub mod fs;
pub mod guests;
pub mod heartbeat_file;
pub mod http1;
pub mod id;
pub mod incident;
pub mod inherited;
pub mod late;
pub mod line;
pub mod names;
pub mod pb;
pub mod policy;
pub mod schedule;
pub mod session;
pub mod status;
pub mod strict_toml;
pub mod telemetry;
pub mod text;
pub mod time;
pub mod trend;
pub mod view;
