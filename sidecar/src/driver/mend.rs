//! The directories of the agent, or files in them, were taken away under the sidecar: they are made
//! anew, which costs nothing but memory of what was in them, and is told. Where the door cannot be
//! made anew the sidecar is deaf, and says so: silence is nobody's fault then.

use std::io;
use std::path::PathBuf;

use lubdub_shared::fs::private_directory;
use lubdub_shared::session::Happening;
use lubdub_shared::time::Now;
use tracing::{error, warn};

use super::Driver;
use crate::http::HttpDoor;
use crate::link::spool;
use crate::lock::{self, Locked};
use crate::place;
use crate::socket::Door;
use crate::state;

impl Driver {
    /// Looks whether door and lock are where they were.
    pub(super) fn mend_directory(&mut self, now: Now) {
        let locked = self.lock.is_there(&self.config.state);
        let gone = self.gone(locked);
        if gone.is_empty() {
            return self.hear_again();
        }
        let gone =
            gone.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        match self.make_anew(locked) {
            Ok(()) => {
                // The longest part last: notes have a bound.
                let text = format!("what was taken away is made anew: {gone}");
                warn!("{text}");
                let life = self.supervisor.life();
                self.outbox.push(now.wall, life, Happening::Note { text });
                self.outbox.rewrite();
                self.disk.persist();
                self.process.remember_output();
                self.hear_again();
            }
            Err(why) => {
                if self.deaf.is_none() && !self.door.is_there() {
                    let path = self.door.path().display();
                    let why = format!("its socket {path} is gone, and cannot be made anew: {why}");
                    self.deaf = Some(why);
                }
                // A read-only or full disk says so by itself; somebody else's directory does not.
                if !std::mem::replace(&mut self.told_unmended, true) {
                    error!(%why, %gone, "it cannot be reached, and cannot be made anew");
                }
            }
        }
    }

    /// What is not where it was. What a sick disk does not take is told as that.
    fn gone(&self, locked: bool) -> Vec<PathBuf> {
        let state = &self.config.state;
        let files = [state::FILE_NAME, spool::FILE_NAME].map(|name| state.join(name));
        let files = files.into_iter().filter(|path| self.disk.is_well() && !path.exists());
        let lock = (!locked).then(|| state.join(lock::NAME));
        let door = (!self.door.is_there()).then(|| self.door.path().to_owned());
        let http = self.http_path().filter(|_| !self.has_http_where_wanted());
        lock.into_iter().chain(door).chain(http).chain(files).collect()
    }

    fn hear_again(&mut self) {
        if self.deaf.take().is_some() {
            warn!("the agent can be heard again");
        }
    }

    /// Why the agent cannot be heard now, in words. Who was connected before is heard still, which
    /// says nothing of those who connect for each beat.
    pub(super) fn unheard(&self) -> Option<String> {
        self.deaf.clone()
    }

    /// The life that is to come is told of a door that is there.
    pub(super) fn move_door(&mut self) {
        if self.door.is_there() || self.config.door.is_some() {
            return;
        }
        match self.place.open(self.config.runtime.as_deref(), Door::open) {
            Ok((path, door)) => {
                warn!(path = %path.display(), "the door is here from this life on");
                self.door.replace(door);
                let http = self.http_path().filter(|path| match HttpDoor::open(path) {
                    Ok(door) => {
                        self.notices.set_door(door);
                        true
                    }
                    Err(error) => {
                        warn!(%error, path = %path.display(), "no HTTP");
                        false
                    }
                });
                self.process.set_doors(path, http);
                self.hear_again();
            }
            Err((path, error)) => error!(%error, path = %path.display(), "no door can be opened"),
        }
    }

    fn http_path(&self) -> Option<PathBuf> {
        self.config.http.then(|| self.door.path().with_file_name(place::HTTP))
    }

    /// The socket for HTTP is there, if it ever was.
    fn has_http_where_wanted(&self) -> bool {
        let path = self.http_path().filter(|_| self.notices.has_door());
        path.is_none_or(|path| path.exists())
    }

    fn make_anew(&mut self, locked: bool) -> io::Result<()> {
        private_directory(&self.config.state)?;
        if !locked {
            match lock::try_lock(&self.config.state, Some(&self.lock))? {
                Locked::Ours(lock) => self.lock = lock,
                Locked::Theirs(owner) => {
                    // Two that write the same files would spoil both.
                    self.disk.give_up();
                    let why = format!("the sidecar with pid {owner} has taken it");
                    return Err(io::Error::other(why));
                }
            }
        }
        if !self.door.is_there() {
            if self.config.door.is_none() {
                self.place.prepare(self.door.path())?;
            }
            self.door.reopen()?;
        }
        if let Some(path) = self.http_path().filter(|_| !self.has_http_where_wanted()) {
            self.notices.set_door(HttpDoor::open(&path)?);
        }
        self.told_unmended = false;
        Ok(())
    }
}
