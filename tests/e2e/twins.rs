//! Lives that look like a hang and are none: nobody is restarted.

use std::time::Duration;

use harness::{World, eventually, never_within};
use rustix::process::Signal;

#[test]
fn the_healthy_twins_of_a_hang_are_left_alone() {
    let world = World::new("");
    let twins: [(&str, &[&str]); 5] = [
        (
            "leased",
            &[
                "beat:200ms:1s",
                "say:WATCHDOG=1\nX_LUBDUB_PHASE=llm\nX_LUBDUB_LEASE_USEC=60000000",
                "hang",
            ],
        ),
        ("busy", &["beat:200ms:1s", "spin:10m"]),
        ("idle", &["beat:200ms:1s", "say:{\"phase\":\"idle\"}", "hang"]),
        ("human", &["beat:200ms:1s", "say:{\"phase\":\"waiting_human\"}", "hang"]),
        ("mute", &["hang"]),
    ];
    let sidecars: Vec<_> = twins.iter().map(|(id, steps)| world.toy(id, steps)).collect();
    let stopped = world.toy("stopped", &["beat:200ms:10m"]);
    let pid = eventually("a running agent", Duration::from_secs(15), || {
        world.agent("stopped")["pid"].as_u64()
    });
    // The toy's own process, not its sidecar.
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    rustix::process::kill_process(pid, Signal::STOP).expect("ours");

    let restarted = || {
        let status = world.json(&["status"]);
        let agents = status["agents"].as_array().cloned().unwrap_or_default();
        agents.into_iter().find(|agent| agent["incarnation"].as_u64() > Some(1))
    };
    // Leave the time a hang would need to be found several times over.
    let start = std::time::Instant::now();
    let paused = eventually("a paused finding", Duration::from_secs(10), || {
        let agent = world.agent("stopped");
        (agent["findings"][0]["cause"] == "paused").then_some(agent)
    });
    assert_eq!(paused["status"], "warning", "{paused:#}");
    never_within("restarted", Duration::from_secs(20).saturating_sub(start.elapsed()), restarted);
    rustix::process::kill_process(pid, Signal::CONT).expect("ours");
    never_within("restarted", Duration::from_secs(4), restarted);

    let agent = world.until("stopped", "status", "ok", Duration::from_secs(5));
    assert_eq!(agent["lifecycle"], "running");
    let busy = world.agent("busy");
    assert_eq!(busy["findings"][0]["cause"], "busy_silent", "{busy:#}");
    assert_eq!(busy["status"], "warning");
    for id in ["leased", "idle", "human", "mute"] {
        assert_eq!(world.agent(id)["status"], "ok", "{id}");
    }
    drop((sidecars, stopped));
}
