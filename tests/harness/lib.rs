//! What the tests share: a world of real processes ([`World`]), an agent that behaves as told
//! (`toy_agent`), a proxy that can hold what flows, a small disk that can be full, a collector that
//! says what it is told to, a systemd of the test's own, and a virtual world for transcripts.
#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests start processes, read clocks, write files, and fail by panic"
)]

mod disk;
pub mod fleet;
pub mod fuzz;
mod impostor;
mod newer;
mod proxy;
pub mod sample;
#[path = "../sim/lib.rs"]
pub mod simulation;
mod systemd;
mod virtual_world;
mod wait;
mod world;

pub use disk::SmallDisk;
pub use impostor::{Impostor, Stream};
pub use newer::{NewerProtocol, RawCollector, RawStream};
pub use proxy::Proxy;
pub use systemd::Systemd;
pub use virtual_world::run_transcript;
pub use wait::{eventually, never_within, pass, unique};
pub use world::{Daemon, World, binary, stat_state};
