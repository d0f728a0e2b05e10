//! The one way a file of ours is written: whole, or not at all.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::Builder;

/// How far a written file must have got before [`write_atomic`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Readers see it; a power cut may lose it.
    Visible,
    /// It and its name survive a power cut.
    Synced,
}

/// Replaces a file: a unique temporary name in the same directory, then rename.
///
/// A symlink at `path` is replaced, never followed. `mode` is the permission of the new file.
///
/// # Errors
/// What the file system said; the old file is untouched then.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, durable: Durability) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::other("no parent directory"))?;
    let mut temporary = Builder::new()
        .prefix(".lubdub-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory)?;
    temporary.write_all(bytes)?;
    if durable == Durability::Synced {
        temporary.as_file().sync_all()?;
    }
    temporary.persist(path).map_err(|error| error.error)?;
    if durable == Durability::Synced {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Where state lies when nobody says otherwise: `$XDG_STATE_HOME/lubdub`, else
/// `~/.local/state/lubdub`. `None` when neither is set: a predictable name in a folder that
/// everybody may write to is no place for it.
pub fn state_root() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name).map(PathBuf::from).filter(|directory| directory.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|directory| directory.join("lubdub"))
}
