//! What others build on may be extended, never broken: the protocol is held against the image of
//! what was released (`proto/released.binpb`).

use std::path::Path;
use std::process::{Command, Output};

/// buf's verdict on a copy of the protocol with one edit.
fn verdict(edit: impl Fn(&str) -> String) -> Output {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let copy = tempfile::tempdir().expect("a directory");
    let copied = Command::new("cp").arg("-r").arg(&own).arg(copy.path()).status();
    assert!(copied.expect("cp runs").success());
    let proto = copy.path().join("proto");
    let session = proto.join("lubdub/v1/session.proto");
    let text = std::fs::read_to_string(&session).expect("there");
    std::fs::write(&session, edit(&text)).expect("written");
    let buf = std::env::var("LUBDUB_TEST_BUF").unwrap_or_else(|_| "buf".to_owned());
    Command::new(&buf)
        .args(["breaking", "--against", "released.binpb"])
        .current_dir(&proto)
        .output()
        .unwrap_or_else(|error| panic!("{buf}: {error}; tests/run.sh brings it"))
}

#[test]
fn the_protocol_may_grow_and_not_break() {
    let same = verdict(str::to_owned);
    assert!(same.status.success(), "{same:?}");
    let grown =
        verdict(|text| text.replace("message GoAway {", "message GoAway {\n  string more = 99;"));
    assert!(grown.status.success(), "{grown:?}");
    for (from, to) in [
        ("uint64 number = 2;", "uint64 number = 3;"),
        ("uint64 epoch = 3;", "string epoch = 3;"),
        ("  repeated Command pending = 8;\n", ""),
    ] {
        let broken = verdict(|text| {
            assert!(text.contains(from), "the edit takes hold: {from}");
            text.replacen(from, to, 1)
        });
        assert!(!broken.status.success(), "{from:?} -> {to:?} was not noticed");
    }
}
