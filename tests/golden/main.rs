//! Transcripts of causes and of their healthy twins: the specification, run. `UPDATE=1` rewrites
//! them with what the code does now; read the diff.
#![expect(clippy::disallowed_methods, reason = "UPDATE=1 rewrites the transcripts")]

use std::fs;
use std::path::{Path, PathBuf};

fn transcripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let entries = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("it").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "txt")).collect();
    files.sort();
    files
}

#[test]
fn transcripts_hold() {
    let files = transcripts();
    assert!(files.len() >= 15, "transcripts are missing: {files:?}");
    let mut wrong = Vec::new();
    for path in files {
        let expected = fs::read_to_string(&path).expect("it is there");
        let actual = harness::run_transcript(&expected);
        if actual == expected {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, actual).expect("it can be written");
        } else {
            let pairs = expected.lines().zip(actual.lines());
            let first = pairs.enumerate().find(|(_, (expected, actual))| expected != actual);
            wrong.push(format!("{}: {first:#?}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 rewrites, then read the diff:\n{}", wrong.join("\n"));
}

/// A transcript that says something else than the code does is noticed.
#[test]
fn a_wrong_transcript_fails() {
    let wrong = "start\n----\n0.00s starts life 2\n";
    assert_ne!(harness::run_transcript(wrong), wrong);
}
