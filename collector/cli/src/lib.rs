//! The people's command. Each file is one verb; `client` asks the collector, `render` prints.

pub mod cli;
mod client;
mod command;
mod demo;
mod embedded;
mod events;
mod explain;
mod flags;
mod forget;
mod incident;
mod incidents;
mod policy;
mod render;
mod replay;
mod show;
mod status;
mod store;
mod up;
