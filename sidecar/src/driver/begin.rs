//! Everything before the first event: directories, lock, memory, leftovers, door.

use std::io;
use std::path::PathBuf;

use lubdub_shared::beat::{Exit, ExitHow};
use lubdub_shared::id::{InstanceId, Life, SpoolId};
use lubdub_shared::session::Happening;
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::{self, TICK, Wall};
use tracing::warn;

use super::Notices;
use super::{
    Config, Disk, Door, Driver, Event, Link, LinkState, MissedTickBehavior, Outbox, Pace, Process,
    SignalKind, Supervisor, VecDeque, Worker, interval, long_ago, parents, signal,
};
use crate::BeginError;
use crate::http::HttpDoor;
use crate::link::spool;
use crate::lock::{self, Locked};
use crate::process::{Spec, find_agent, find_main, sweep_leftovers};
use crate::socket::private_directory;
use crate::state::{Found, Memory, buried};
use crate::vitals;

impl Driver {
    pub(crate) fn begin(config: Config) -> Result<Self, BeginError> {
        let state_error = |source| BeginError::State { path: config.state.clone(), source };
        for directory in parents(&config) {
            private_directory(&directory)
                .map_err(|source| BeginError::State { path: directory.clone(), source })?;
        }
        let lock = match lock::try_lock(&config.state).map_err(state_error)? {
            Locked::Ours(lock) => lock,
            Locked::Theirs(owner) => {
                return Err(BeginError::Owned { agent: config.agent, owner });
            }
        };
        let Recalled { memory, mut notes, unseen } = recall(&config)?;
        let contents = spool::load(&config.state).map_err(state_error)?;
        if let Some(damage) = &contents.damage {
            notes.push(format!("the spool was damaged, events may be lost: {damage}"));
        }
        let door_error = |source| BeginError::Door { path: config.socket.clone(), source };
        let door = Door::open(&config.socket).map_err(door_error)?;
        let http = open_http(&config, &mut notes);
        let spec = Spec {
            agent: config.agent.clone(),
            command: config.command.clone(),
            socket: config.socket.clone(),
            http: http.as_ref().map(|(_, path)| path.clone()),
            heartbeat_file: config.heartbeat_file.clone(),
            watchdog: None,
            die_with_sidecar: config.die_with_sidecar,
        };
        let system = |what| move |source| BeginError::System { what, source };
        let mut rng = fastrand::Rng::new();
        let (link, from_link) = Link::new(&config.collectors, rng.u64(..))?;
        let now = time::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut outbox = Outbox::new(contents, SpoolId::random(&mut rng));
        let (worker, progress) = Worker::start(&config.state).map_err(system("start a thread"))?;
        tell_what_was_missed(&mut outbox, unseen, notes, now.wall);
        let mut driver = Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            instance: InstanceId::random(&mut rng),
            supervisor: Supervisor::new(memory, config.local, rng.u64(..), now.mono),
            process: Process::new(spec).map_err(system("adopt orphans"))?,
            door,
            disk: Disk::new(worker, progress),
            outbox,
            pace: Pace::default(),
            notices: Notices::new(http.map(|(door, _)| door), config.nudge_hook.clone()),
            link: LinkState::Down { was_up: false },
            from_link,
            children: signal(SignalKind::child()).map_err(system("listen to SIGCHLD"))?,
            ticks,
            looked: long_ago(),
            looked_closely: long_ago(),
            mended: now.mono,
            beats: 0,
            beats_looked: 0,
            acked_at: now.mono,
            told_unmended: false,
            rng,
            asked_to_end: false,
            ended: None,
            events: VecDeque::from([Event::Tick]),
            actions: Vec::new(),
            config,
            lock,
        };
        driver.supervisor.finish_what_was_begun(&mut driver.actions);
        tokio::spawn(link.run());
        Ok(driver)
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

/// The main process of the life that is remembered, if it lives on.
fn still_runs(memory: &Memory) -> Option<u32> {
    if memory.starting {
        // The sidecar was killed between the start and the note of its pid.
        return memory.life.and_then(|life| find_main(life.id));
    }
    let process = memory.process?;
    let stat = vitals::stat(process.pid.get())?;
    let lives = stat.start_time == process.start_time && stat.state != 'Z';
    lives.then_some(process.pid.get())
}

struct Recalled {
    memory: Memory,
    /// What a person should know.
    notes: Vec<String>,
    /// A life that ended while no sidecar was there: killed with it, or by a reboot.
    unseen: Option<Life>,
}

/// What happened while no sidecar was there, and what a person should know of this start.
fn tell_what_was_missed(outbox: &mut Outbox, unseen: Option<Life>, notes: Vec<String>, now: Wall) {
    if let Some(life) = unseen.filter(|life| !outbox.holds_the_end_of(*life)) {
        outbox.push(now, Some(life), ended_unseen());
    }
    for text in notes {
        warn!("{text}");
        outbox.push(now, None, Happening::Note { text });
    }
}

/// The end of a life that nobody saw.
fn ended_unseen() -> Happening {
    let how = ExitHow::Unknown("it ended while no sidecar was there".to_owned());
    let exit = Exit { how, core: false, by_us: false };
    let (next, survivors) = (Lifecycle::Restarting, Vec::new());
    Happening::Exited { exit, clean: false, next, survivors }
}

/// What is remembered, what a person should know of it, and no leftovers of an earlier life.
fn recall(config: &Config) -> Result<Recalled, BeginError> {
    let state_error = |source: io::Error| BeginError::State { path: config.state.clone(), source };
    let boot_id = vitals::boot_id();
    let empty = || Memory {
        hold: buried(&config.state),
        ..Memory::empty(config.agent.clone(), boot_id.clone())
    };
    let mut notes = Vec::new();
    let mut memory = match Memory::load(&config.state).map_err(state_error)? {
        Found::Whole(memory) if memory.agent == config.agent => *memory,
        Found::Whole(other) => {
            notes.push(format!("the state directory belongs to {}; starting anew", other.agent));
            empty()
        }
        Found::Nothing => empty(),
        Found::Corrupt(why) => {
            notes.push(format!("the state file cannot be read: {why}"));
            empty()
        }
    };
    if memory.boot_id == boot_id {
        let lives = still_runs(&memory).or_else(|| match memory.life {
            Some(_) => None,
            // A memory that is lost knows of no life; its agent may live on all the same.
            None => find_agent(&config.socket),
        });
        if let Some(pid) = lives.filter(|_| !config.die_with_sidecar) {
            return Err(BeginError::StillRuns { agent: config.agent.clone(), pid });
        }
        let left = memory.life.map_or(0, |life| sweep_leftovers(&config.agent, life.id));
        if left > 0 {
            notes.push(format!("ended {left} processes that an earlier life left behind"));
        }
    }
    let unseen = memory.life.filter(|_| memory.process.is_some() || memory.starting);
    (memory.process, memory.starting) = (None, false);
    memory.boot_id = boot_id;
    Ok(Recalled { memory, notes, unseen })
}
