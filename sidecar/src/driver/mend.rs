//! The directories of the agent, or files in them, were taken away under the sidecar: they are made
//! anew, which costs nothing but memory of what was in them, and is told.

use std::io;

use lubdub_shared::session::Happening;
use lubdub_shared::time::Now;
use tracing::{error, warn};

use super::{Driver, parents};
use crate::http::HttpDoor;
use crate::link::spool;
use crate::lock::{self, Locked};
use crate::socket::private_directory;
use crate::state;

impl Driver {
    /// Looks whether door and lock are where they were.
    pub(super) fn mend_directory(&mut self, now: Now) {
        let locked = self.lock.is_there(&self.config.state);
        let kept = [state::FILE_NAME, spool::FILE_NAME].into_iter();
        let kept = kept.map(|name| self.config.state.join(name)).all(|path| path.exists());
        let doors = self.door.is_there() && self.has_http_where_wanted();
        if locked && doors && (kept || !self.disk.is_well()) {
            return;
        }
        match self.make_anew(locked) {
            Ok(()) => {
                let text = "the agent's directory was taken away, and is made anew".to_owned();
                warn!("{text}");
                let life = self.supervisor.life();
                self.outbox.push(now.wall, life, Happening::Note { text });
                self.outbox.rewrite();
                self.disk.persist();
            }
            Err(why) => {
                // A read-only or full disk says so by itself; somebody else's directory does not.
                if !std::mem::replace(&mut self.told_unmended, true) {
                    error!(%why, "the agent's directory is gone, and cannot be made anew");
                }
            }
        }
    }

    /// The socket for HTTP is there, if it ever was.
    fn has_http_where_wanted(&self) -> bool {
        let path = self.config.http.as_ref().filter(|_| self.notices.has_door());
        path.is_none_or(|path| path.exists())
    }

    fn make_anew(&mut self, locked: bool) -> io::Result<()> {
        for directory in parents(&self.config) {
            private_directory(&directory)?;
        }
        if !locked {
            match lock::try_lock(&self.config.state)? {
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
            self.door.reopen()?;
        }
        if let Some(path) = self.config.http.clone().filter(|_| !self.has_http_where_wanted()) {
            self.notices.set_door(HttpDoor::open(&path)?);
        }
        self.told_unmended = false;
        Ok(())
    }
}
