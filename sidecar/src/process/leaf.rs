//! A cgroup v2 leaf of one life, where we may make one: `cgroup.kill` ends everything in it at
//! once, whatever forks meanwhile. Elsewhere the walk over /proc does the work alone.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use lubdub_shared::id::{AgentId, LifeId};
use tracing::debug;

use crate::vitals::cgroup::{event_flag, parse_membership, parse_mounts};

#[derive(Debug)]
pub(super) struct Leaf {
    directory: PathBuf,
    procs: OwnedFd,
}

impl Leaf {
    /// Makes a leaf below our own cgroup; `None` where that is not allowed.
    pub(super) fn create(agent: &AgentId, life: LifeId) -> Option<Self> {
        let directory = place(agent, life)?;
        let made = fs::create_dir(&directory).and_then(|()| {
            let procs = fs::File::options().write(true).open(directory.join("cgroup.procs"))?;
            if directory.join("cgroup.kill").exists() {
                Ok(OwnedFd::from(procs))
            } else {
                Err(std::io::Error::other("the kernel has no cgroup.kill"))
            }
        });
        match made {
            Ok(procs) => Some(Self { directory, procs }),
            Err(error) => {
                debug!(%error, "no cgroup of our own; the tree is walked instead");
                drop(fs::remove_dir(&directory));
                None
            }
        }
    }

    /// `cgroup.procs`, for the child to write itself into.
    pub(super) fn procs(&self) -> BorrowedFd<'_> {
        self.procs.as_fd()
    }

    /// Somebody is in it. A process that cannot be asked about counts as gone.
    pub(super) fn is_populated(&self) -> bool {
        fs::read_to_string(self.directory.join("cgroup.events"))
            .is_ok_and(|text| event_flag(&text, "populated"))
    }

    /// Kills everything in it.
    pub(super) fn kill(&self) {
        let file = fs::File::options().write(true).open(self.directory.join("cgroup.kill"));
        let killed = file.and_then(|file| Ok(rustix::io::write(file, b"1")?));
        if let Err(error) = killed {
            debug!(%error, "cgroup.kill failed; the tree is walked instead");
        }
    }
}

/// Where the leaf of a life is, or would be: below our own cgroup.
fn place(agent: &AgentId, life: LifeId) -> Option<PathBuf> {
    let mounts = parse_mounts(&fs::read_to_string("/proc/self/mounts").ok()?);
    let own = parse_membership(&fs::read_to_string("/proc/self/cgroup").ok()?);
    let below = PathBuf::from(mounts.unified?).join(own.unified?.trim_start_matches('/'));
    let life = life.to_string();
    Some(below.join(format!("lubdub-{agent}-{}", &life[..8])))
}

/// Kills what is left in the leaf of an earlier life whose sidecar was killed, and removes it.
pub(super) fn sweep_leftover(agent: &AgentId, life: LifeId) {
    let Some(directory) = place(agent, life).filter(|directory| directory.exists()) else { return };
    if let Ok(procs) = fs::File::open(directory.join("cgroup.procs")) {
        let leaf = Leaf { directory, procs: OwnedFd::from(procs) };
        leaf.kill();
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.directory) {
            debug!(%error, directory = %self.directory.display(), "the leaf stays");
        }
    }
}
