//! `lubdub`: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    lubdub::cli::run()
}
