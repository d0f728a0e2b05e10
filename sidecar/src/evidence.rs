//! Evidence of an agent in trouble: gathered within seconds, packed, kept by count and by bytes.
//!
//! Everything that may hang is done beside the driver: /proc is read on a thread of its own (the
//! memory of a process that hangs may be locked), and what has not come in time is left out and
//! said so.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use lubdub_shared::fs::{Durability, private_directory, write_atomic};
use lubdub_shared::id::AgentId;
use lubdub_shared::session::{BUNDLE_LEN_MAX, Bundle};
use lubdub_shared::time::{Wall, millis};
use serde::Serialize;

use crate::beside::beside;
use crate::hook::Hook;
use crate::output::Tail;
use crate::supervisor::{EVIDENCE_PATIENCE, Gather, Gathered, History};

mod look;

pub(crate) use look::Whom;

/// Left of [`EVIDENCE_PATIENCE`] for packing and writing.
const PACKING: Duration = Duration::from_millis(800);
/// Looks at /proc that may hang at one time.
const LOOKING_MAX: usize = 4;
static LOOKING: AtomicUsize = AtomicUsize::new(0);
/// Of a hook's output.
const HOOK_MAX: u64 = 256 * 1024;

/// Where bundles are kept, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelf {
    /// The directory.
    pub directory: PathBuf,
    /// Bundles at most; beyond it the oldest go.
    pub keep: usize,
    /// Bytes in sum at most; beyond it the oldest go.
    pub max_bytes: u64,
}

/// One bundle to be made.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) agent: AgentId,
    pub(crate) host: String,
    pub(crate) at: Wall,
    pub(crate) order: Gather,
    pub(crate) whom: Whom,
    /// The newest of the agent's output, where it is captured.
    pub(crate) output: Option<Tail>,
    pub(crate) hook: Option<Hook>,
    pub(crate) shelf: Shelf,
    /// The policy has bundles sent.
    pub(crate) send: bool,
}

/// A bundle's content.
#[derive(Debug, Serialize)]
struct Content<'a> {
    v: u8,
    id: &'a str,
    agent: &'a AgentId,
    host: &'a str,
    incarnation: Option<u32>,
    life: Option<String>,
    at: Wall,
    reason: &'a str,
    #[serde(flatten)]
    history: &'a History,
    /// The newest output; null where it is not captured.
    output_tail: Option<String>,
    /// The machine, the groups and each process; a text where they did not answer.
    system: serde_json::Value,
    /// What the local hook printed.
    hook: Option<Result<String, String>>,
}

impl Job {
    /// Gathers, packs and keeps. Takes at most [`EVIDENCE_PATIENCE`].
    pub(crate) async fn run(self) -> Gathered {
        let (purpose, life) = (self.order.purpose, self.order.life);
        let made = tokio::time::timeout(EVIDENCE_PATIENCE, self.make()).await;
        let bundle = made.unwrap_or_else(|_| Err("it did not end in time".to_owned()));
        Gathered { purpose, life, bundle }
    }

    async fn make(mut self) -> Result<Bundle, String> {
        let (hook, whom) = (self.hook.take(), self.whom.clone());
        let patience = EVIDENCE_PATIENCE.saturating_sub(PACKING);
        let hooked = async {
            match hook {
                Some(hook) => Some(Hook { patience, ..hook }.output(HOOK_MAX).await),
                None => None,
            }
        };
        let look = async {
            // Each that hangs keeps a thread: no more than a few.
            if LOOKING.fetch_add(1, Ordering::Relaxed) >= LOOKING_MAX {
                LOOKING.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
            let look = move || {
                let seen = whom.look();
                LOOKING.fetch_sub(1, Ordering::Relaxed);
                seen
            };
            beside("lubdub-look", look).await
        };
        let looked = tokio::time::timeout(patience, look);
        let (system, hook) = tokio::join!(looked, hooked);
        let system = match system {
            Ok(Some(system)) => system,
            Ok(None) | Err(_) => serde_json::json!("/proc did not answer in time"),
        };
        let packed = beside("lubdub-pack", move || self.keep(system, hook)).await;
        packed.unwrap_or_else(|| Err("there is no thread to pack it".to_owned()))
    }

    fn keep(
        self,
        system: serde_json::Value,
        hook: Option<Result<String, String>>,
    ) -> Result<Bundle, String> {
        let life = self.order.life;
        let ordinal = life.map_or(0, |life| life.ordinal.get());
        let id = format!("{}-{ordinal}-{}", self.agent, millis(Wall(0).until(self.at)));
        let content = Content {
            v: 1,
            id: &id,
            agent: &self.agent,
            host: &self.host,
            incarnation: life.map(|life| life.ordinal.get()),
            life: life.map(|life| life.id.to_string()),
            at: self.at,
            reason: &self.order.reason,
            history: &self.order.history,
            output_tail: self.output.map(|tail| String::from_utf8_lossy(&tail.read()).into_owned()),
            system,
            hook,
        };
        let bytes = packed(&content).map_err(|error| format!("cannot pack it: {error}"))?;
        let path = self.shelf.put(&id, &bytes)?;
        let sent = if self.send && bytes.len() <= BUNDLE_LEN_MAX { bytes.clone() } else { vec![] };
        Ok(Bundle {
            id,
            reason: self.order.reason,
            path: path.display().to_string(),
            bytes: bytes.len() as u64,
            command: None,
            sent,
        })
    }
}

fn packed(content: &Content<'_>) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(&serde_json::to_vec(content)?)?;
    packer.finish()
}

impl Shelf {
    /// Keeps a bundle, and lets the oldest go.
    fn put(&self, id: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        let path = self.directory.join(format!("{id}.json.gz"));
        let written = private_directory(&self.directory)
            .and_then(|()| write_atomic(&path, bytes, 0o600, Durability::Visible));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        self.trim(&path);
        Ok(path)
    }

    /// The newest stays, whatever its size.
    fn trim(&self, newest: &Path) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut kept: Vec<_> = entries
            .filter(|entry| entry.path() != newest && is_bundle(&entry.path()))
            .filter_map(|entry| {
                let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((about.modified().ok()?, about.len(), entry.path()))
            })
            .collect();
        kept.sort();
        let mut count = kept.len() + 1;
        let own = fs::metadata(newest).map_or(0, |about| about.len());
        let mut bytes = own + kept.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        for (_, size, path) in kept {
            if count <= self.keep && bytes <= self.max_bytes {
                return;
            }
            // What cannot be removed is tried again with the next bundle.
            drop(fs::remove_file(path));
            count -= 1;
            bytes -= size;
        }
    }
}

/// What is just being written has another name.
fn is_bundle(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shelf_is_bounded_by_count_and_by_bytes() {
        let directory = tempfile::tempdir().expect("a directory");
        let shelf = Shelf { directory: directory.path().join("e"), keep: 3, max_bytes: 1000 };
        let names = || {
            let entries = fs::read_dir(&shelf.directory).expect("there").flatten();
            let mut names: Vec<_> = entries
                .map(|entry| entry.file_name().to_string_lossy().replace(".json.gz", ""))
                .collect();
            names.sort();
            names
        };
        let put = |id: &str, size: usize| {
            shelf.put(id, &vec![0; size]).expect("kept");
            // Dated apart: the order is that of their times.
            let path = shelf.directory.join(format!("{id}.json.gz"));
            let at: u64 = id.parse().expect("a number");
            let file = fs::File::options().write(true).open(path).expect("there");
            let at = std::time::UNIX_EPOCH + Duration::from_secs(at);
            file.set_modified(at).expect("dated");
        };
        for id in ["1", "2", "3", "4"] {
            put(id, 10);
        }
        assert_eq!(names(), ["2", "3", "4"], "by count");
        put("5", 985);
        assert_eq!(names(), ["4", "5"], "by bytes");
        put("6", 5000);
        assert_eq!(names(), ["6"], "the newest stays");
    }
}
