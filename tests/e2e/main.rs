//! Everything together, on real processes, real clients and real signals.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start processes, read clocks and write files"
)]

mod clients;
mod command_line;
mod door;
mod hang;
mod heartbeat_file;
mod link;
mod save;
mod tree;
mod twins;
mod up;
mod watchers;
