//! Lives as many agent-hours as asked, and prints what became of them: a table of all kinds of
//! lives, and the rules of other watchers on the same lives beside ours.
//!
//! ```text
//! stuckbench [AGENT-HOURS [SEED [KIND]]]
//! stuckbench life SEED KIND            one life again
//! ```
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a command for people")]

use harness::simulation::table::Scores;
use harness::simulation::{Campaign, Kind, kinds, live_again};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let began = std::time::Instant::now();
    let Some(scores) = run(&words) else {
        println!("usage: stuckbench [AGENT-HOURS [SEED [KIND]]], or life SEED KIND; kinds:");
        kinds().for_each(|kind| println!("  {}", kind.name));
        std::process::exit(64);
    };
    println!("{}\n{}\n{}", scores.confusion(), scores.comparison(), scores.summary());
    println!("{}: {:.0} s", words.join(" "), began.elapsed().as_secs_f64());
    let broken = scores.broken();
    if !broken.is_empty() {
        println!("broken: {}", broken.join("; "));
        std::process::exit(1);
    }
}

fn run(words: &[&str]) -> Option<Scores> {
    let named = |name: &str| -> Option<&'static Kind> { kinds().find(|kind| kind.name == name) };
    let (hours, seed, only) = match *words {
        ["life", seed, name] => return Some(live_again(named(name)?, seed.parse().ok()?)),
        [] => (10_000, 1, None),
        [hours] => (hours.parse().ok()?, 1, None),
        [hours, seed] => (hours.parse().ok()?, seed.parse().ok()?, None),
        [hours, seed, name] => (hours.parse().ok()?, seed.parse().ok()?, Some(named(name)?.name)),
        _ => return None,
    };
    Some(Campaign { seed, hours, only }.run())
}
