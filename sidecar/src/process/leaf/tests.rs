//! On the groups of this machine, where they may be made.
#![expect(clippy::disallowed_methods, reason = "a test starts a process")]

use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// A process that ignores TERM, in a group of its own below this one.
fn populated(below: &Path, name: &str) -> Option<(Leaf, std::process::Child)> {
    let mut leaf = Leaf::none();
    let group = leaf.make(below, name)?;
    let end = if group.join("cgroup.kill").exists() { End::Kill } else { End::Freezer };
    leaf.end = Some(end(group.clone()));
    let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("sleep");
    write(&group.join("cgroup.procs"), &child.id().to_string()).expect("moved");
    Some((leaf, child))
}

#[test]
fn everybody_in_a_group_is_ended_at_once_in_both_hierarchies() {
    let own = Groups::of(std::process::id()).expect("our own groups");
    let places = [own.unified(), own.v1("freezer")];
    for place in places.into_iter().flatten() {
        let name = format!("lubdub-test-{}", std::process::id());
        let Some((leaf, mut child)) = populated(&place.directory, &name) else {
            eprintln!("left out: no group may be made in {}", place.directory.display());
            continue;
        };
        assert!(leaf.is_populated(), "{}", place.directory.display());
        leaf.kill();
        let status = child.wait().expect("it is ours");
        assert!(!status.success(), "{status}");
        for _ in 0..100 {
            if !leaf.is_populated() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!leaf.is_populated());
        let group = leaf.directories[0].clone();
        drop(leaf);
        assert!(!group.exists(), "it is taken away");
    }
}
