//! One sidecar for one agent: an advisory lock on a file that holds its owner's pid.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tracing::warn;

const NAME: &str = "lock";

/// Held for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
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

pub(crate) fn try_lock(directory: &Path) -> io::Result<Locked> {
    let path = directory.join(NAME);
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // The pid is for people; a full disk is no reason not to run the agent.
            let pid = std::process::id().to_string();
            let noted = file.set_len(0).and_then(|()| file.rewind());
            if let Err(error) = noted.and_then(|()| file.write_all(pid.as_bytes())) {
                warn!(%error, path = %path.display(), "cannot note the owner of the lock");
            }
            Ok(Locked::Ours(Lock { file }))
        }
        Err(Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            file.take(16).read_to_string(&mut owner)?;
            Ok(Locked::Theirs(owner))
        }
        Err(error) => Err(error.into()),
    }
}
