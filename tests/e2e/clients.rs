//! The clients that the field uses already, unchanged.

use std::path::PathBuf;
use std::time::Duration;

use harness::{World, eventually};

const SOON: Duration = Duration::from_secs(15);

/// The Python that `tests/run.sh` gave the clients' packages.
pub(crate) fn python() -> PathBuf {
    let path = std::env::var_os("LUBDUB_TEST_PYTHON").map(PathBuf::from);
    path.expect("LUBDUB_TEST_PYTHON names a python3 with sdnotify and systemd-watchdog: run.sh")
}

/// READY and STATUS arrive, beats arm the clock, and their end is found.
fn drives_the_door(world: &World, id: &str, command: &[&str]) {
    let _sidecar = world.sidecar(id, command);
    let explained = eventually("an armed agent", SOON, || {
        let output = world.lubdub(&["explain", id]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("heartbeat_deadline        3.0 s").then_some(text)
    });
    assert!(explained.contains(": ok, running"), "{explained}");
    let shown = String::from_utf8_lossy(&world.lubdub(&["status"]).stdout).into_owned();
    assert!(shown.contains("up and well"), "its STATUS is shown: {shown}");
    let found = world.until(id, "status", "critical", SOON);
    assert_eq!(found["findings"][0]["cause"], "silent", "{found:#}");
    // READY is one of the kinds of evidence that the next life must show.
    let healed = world.until(id, "lifecycle", "running", SOON);
    assert_eq!(healed["incarnation"], 2, "{healed:#}");
}

#[test]
fn systemd_notify_the_binary() {
    let world = World::new("");
    let script = "systemd-notify --ready --status='up and well' || exit 9; \
                  n=0; while [ $n -lt 8 ]; do systemd-notify WATCHDOG=1 || exit 9; n=$((n+1)); \
                  sleep 0.3; done; exec sleep 1000";
    drives_the_door(&world, "binary", &["sh", "-c", script]);
}

#[test]
fn sdnotify_of_pypi() {
    let world = World::new("");
    let script = "import sdnotify, time\n\
                  n = sdnotify.SystemdNotifier(debug=True)\n\
                  n.notify('READY=1'); n.notify('STATUS=up and well')\n\
                  for _ in range(8): n.notify('WATCHDOG=1'); time.sleep(0.3)\n\
                  time.sleep(1000)";
    drives_the_door(&world, "sdnotify", &[python().to_str().expect("UTF-8"), "-c", script]);
}

#[test]
fn systemd_watchdog_of_pypi() {
    let world = World::new("");
    // Its `ping` paces itself by WATCHDOG_USEC, which the sidecar sets to the policy's deadline.
    let script = "import systemd_watchdog, time\n\
                  w = systemd_watchdog.WatchDog()\n\
                  assert w.is_enabled and w.timeout == 3000000, w.timeout\n\
                  w.ready(); w.status('up and well')\n\
                  for _ in range(8): w.notify(); time.sleep(0.3)\n\
                  time.sleep(1000)";
    drives_the_door(&world, "watchdog", &[python().to_str().expect("UTF-8"), "-c", script]);
}
