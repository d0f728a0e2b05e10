//! Compiles the protos with protox, so that nobody needs protoc.

use std::error::Error;

const PROTOS: [&str; 3] =
    ["lubdub/v1/session.proto", "lubdub/v1/incident.proto", "lubdub/v1/query.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto");
    let mut compiler = protox::Compiler::new(["../proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS)?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
