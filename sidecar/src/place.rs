//! Where an agent's doors lie, and whose a door is.
//!
//! An agent belongs to one state directory. Its sockets lie in `$XDG_RUNTIME_DIR/lubdub/ID-HASH`,
//! else in that directory, else in a private one in a temp folder; `HASH` is that of the state
//! directory, so that two fleets of one user with the same id never meet. A place in which somebody
//! else could put another socket is passed over.

use std::hash::Hasher as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use lubdub_shared::fs::{check_above, private_directory, temp_roots};
use lubdub_shared::id::AgentId;
use rustix::process::geteuid;

use crate::socket::PATH_LEN_MAX;

/// Of the datagram door; the HTTP door lies beside it.
pub(crate) const DOOR: &str = "notify.sock";
/// Of the HTTP door.
pub(crate) const HTTP: &str = "http.sock";

/// Folders of ours in shared ones have these names.
const OURS: &str = "lubdub";

/// An agent and the directory that it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Canonical.
    state: PathBuf,
    agent: AgentId,
}

impl Place {
    /// `state` is the agent's state directory, without symbolic links.
    pub(crate) fn new(state: PathBuf, agent: AgentId) -> Self {
        Self { state, agent }
    }

    /// Of a folder that others share, the one for this agent.
    fn name(&self) -> String {
        let mut hash = Fnv::default();
        hash.write(self.state.as_os_str().as_bytes());
        format!("{}-{:08x}", self.agent, hash.finish() >> 32)
    }

    /// Where the door may lie, best first: only what fits a socket's address.
    fn candidates(&self, runtime: Option<&Path>) -> Vec<PathBuf> {
        let uid = geteuid().as_raw();
        let in_runtime = runtime.map(|runtime| runtime.join(OURS).join(self.name()));
        let in_temp = temp_roots().into_iter().map(|root| root.join(format!("{OURS}-{uid}")));
        let directories = in_runtime
            .into_iter()
            .chain([self.state.clone()])
            .chain(in_temp.map(|root| root.join(self.name())));
        let doors = directories.map(|directory| directory.join(DOOR));
        doors.filter(|door| door.as_os_str().len() <= PATH_LEN_MAX).collect()
    }

    /// Opens the first door that can be opened, by `open`.
    ///
    /// # Errors
    /// None can be; the last place that was tried, and why not.
    pub(crate) fn open<T>(
        &self,
        runtime: Option<&Path>,
        open: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<(PathBuf, T), (PathBuf, io::Error)> {
        let none = || (self.state.join(DOOR), io::Error::other("no place is short enough"));
        let mut failed = none();
        for door in self.candidates(runtime) {
            match self.prepare(&door).and_then(|()| open(&door)) {
                Ok(opened) => return Ok((door, opened)),
                Err(error) => failed = (door, error),
            }
        }
        Err(failed)
    }

    /// Makes the directory of a door, and sees to it that nobody else can change it.
    ///
    /// # Errors
    /// It cannot be made, or somebody else could put another in its place.
    pub(crate) fn prepare(&self, door: &Path) -> io::Result<()> {
        let Some(directory) = door.parent() else { return Ok(()) };
        if directory == self.state {
            // That one is looked at as a whole when the sidecar begins.
            return private_directory(directory);
        }
        // The folder that holds those of all agents is ours as well.
        if let Some(shared) = directory.parent().filter(|shared| is_ours(shared)) {
            private_directory(shared)?;
        }
        private_directory(directory)?;
        check_above(&directory.canonicalize()?)
    }

    /// A door, by its path in an agent's environment, is this agent's of this state directory.
    /// Version 0.1.0 gave doors outside it no hash: such a one is ours unless somebody listens
    /// there.
    pub(crate) fn owns(&self, door: &Path) -> bool {
        let Some(directory) = door.parent() else { return false };
        if directory == self.state
            || directory.canonicalize().is_ok_and(|directory| directory == self.state)
        {
            return true;
        }
        let named = |name: &str| directory.file_name().is_some_and(|own| own == name);
        let shared = directory.parent().is_some_and(is_ours);
        shared && (named(&self.name()) || named(self.agent.as_str()) && !listens(door))
    }
}

fn is_ours(shared: &Path) -> bool {
    let name = shared.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == OURS || name == format!("{OURS}-{}", geteuid().as_raw())
}

/// A living sidecar hears what is said at this door.
pub(crate) fn listens(door: &Path) -> bool {
    let socket = UnixDatagram::unbound();
    socket.is_ok_and(|socket| socket.connect(door).is_ok())
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same in every version, which std's hasher is not.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(state: &str) -> Place {
        Place::new(PathBuf::from(state), "a1".parse().expect("an id"))
    }

    #[test]
    fn two_fleets_of_one_user_never_meet() {
        let runtime = Path::new("/run/user/1000");
        let [first, second] = ["/srv/a/agents/a1", "/srv/b/agents/a1"].map(place);
        let door = |place: &Place| place.candidates(Some(runtime))[0].clone();
        assert_ne!(door(&first), door(&second));
        assert_eq!(door(&first), place("/srv/a/agents/a1").candidates(Some(runtime))[0]);
        assert!(door(&first).starts_with("/run/user/1000/lubdub"));
        assert!(first.owns(&door(&first)) && !first.owns(&door(&second)));
        // Whatever the environment says now.
        assert!(first.owns(Path::new("/srv/a/agents/a1/notify.sock")));
        assert!(first.owns(&first.candidates(None)[1]), "in the temp folder");
        assert!(!first.owns(Path::new("/srv/b/agents/a1/notify.sock")));
        assert!(!first.owns(Path::new("/run/lubdub/a2-00000000/notify.sock")));
    }

    #[test]
    fn what_does_not_fit_an_address_is_passed_over() {
        let long = format!("/srv/{}/agents/a1", "x".repeat(120));
        let found = place(&long).candidates(Some(Path::new(&long)));
        assert!(!found.is_empty(), "the temp folders are short");
        assert!(found.iter().all(|door| door.as_os_str().len() <= PATH_LEN_MAX), "{found:?}");
    }

    #[test]
    fn a_door_of_version_0_1_0_is_ours_unless_somebody_listens() {
        let directory = tempfile::tempdir().expect("a directory");
        let old = directory.path().join("lubdub/a1");
        std::fs::create_dir_all(&old).expect("made");
        let door = old.join(DOOR);
        let place = place("/srv/a/agents/a1");
        assert!(place.owns(&door));
        let _owner = UnixDatagram::bind(&door).expect("a socket");
        assert!(!place.owns(&door), "another sidecar lives there");
    }
}
