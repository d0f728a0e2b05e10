//! Compiles the protos with protox, so that nobody needs protoc.

use std::error::Error;

const PROTOS: [&str; 3] =
    ["lubdub/v1/session.proto", "lubdub/v1/incident.proto", "lubdub/v1/query.proto"];

/// What is large. Downwards each stream has a queue of 32 places, each as large as the largest
/// message; upwards the task of each stream has room for one, whatever it is.
const LARGE: [&str; 5] = [
    ".lubdub.v1.FromSidecar.message.hello",
    ".lubdub.v1.FromSidecar.message.report",
    ".lubdub.v1.ToSidecar.message.welcome",
    ".lubdub.v1.ToSidecar.message.command",
    ".lubdub.v1.ToSidecar.message.policy",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto");
    let mut compiler = protox::Compiler::new(["../proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS)?;
    let mut build = tonic_prost_build::configure().codec_path("crate::pb::codec::SmallBuffers");
    for message in LARGE {
        build = build.boxed(message);
    }
    build.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
