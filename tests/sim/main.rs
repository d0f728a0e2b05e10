//! Both halves of the promise, in virtual time: every hang found in time, no healthy agent ever
//! restarted. A thousand agent-hours here; `stuckbench` lives as many as one likes.

use harness::simulation::Campaign;

/// Lives that are lived in each run of the tests.
const HOURS: u64 = 1000;

#[test]
fn every_hang_is_found_and_no_healthy_agent_is_restarted() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("again: SEED={seed} cargo test -p tests --test sim");
    let scores = Campaign { seed, hours: HOURS, only: None }.run();
    eprintln!("{}\n{}\n{}", scores.confusion(), scores.comparison(), scores.summary());
    assert!(scores.hours() >= 1000.0, "{} hours", scores.hours());
    let broken = scores.broken();
    if !broken.is_empty() {
        panic!("SEED={seed}: {}", broken.join("; "));
    }
}
