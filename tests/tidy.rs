//! Style as a test: one pass over what git tracks. What a compiler does not see and a reviewer
//! should not have to say twice.
#![expect(clippy::disallowed_methods, reason = "it asks git which files there are")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Hard stop for the production lines of a file; 400 is the aim.
const PROD_LINES_MAX: usize = 600;
const LINE_LEN_MAX: usize = 100;

/// Files that decide and may not act: no runtime, no clock, no logs, no IO.
const PURE: [&str; 11] = [
    "collector/engine/src/",
    "sidecar/src/supervisor.rs",
    "sidecar/src/supervisor/",
    "sidecar/src/link/outbox.rs",
    "sidecar/src/vitals/procfs.rs",
    "sidecar/src/vitals/cgroup.rs",
    "sidecar/src/vitals/activity.rs",
    "sidecar/src/heartbeat.rs",
    "shared/src/line.rs",
    "shared/src/schedule.rs",
    "shared/src/late.rs",
];
const IMPURE: [&str; 11] = [
    "async ",
    "tokio",
    "tracing",
    "Instant",
    "SystemTime",
    "time::now(",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
];

/// Where wire types may be named.
const WIRE: [&str; 8] = [
    "shared/build.rs",
    "shared/src/pb.rs",
    "shared/src/convert",
    "collector/src/session",
    "collector/src/query",
    "sidecar/src/link.rs",
    "collector/cli/src/",
    "tests/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file that git tracks or would, with its text.
fn files() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let list = String::from_utf8(output.stdout).expect("names are UTF-8");
    assert!(list.lines().count() > 50, "git lists the files: {list}");
    let read = |name: &str| {
        let text = std::fs::read_to_string(root().join(name)).ok()?;
        Some((name.to_owned(), text))
    };
    list.lines().filter_map(read).collect()
}

/// What is wrong, one line each.
fn check(rule: &str, wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}

fn is_test(name: &str) -> bool {
    name.starts_with("tests/") || name.ends_with("/tests.rs")
}

/// The lines before the inline tests.
fn prod_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
}

fn rust() -> Vec<(String, String)> {
    files().into_iter().filter(|(name, _)| name.ends_with(".rs")).collect()
}

#[test]
fn lines_are_short_and_clean() {
    let kinds = [".rs", ".proto", ".py", ".sh", ".md", "policy.toml", "tor.toml", "car.toml"];
    let texts = files().into_iter().filter(|(name, _)| kinds.iter().any(|k| name.ends_with(k)));
    let mut wrong = Vec::new();
    for (name, text) in texts {
        for (number, line) in text.lines().enumerate() {
            let table = name.ends_with(".md") && line.starts_with('|')
                || name.ends_with(".rs") && line.trim_start().starts_with("//! |");
            let long = line.chars().count() > LINE_LEN_MAX && !table && !line.contains("https://");
            if line.ends_with(' ') || line.contains('\t') || long {
                wrong.push(format!("{name}:{}: {line}", number + 1));
            }
        }
    }
    check("trailing space, tab, or longer than 100", wrong);
}

#[test]
fn rooms_are_small_and_say_what_they_are() {
    let rooms = rust();
    let large = rooms.iter().filter(|(name, _)| !is_test(name)).filter_map(|(name, text)| {
        let lines = prod_lines(text).count();
        (lines > PROD_LINES_MAX).then(|| format!("{name}: {lines} lines"))
    });
    check("more than 600 production lines", large);
    let silent = rooms.iter().filter(|(name, text)| {
        !name.starts_with("tests/") && !is_test(name) && !text.starts_with("//!")
    });
    check("no module documentation", silent.map(|(name, _)| name.clone()));
}

#[test]
fn every_file_is_reached_by_a_mod() {
    let rooms = rust();
    let orphans = rooms.iter().filter(|(name, _)| {
        let path = Path::new(name);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_root = ["main", "lib", "build", "tidy", "seeds", "toy_agent", "stuckbench"]
            .contains(&stem)
            || name.starts_with("tests/benches/")
            || name.starts_with("tests/fuzz/");
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let beside = |file: &str| folder.join(file).display().to_string();
        let parents = [beside("lib.rs"), beside("main.rs"), format!("{}.rs", folder.display())];
        let declared = rooms.iter().any(|(parent, text)| {
            parents.contains(parent)
                && text.lines().any(|line| line.trim().ends_with(&format!("mod {stem};")))
        });
        !is_root && !declared
    });
    check("no mod reaches it", orphans.map(|(name, _)| name.clone()));
}

#[test]
fn what_decides_does_not_act() {
    let mut wrong = Vec::new();
    for (name, text) in rust() {
        if is_test(&name) || !PURE.iter().any(|pure| name.starts_with(pure)) {
            continue;
        }
        for (number, line) in prod_lines(&text) {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = IMPURE.iter().find(|word| code.contains(**word)) {
                wrong.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    check("pure files may not use", wrong);
}

#[test]
fn wire_types_stop_at_the_door() {
    let outside = rust().into_iter().filter(|(name, text)| {
        !WIRE.iter().any(|door| name.starts_with(door))
            && prod_lines(text).any(|(_, line)| line.contains("pb::"))
            && name != "collector/src/lib.rs"
    });
    check("pb:: outside the door", outside.map(|(name, _)| name));
}

#[test]
fn words_that_are_not_used_here() {
    let mut wrong = Vec::new();
    for (name, text) in rust().into_iter().filter(|(name, _)| name != "tests/tidy.rs") {
        for (number, line) in text.lines().enumerate() {
            let said = |word: &str| line.contains(word);
            let waits =
                name.starts_with("tests/e2e") && (said("thread::sleep(") || said("time::sleep("));
            let stringly =
                ["status: String", "state: String", "kind: String"].into_iter().any(said);
            let unasked = said("TODO") || said("FIXME") || said("#[ignore");
            if waits || (stringly && !is_test(&name)) || unasked {
                wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    check("sleep-and-hope, stringly types, notes to self", wrong);
}

#[test]
fn the_readme_is_in_step_with_the_tree() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is one");
    let map = readme.split("## Code map").nth(1).expect("a code map");
    let map = map.split("\n## ").next().unwrap_or_default();
    let paths = map.split('`').skip(1).step_by(2).filter(|word| word.contains('/'));
    let missing = paths.filter(|path| !root().join(path).exists()).map(str::to_owned);
    check("in the code map, and not there", missing);
    let crates = ["shared/", "sidecar/", "collector/", "collector/engine/", "collector/cli/"];
    let unnamed = crates.into_iter().filter(|c| !map.contains(&format!("`{c}")));
    check("not in the code map", unnamed.map(str::to_owned));
}

/// The table of causes is printed from the code: `lubdub_shared::cause::table`.
#[test]
fn the_table_of_causes_is_the_codes() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is one");
    let table = lubdub_shared::cause::table();
    assert!(readme.contains(&table), "it is to hold:\n{table}");
}

/// Texts from outside go through one door: nobody else decides what is fit to be shown.
#[test]
fn one_door_cleans_what_comes_from_outside() {
    let others = rust().into_iter().filter(|(name, text)| {
        let decides = |line: &str| line.contains("is_control(") || line.contains("fffd");
        name != "shared/src/text.rs"
            && !is_test(name)
            && prod_lines(text).any(|(_, line)| decides(line))
    });
    check("decides what is fit to be shown", others.map(|(name, _)| name));
}

/// Nothing that comes from outside of the machine's own configuration reaches `execve`.
#[test]
fn only_process_starts_programs() {
    let spawns = |text: &str| {
        prod_lines(text).any(|(_, line)| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("Command::new(") || code.contains("pre_exec(")
        })
    };
    // The agent's, and the demonstration's own sidecars; and what is put right in the child of one.
    let may = [
        "sidecar/src/process/spawn.rs",
        "sidecar/src/process/activation.rs",
        "sidecar/src/hook.rs",
        "shared/src/inherited.rs",
        "collector/cli/src/demo.rs",
    ];
    let others = rust().into_iter().filter(|(name, text)| {
        let test = name.starts_with("tests/") || name.ends_with("/tests.rs");
        !test && !may.contains(&name.as_str()) && spawns(text)
    });
    check("starts a program", others.map(|(name, _)| name));
}

#[test]
fn the_reference_policy_loads_and_says_what_holds_by_default() {
    let path = root().join("deploy/config/policy.toml");
    let policies = lubdub_collector::config::Policies::read(&path).expect("it is valid");
    let agent = "any".parse().expect("an id");
    let resolved = policies.of(&agent, &std::collections::BTreeMap::new());
    assert_eq!(*resolved, lubdub_shared::policy::Policy::default(), "the file shows the defaults");
}

/// A reference file with each example taken at its word: `# key = …` becomes `key = …`.
fn with_its_examples(name: &str) -> tempfile::NamedTempFile {
    let text = std::fs::read_to_string(root().join("deploy/config").join(name)).expect("there");
    let example = |line: &str| {
        let rest = line.strip_prefix("# ").unwrap_or(line).to_owned();
        let is_one = rest.starts_with('[')
            || rest
                .split_once(" = ")
                .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        if is_one { rest } else { line.to_owned() }
    };
    let filled: Vec<String> = text.lines().map(example).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), filled.join("\n")).expect("a file");
    file
}

#[test]
fn the_reference_file_of_the_sidecar_loads_and_says_what_holds_by_default() {
    use lubdub_sidecar::config::{Config, File};
    let path = root().join("deploy/config/sidecar.toml");
    let config = |file: File| {
        let agent = "any".parse().expect("an id");
        Config::new(agent, vec!["true".into()], Path::new("/state"), file)
    };
    let shown = config(File::read(&path).expect("it is valid"));
    assert_eq!(format!("{shown:?}"), format!("{:?}", config(File::default())), "the defaults");
    let filled = with_its_examples("sidecar.toml");
    let filled = config(File::read(filled.path()).expect("its examples are valid"));
    let budget = filled.local.budget.expect("an example");
    assert_eq!((budget.tokens, budget.cost_usd), (Some(2_000_000), Some(25.0)));
    assert!(filled.back_within.is_some() && !filled.labels.is_empty());
}

#[test]
fn the_reference_file_of_the_collector_loads_and_says_what_holds_by_default() {
    use lubdub_collector::config::{Config, Flags};
    let load = |path: Option<&Path>| {
        let config = Config::load(path, Flags::default(), Some(Path::new("/state")));
        let Config { listen, http, data_dir, reports_per_second, .. } =
            config.expect("it is valid");
        (listen, http, data_dir, reports_per_second)
    };
    let path = root().join("deploy/config/collector.toml");
    assert_eq!(load(Some(&path)), load(None), "the defaults");
    let filled = with_its_examples("collector.toml");
    assert_eq!(load(Some(filled.path())).2, Path::new("/var/lib/lubdub"));
}
