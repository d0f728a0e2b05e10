//! One sidecar for one agent: an advisory lock on the state directory itself, so that no path and
//! no removed file leads around it, and one on a file in it that holds its owner's pid.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use tracing::warn;

pub(crate) const NAME: &str = "lock";

/// Held for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    directory: File,
}

impl Lock {
    /// The lock of this directory is still the one that is held.
    pub(crate) fn is_there(&self, directory: &Path) -> bool {
        let there = std::fs::symlink_metadata(directory.join(NAME));
        let own = self.file.metadata();
        matches!((there, own), (Ok(there), Ok(own)) if there.ino() == own.ino())
    }
}

/// What came of trying.
pub(crate) enum Locked {
    Ours(Lock),
    /// Somebody else's; the pid in the file.
    Theirs(String),
}

/// `held` is the lock that was there before: of the same directory it still is one.
pub(crate) fn try_lock(directory: &Path, held: Option<&Lock>) -> io::Result<Locked> {
    let path = directory.join(NAME);
    // A link would have the pid written elsewhere.
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let mut file = options.open(&path)?;
    let mut above = File::open(directory)?;
    if let Some(held) = held
        && held.directory.metadata()?.ino() == above.metadata()?.ino()
    {
        // A lock belongs to the description: another one of ours would find it taken.
        above = held.directory.try_clone()?;
    }
    let locked = flock(&above, FlockOperation::NonBlockingLockExclusive)
        .and_then(|()| flock(&file, FlockOperation::NonBlockingLockExclusive));
    match locked {
        Ok(()) => {
            // The pid is for people; a full disk is no reason not to run the agent.
            let pid = std::process::id().to_string();
            let noted = file.set_len(0).and_then(|()| file.rewind());
            if let Err(error) = noted.and_then(|()| file.write_all(pid.as_bytes())) {
                warn!(%error, path = %path.display(), "cannot note the owner of the lock");
            }
            Ok(Locked::Ours(Lock { file, directory: above }))
        }
        Err(Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            file.take(16).read_to_string(&mut owner)?;
            Ok(Locked::Theirs(owner))
        }
        Err(error) => Err(error.into()),
    }
}
