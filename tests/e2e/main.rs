//! Everything together, on real processes, real clients and real signals.
#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "tests start processes, read clocks, write files, and fail by panic"
)]

mod attach;
mod clients;
mod command_line;
mod copies;
mod crashes;
mod crowds;
mod demo;
mod disk;
mod door;
mod door_http;
mod ends;
mod evidence;
mod far;
mod faults;
mod hang;
mod heartbeat_file;
mod http;
mod inherited;
mod link;
mod newer_peers;
mod old;
mod output;
mod owners;
mod partition;
mod pending;
mod policies;
mod protocol;
mod run;
mod save;
mod stores;
mod stuck;
mod systemd;
mod takeover;
mod tree;
mod twins;
mod up;
mod watchers;
mod wrappers;
mod zero_code;
