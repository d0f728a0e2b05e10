//! Everything before the first event: directories, lock, memory, leftovers, door.

use std::path::PathBuf;
use std::time::Duration;

use lubdub_shared::id::{InstanceId, SpoolId};
use lubdub_shared::time::{self, TICK};

use super::Awaited;
use super::Notices;
use super::recall::{Recalled, recall};
use super::{
    Config, Disk, Door, Driver, Event, Link, LinkState, Outbox, Pace, Process, SignalKind,
    Supervisor, Ticks, VecDeque, Worker, long_ago, parents, signal,
};
use crate::BeginError;
use crate::http::HttpDoor;
use crate::link::spool;
use crate::lock::{self, Lock, Locked};
use crate::process::Spec;
use crate::socket::private_directory;
use crate::upward::Upward;

/// Tries to get the lock: half a second in all.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

impl Driver {
    pub(crate) fn begin(mut config: Config) -> Result<Self, BeginError> {
        let state_error = |source| BeginError::State { path: config.state.clone(), source };
        for directory in parents(&config) {
            private_directory(&directory)
                .map_err(|source| BeginError::State { path: directory.clone(), source })?;
        }
        let lock = lock(&config)?;
        let Recalled { memory, mut notes, unseen, lives, attaches } =
            recall(&config).map_err(state_error)?;
        config.attach = config.attach.take().filter(|_| attaches);
        let contents = spool::load(&config.state).map_err(state_error)?;
        if let Some(damage) = &contents.damage {
            notes.push(format!("the spool was damaged, events may be lost: {damage}"));
        }
        let door_error = |source| BeginError::Door { path: config.socket.clone(), source };
        let door = Door::open(&config.socket).map_err(door_error)?;
        let http = open_http(&config, &mut notes);
        let system = |what| move |source| BeginError::System { what, source };
        let mut rng = fastrand::Rng::new();
        let (link, from_link) = Link::new(&config.collectors, rng.u64(..))?;
        let now = time::now();
        let outbox = Outbox::new(contents, SpoolId::random(&mut rng));
        let (worker, progress) = Worker::start(&config.state).map_err(system("start a thread"))?;
        let mut driver = Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            instance: InstanceId::random(&mut rng),
            supervisor: Supervisor::new(memory, config.local, rng.u64(..), now.mono),
            process: Process::new(spec_of(&config, http.as_ref().map(|(_, path)| path)))
                .map_err(system("adopt orphans"))?,
            door,
            disk: Disk::new(worker, progress),
            outbox,
            pace: Pace::default(),
            notices: Notices::new(http.map(|(door, _)| door), config.hooks.nudge.clone()),
            link: LinkState::Down { was_up: false },
            from_link,
            children: signal(SignalKind::child()).map_err(system("listen to SIGCHLD"))?,
            ticks: Ticks::every(TICK).map_err(system("make a timer"))?,
            looked: long_ago(),
            looked_closely: long_ago(),
            mended: now.mono,
            beats: 0,
            beats_looked: 0,
            acked_at: now.mono,
            told_unmended: false,
            awaited: Awaited::default(),
            gathering: 0,
            transcript: None,
            complaints: Vec::new(),
            upward: config.local.once.is_none().then(Upward::new).flatten(),
            rng,
            asked_to_end: false,
            ended: None,
            events: VecDeque::from([Event::Tick]),
            actions: Vec::new(),
            _scratch: config.scratch.clone(),
            config,
            lock,
        };
        driver.tell_what_was_missed(unseen, notes, now.wall);
        if let Some(process) = lives {
            driver.adopt(process, now).map_err(system("take over the agent that lives on"))?;
        }
        driver.supervisor.finish_what_was_begun(&mut driver.actions);
        tokio::spawn(link.run());
        Ok(driver)
    }
}

/// Nobody else supervises this agent.
fn lock(config: &Config) -> Result<Lock, BeginError> {
    let state_error = |source| BeginError::State { path: config.state.clone(), source };
    // One that was killed just now may still hold it for a moment.
    let mut tries = 0..LOCK_TRIES;
    loop {
        match lock::try_lock(&config.state).map_err(state_error)? {
            Locked::Ours(lock) => return Ok(lock),
            Locked::Theirs(_) if tries.next().is_some() => time::pause(LOCK_PAUSE),
            Locked::Theirs(owner) => {
                return Err(BeginError::Owned { agent: config.agent.clone(), owner });
            }
        }
    }
}

fn spec_of(config: &Config, http: Option<&PathBuf>) -> Spec {
    Spec {
        agent: config.agent.clone(),
        command: config.command.clone(),
        socket: config.socket.clone(),
        http: http.cloned(),
        heartbeat_file: config.heartbeat_file.clone(),
        watchdog: None,
        attaches: config.attach.is_some(),
        kind: config.kind.clone(),
        interactive: config.interactive,
        capture: config.capture.clone(),
        limits: config.limits,
        die_with_sidecar: config.die_with_sidecar,
    }
}

/// The door for HTTP, where it is wanted and can be had. Agents do without it.
fn open_http(config: &Config, notes: &mut Vec<String>) -> Option<(HttpDoor, PathBuf)> {
    let path = config.http.clone()?;
    match HttpDoor::open(&path) {
        Ok(door) => Some((door, path)),
        Err(error) => {
            notes.push(format!("no HTTP at {}: {error}", path.display()));
            None
        }
    }
}
