//! The sidecar: a small process beside one agent.
//!
//! ```text
//!  agent ─ datagram ─▶ socket ──┐
//!        ── HTTP ────▶ http ────┤
//!  /proc, cgroup ────▶ vitals ──┤ Event                      Action
//!  SIGCHLD, waitid ──▶ process ─┼──────▶ driver ─▶ supervisor ──────▶ process (signal, start)
//!  collector ════════▶ link ────┘           │       (PURE)           worker (files)
//!            ◀════════ link ◀── outbox ◀────┘
//! ```
//!
//! One single-threaded runtime; what may block has threads beside it: the disk, the log, a name
//! that is looked up, captured output. The driver owns everything; the supervisor decides; only
//! `process` signals.

use std::io;

use lubdub_shared::inherited;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

mod beside;
pub mod cli;
pub mod config;
mod driver;
pub mod evidence;
mod heartbeat;
mod hook;
mod http;
mod link;
mod lock;
pub mod output;
mod place;
pub mod process;
mod reserve;
pub mod socket;
mod speaker;
pub mod state;
pub mod supervisor;
mod ticks;
mod transcript;
mod upward;
pub mod vitals;
mod worker;

pub use config::Config;
use driver::Driver;
pub use http::answer as http_answer;
pub use link::BadAddress;
pub use speaker::{NotHeard, Speaker, Standing};

/// Exit code of a sidecar that cannot begin, and may be able to later (`EX_TEMPFAIL`): its agent
/// was not started, and 1 could be the agent's.
pub const CANNOT_BEGIN: u8 = 75;

/// Why a sidecar cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The state directory cannot be used.
    #[error("cannot use the state directory {path}")]
    State {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another sidecar owns the agent.
    #[error("agent {agent} is already run by the sidecar with pid {owner}")]
    Owned {
        /// Which agent.
        agent: lubdub_shared::id::AgentId,
        /// Its sidecar.
        owner: String,
    },
    /// The local door cannot be opened.
    #[error("cannot open the socket {path}")]
    Door {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `/proc` does not show this process: no tree can be seen, and so none be ended.
    #[error(
        "/proc is not mounted, or not that of this pid namespace: no process can be supervised"
    )]
    NoProc,
    /// A collector's address is none.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// The kernel refused something that supervision needs.
    #[error("cannot {what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A sidecar that has opened its door and not yet started its agent.
#[derive(Debug)]
pub struct Sidecar {
    driver: Box<Driver>,
}

impl Sidecar {
    /// Takes the lock, reads what is remembered, opens the door. Must be called within a
    /// single-threaded tokio runtime, on the thread that then runs it.
    ///
    /// # Errors
    /// Why it cannot begin; nothing was started then.
    pub fn begin(config: Config) -> Result<Self, BeginError> {
        Ok(Self { driver: Box::new(Driver::begin(config)?) })
    }

    /// Where its agent is heard.
    pub fn socket(&self) -> &std::path::Path {
        self.driver.socket()
    }

    /// Runs until the agent has ended for good, or one of the `signals` ends it. Returns the exit
    /// code that is the agent's.
    pub async fn run(self, signals: mpsc::Receiver<i32>) -> u8 {
        Box::pin(self.driver.run(signals)).await
    }
}

/// TERM and INT as they come.
///
/// # Errors
/// The system does not deliver them.
pub fn terminations() -> io::Result<mpsc::Receiver<i32>> {
    listen(&[SignalKind::terminate(), SignalKind::interrupt()])
}

/// Signals as they come, for [`Sidecar::run`]: TERM and INT end the sidecar and go on to its agent;
/// HUP has its file read anew, or ends it with its terminal, unless it was ignored at the start
/// (nohup); the others go on to the agent, as from an init.
///
/// # Errors
/// The system does not deliver them.
pub fn signals() -> io::Result<mpsc::Receiver<i32>> {
    let mut kinds = vec![
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::window_change(),
    ];
    if !inherited::take().hup_ignored {
        kinds.push(SignalKind::hangup());
    }
    listen(&kinds)
}

fn listen(kinds: &[SignalKind]) -> io::Result<mpsc::Receiver<i32>> {
    let (sender, heard) = mpsc::channel(4);
    for kind in kinds {
        let (mut stream, number, sender) = (signal(*kind)?, kind.as_raw_value(), sender.clone());
        tokio::spawn(async move {
            while stream.recv().await.is_some() && sender.send(number).await.is_ok() {}
        });
    }
    Ok(heard)
}
