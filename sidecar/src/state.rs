//! What must survive a crash of the sidecar, in one file.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::LazyLock;

use lubdub_shared::beat::Evidence;
use lubdub_shared::command::{Command, Outcome};
use lubdub_shared::fs::read_own;
use lubdub_shared::id::{AgentId, CommandId, Life, LifeId, ProcessId, SpoolId, StoreId};
use lubdub_shared::policy::Policy;
use lubdub_shared::schedule::Ledger;
use lubdub_shared::session::Hold;
use serde::{Deserialize, Serialize};

use crate::supervisor::{Gaps, Spending};

/// Name of the file in the agent's state directory.
pub const FILE_NAME: &str = "state.json";
/// Name of the tombstone beside it.
pub const TOMBSTONE: &str = "tombstone.json";

static DEFAULT: LazyLock<Policy> = LazyLock::new(Policy::default);

/// Stores whose highest epoch is remembered; beyond it the one with the lowest id is forgotten.
const STORES_MAX: usize = 8;

/// The collector store that this agent belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Its id. Commands of any other are void.
    pub store: StoreId,
    /// The address that led to it last.
    pub address: String,
}

/// How far the spool reached when the state was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Which spool.
    pub spool: SpoolId,
    /// Its newest event.
    pub last: u64,
    /// The newest that a collector had acked by then; 0: none of it.
    pub acked: u64,
}

/// A command that was accepted and has not ended: on disk before it is acted on, so that a crash
/// of the sidecar leaves nothing half done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// What was asked.
    pub command: Command,
    /// The answer, as far as it is known.
    pub outcome: Outcome,
    /// It is being carried out.
    pub begun: bool,
    /// The agent was asked to end.
    #[serde(default)]
    pub signalled: bool,
}

/// What the sidecar remembers of its agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Whose memory it is.
    pub agent: AgentId,
    /// The life that runs, or ran last.
    pub life: Option<Life>,
    /// Its main process; `None` once it was seen to end.
    pub process: Option<ProcessId>,
    /// Members of the tree that no descent leads to.
    #[serde(default)]
    pub orphans: Vec<ProcessId>,
    /// A start was ordered, and its process is not known yet.
    #[serde(default)]
    pub starting: bool,
    /// Of the boot in which that process was started.
    pub boot_id: String,
    /// Restarts carried out.
    pub ledger: Ledger,
    /// Highest epoch seen of each store.
    pub epochs: BTreeMap<StoreId, u64>,
    /// The store that this agent belongs to.
    #[serde(default)]
    pub home: Option<Home>,
    /// The command under way.
    #[serde(default)]
    pub intent: Option<Intent>,
    /// Commands that asked for what the one under way does: each, and that one. They get its
    /// answer.
    #[serde(default)]
    pub joined: Vec<(CommandId, CommandId)>,
    /// How the newest commands ended, so that a repeated one is answered and not repeated.
    #[serde(default)]
    pub outcomes: VecDeque<Outcome>,
    /// What was spent of the energy budget.
    #[serde(default)]
    pub spending: Spending,
    /// The policy that a collector sent last.
    pub policy: Option<Policy>,
    /// Its mark.
    #[serde(default)]
    pub policy_mark: u64,
    /// Survived gaps between beats, and between steps of progress.
    #[serde(default, rename = "learned")]
    pub gaps: Gaps,
    /// Evidence that lives so far have shown.
    pub shown: Evidence,
    /// Held down.
    pub hold: Option<Hold>,
    /// How far the spool reached.
    #[serde(default)]
    pub reached: Option<Reached>,
}

/// Before the sum of the file, which is its last key: over all bytes before it.
const SUM: &[u8] = b",\n  \"sum\": \"";

/// What was found where the memory should be.
#[derive(Debug)]
pub enum Found {
    /// It, whole.
    Whole(Box<Memory>),
    /// Nothing: a first start, or a lost directory.
    Nothing,
    /// Something that cannot be read; it was put aside under the name given.
    Corrupt(String),
}

impl Memory {
    /// Of an agent that nobody remembers.
    pub fn empty(agent: AgentId, boot_id: String) -> Self {
        Self {
            agent,
            life: None,
            process: None,
            orphans: Vec::new(),
            starting: false,
            boot_id,
            ledger: Ledger::default(),
            epochs: BTreeMap::new(),
            home: None,
            intent: None,
            joined: Vec::new(),
            outcomes: VecDeque::new(),
            spending: Spending::default(),
            policy: None,
            policy_mark: 0,
            gaps: Gaps::default(),
            shown: Evidence::default(),
            hold: None,
            reached: None,
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        self.policy.as_ref().unwrap_or(&DEFAULT)
    }

    /// The policy in force, and the gaps that what the agent says may lengthen.
    pub(crate) fn policy_and_gaps(&mut self) -> (&Policy, &mut Gaps) {
        (self.policy.as_ref().unwrap_or(&DEFAULT), &mut self.gaps)
    }

    /// A collector was accepted.
    pub fn accept(&mut self, home: Home, epoch: u64) {
        let seen = self.epochs.entry(home.store).or_default();
        *seen = epoch.max(*seen);
        while self.epochs.len() > STORES_MAX {
            let other = self.epochs.keys().copied().find(|store| *store != home.store);
            self.epochs.remove(&other.expect("more than one"));
        }
        self.home = Some(home);
    }

    /// A new life begins.
    pub fn next_life(&mut self, id: LifeId) -> Life {
        let ordinal = self.life.map_or(NonZeroU32::MIN, |life| life.ordinal.saturating_add(1));
        *self.life.insert(Life { id, ordinal })
    }

    /// The file's bytes.
    pub fn render(&self) -> Vec<u8> {
        let mut bytes =
            serde_json::to_vec_pretty(self).expect("keys are strings, numbers are finite");
        let end = bytes.len().saturating_sub(2);
        debug_assert_eq!(&bytes[end..], b"\n}");
        bytes.truncate(end);
        let sum = crc32fast::hash(&bytes);
        bytes.extend(SUM);
        bytes.extend(format!("{sum:08x}\"\n}}").as_bytes());
        bytes
    }

    /// Reads the file's bytes. Files of before 0.2 have no sum.
    ///
    /// # Errors
    /// They are not what was written; why.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if let Some(at) = bytes.windows(SUM.len()).rposition(|window| window == SUM) {
            let said = bytes.get(at + SUM.len()..at + SUM.len() + 8);
            let said = said.and_then(|digits| std::str::from_utf8(digits).ok());
            let said = said.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            if said != Some(crc32fast::hash(&bytes[..at])) {
                return Err("its sum is wrong".to_owned());
            }
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// Reads the file in a state directory.
    ///
    /// # Errors
    /// The directory or file cannot be read at all.
    pub fn load(directory: &Path) -> io::Result<Found> {
        let path = directory.join(FILE_NAME);
        let why = match read_own(&path) {
            Ok(None) => return Ok(Found::Nothing),
            Ok(Some(bytes)) => match Self::parse(&bytes) {
                Ok(memory) => return Ok(Found::Whole(Box::new(memory))),
                Err(why) => why,
            },
            // It names pids: what a stranger wrote is not to be followed.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
            Err(error) => return Err(error),
        };
        let aside = directory.join(format!("{FILE_NAME}.corrupt"));
        fs::rename(&path, &aside)?;
        Ok(Found::Corrupt(format!("{why}; put aside as {}", aside.display())))
    }
}

/// The hold of a tombstone in a state directory: it counts also where the state file is lost.
pub fn buried(directory: &Path) -> Option<Hold> {
    let bytes = read_own(&directory.join(TOMBSTONE)).ok()??;
    let tombstone: Tombstone = serde_json::from_slice(&bytes).ok()?;
    Some(tombstone.hold)
}

/// What an apoptosis leaves behind.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tombstone {
    /// Shape of this file.
    pub v: u8,
    /// Whose end it was.
    pub agent: String,
    /// Its last life.
    pub life: Option<Life>,
    /// When.
    pub ended: lubdub_shared::time::Wall,
    /// Why and by whom.
    pub hold: Hold,
    /// Restarts that were spent.
    pub restarts: u32,
    /// The agent's last status line.
    pub last_words: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let rng = &mut fastrand::Rng::with_seed(1);
        let mut memory = Memory::empty("a1".parse().expect("an id"), "boot".to_owned());
        memory.next_life(LifeId::random(rng));
        let (store, address) = (StoreId::random(rng), "http://127.0.0.1:7411".to_owned());
        memory.accept(Home { store, address }, 7);
        memory.policy = Some(Policy::default());
        memory.reached = Some(Reached { spool: SpoolId::random(rng), last: 17, acked: 12 });
        memory
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let (written, whole) = (memory(), memory().render());
        assert_eq!(Memory::parse(&whole).as_ref(), Ok(&written));
        let (mut refused, mut same) = (0, 0);
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match Memory::parse(&damaged) {
                Err(_) => refused += 1,
                // The name of the sum's own key.
                Ok(read) => {
                    assert_eq!(read, written, "bit {bit}");
                    same += 1;
                }
            }
        }
        eprintln!("{refused} of {} flipped bits refused, {same} without effect", whole.len() * 8);
        assert!(same < 8 * 12);
        for len in 0..whole.len() {
            assert!(Memory::parse(&whole[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn files_of_before_the_sum_are_read() {
        let older = serde_json::to_vec_pretty(&memory()).expect("keys are strings");
        assert_eq!(Memory::parse(&older), Ok(memory()));
    }
}
