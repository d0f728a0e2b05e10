//! What the tests share: a world of real processes ([`World`]), an agent that behaves as told
//! (`toy_agent`), a proxy that can hold one direction, and a virtual world for transcripts.
#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests start processes, read clocks, write files, and fail by panic"
)]

mod proxy;
mod virtual_world;
mod wait;
mod world;

pub use proxy::Proxy;
pub use virtual_world::run_transcript;
pub use wait::{eventually, never_within};
pub use world::{Daemon, World, binary, stat_state};
