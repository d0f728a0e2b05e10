//! The generated wire types and gRPC clients and servers of `proto/lubdub/v1`.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    let_underscore_drop,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::let_underscore_must_use,
    clippy::struct_excessive_bools,
    clippy::too_many_lines,
    clippy::use_self,
    clippy::wildcard_enum_match_arm,
    reason = "generated code"
)]

pub(crate) mod codec;

tonic::include_proto!("lubdub.v1");
