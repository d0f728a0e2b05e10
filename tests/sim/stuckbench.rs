//! Lives as many agent-hours as asked, and prints what became of them: a table of all kinds of
//! lives, and the rules of other watchers on the same lives beside ours.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a command for people")]

use harness::simulation::{Campaign, kinds};

fn main() {
    let mut words = std::env::args().skip(1);
    let hours = words.next().map_or(Ok(10_000), |word| word.parse());
    let seed = words.next().map_or(Ok(1), |word| word.parse());
    let (Ok(hours), Ok(seed)) = (hours, seed) else {
        println!("usage: stuckbench [AGENT-HOURS [SEED [KIND]]]; kinds:");
        kinds().for_each(|kind| println!("  {}", kind.name));
        std::process::exit(64);
    };
    let only = words.next().and_then(|name| kinds().find(|kind| kind.name == name));
    let campaign = Campaign { seed, hours, only: only.map(|kind| kind.name) };
    let began = std::time::Instant::now();
    let scores = campaign.run();
    println!("{}\n{}\n{}", scores.confusion(), scores.comparison(), scores.summary());
    println!("seed {seed}, {:.0} s", began.elapsed().as_secs_f64());
    let broken = scores.broken();
    if !broken.is_empty() {
        println!("broken: {}", broken.join("; "));
        std::process::exit(1);
    }
}
