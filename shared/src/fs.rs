//! Files and folders of ours: how they are written (whole, or not at all), how they are closed to
//! others, and how those are read that only we may have written.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;
use tempfile::Builder;

/// Everybody but the owner.
const OTHERS: u32 = 0o077;
/// May put another file or folder in the place of one that is there.
const OTHERS_WRITE: u32 = 0o022;
/// Only the owner of an entry may move it.
const STICKY: u32 = 0o1000;

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

/// It is owned by whom this process runs as.
#[must_use]
pub fn is_ours(about: &Metadata) -> bool {
    about.uid() == geteuid().as_raw()
}

/// Makes a directory that only its owner may enter, or closes the one that is there.
///
/// # Errors
/// It cannot be made or closed, or is somebody else's.
pub fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let about = std::fs::symlink_metadata(path)?;
    if !about.is_dir() || !is_ours(&about) {
        let own = geteuid().as_raw();
        let why = format!("{} is not a directory of uid {own}", path.display());
        return Err(io::Error::other(why));
    }
    if about.mode() & OTHERS != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(about.mode() & 0o700))?;
    }
    Ok(())
}

/// Nobody but us and root can put another file or folder in the place of this one: each folder
/// above it is ours or root's, and others may not write there, or only what is their own.
///
/// # Errors
/// Which folder somebody else could change.
pub fn check_above(path: &Path) -> io::Result<()> {
    let own = geteuid().as_raw();
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let about = std::fs::symlink_metadata(above)?;
        let theirs = about.uid() != own && about.uid() != 0;
        let open = about.mode() & OTHERS_WRITE != 0 && about.mode() & STICKY == 0;
        if theirs || open || !about.is_dir() {
            let why = format!(
                "{} is owned by uid {} with mode {:o}: somebody else could change what lies in it",
                above.display(),
                about.uid(),
                about.mode() & 0o7777
            );
            return Err(io::Error::other(why));
        }
    }
    Ok(())
}

/// In this folder nobody but us and root can move what is ours. Our own is closed for that.
///
/// # Errors
/// It is somebody else's, and everybody may change what lies in it.
pub fn keep_others_out(folder: &Path) -> io::Result<()> {
    let about = std::fs::metadata(folder)?;
    if about.mode() & OTHERS_WRITE == 0 || about.mode() & STICKY != 0 {
        return Ok(());
    }
    if is_ours(&about) {
        let mode = about.mode() & 0o7777 & !OTHERS_WRITE;
        return std::fs::set_permissions(folder, Permissions::from_mode(mode));
    }
    // A group may be of one's own making; everybody is not.
    if is_open_to_all(&about) {
        let why = format!(
            "everybody may change what lies in {}, and it is uid {}'s",
            folder.display(),
            about.uid()
        );
        return Err(io::Error::other(why));
    }
    Ok(())
}

/// Everybody may write to it.
#[must_use]
pub fn is_open_to_all(about: &Metadata) -> bool {
    about.mode() & 0o002 != 0
}

/// Reads a file that only we, or root, may have written. `None` where there is none.
///
/// # Errors
/// It is no plain file, somebody else's or open to others' writing, or cannot be read.
pub fn read_own(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // Whoever could put something there could have put a pipe, or a way to elsewhere.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is a symbolic link"));
        }
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    if let Some(why) = not_ours(&about) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn not_ours(about: &Metadata) -> Option<String> {
    let owner = about.uid();
    match about.mode() & OTHERS_WRITE {
        _ if !about.is_file() => Some("it is no plain file".to_owned()),
        _ if owner != geteuid().as_raw() && owner != 0 => Some(format!("it is uid {owner}'s")),
        0 => None,
        mode => Some(format!("others may write to it (mode {mode:o})")),
    }
}

/// Directories in which everybody may make one, best first.
pub fn temp_roots() -> Vec<PathBuf> {
    let mut roots = vec![std::env::temp_dir()];
    roots.extend(["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from));
    let mut seen = std::collections::HashSet::new();
    roots.retain(|root| root.is_absolute() && seen.insert(root.clone()));
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).expect("there").mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    }

    #[test]
    fn a_directory_that_was_open_is_closed() {
        let directory = tempfile::tempdir().expect("a directory");
        let own = directory.path().join("own");
        std::fs::create_dir(&own).expect("made");
        set(&own, 0o777);
        private_directory(&own).expect("ours");
        assert_eq!(mode(&own), 0o700);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&own, &link).expect("made");
        assert!(private_directory(&link).is_err(), "a way to elsewhere");
    }

    #[test]
    fn every_folder_above_is_looked_at() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("there");
        let (open, below) = (root.join("open"), root.join("open/below"));
        std::fs::create_dir_all(&below).expect("made");
        check_above(&below.join("file")).expect("ours");
        for (mode, safe) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
            set(&open, mode);
            assert_eq!(check_above(&below.join("file")).is_ok(), safe, "{mode:o}");
        }
    }

    #[test]
    fn what_somebody_else_may_have_written_is_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        assert_eq!(read_own(&file).expect("nothing"), None);
        write_atomic(&file, b"x", 0o600, Durability::Visible).expect("written");
        assert_eq!(read_own(&file).expect("ours"), Some(b"x".to_vec()));
        set(&file, 0o666);
        let why = read_own(&file).expect_err("open").to_string();
        assert!(why.contains("others may write"), "{why}");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).expect("made");
        let why = read_own(&link).expect_err("a link").to_string();
        assert!(why.contains("symbolic link"), "{why}");
    }
}
