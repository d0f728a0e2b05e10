//! The people's command. Each file is one verb; `client` asks the collector, `render` prints.

pub mod cli;
mod client;
mod command;
mod explain;
mod incidents;
mod render;
mod status;
mod up;
