//! Everything before the first event: directories, lock, memory, leftovers, door.

use std::io;

use lubdub_shared::id::{InstanceId, SpoolId};
use lubdub_shared::session::Happening;
use lubdub_shared::time::{self, TICK};
use tracing::warn;

use super::{
    Config, Door, Driver, Event, Link, LinkState, MissedTickBehavior, Outbox, Pace, Process,
    SignalKind, Supervisor, VecDeque, Worker, interval, long_ago, parents, signal,
};
use crate::BeginError;
use crate::lock::{self, Locked};
use crate::process::{Spec, sweep_leftovers};
use crate::socket::private_directory;
use crate::state::{Found, Memory};
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
        let (memory, notes) = recall(&config)?;
        let door_error = |source| BeginError::Door { path: config.socket.clone(), source };
        let door = Door::open(&config.socket).map_err(door_error)?;
        let spec = Spec {
            agent: config.agent.clone(),
            command: config.command.clone(),
            socket: config.socket.clone(),
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
        let mut outbox = Outbox::new(SpoolId::random(&mut rng));
        for text in notes {
            warn!("{text}");
            outbox.push(now.wall, None, Happening::Note { text });
        }
        let driver = Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            instance: InstanceId::random(&mut rng),
            supervisor: Supervisor::new(memory, rng.u64(..), now.mono),
            process: Process::new(spec).map_err(system("adopt orphans"))?,
            door,
            worker: Worker::start().map_err(system("start a thread"))?,
            outbox,
            pace: Pace::default(),
            link: LinkState::Down { was_up: false },
            from_link,
            children: signal(SignalKind::child()).map_err(system("listen to SIGCHLD"))?,
            ticks,
            looked: long_ago(),
            looked_closely: long_ago(),
            beats: 0,
            beats_looked: 0,
            acked_at: now.mono,
            unwritten: true,
            failures: 0,
            asked_to_end: false,
            ended: None,
            events: VecDeque::from([Event::Tick]),
            actions: Vec::new(),
            config,
            _lock: lock,
        };
        tokio::spawn(link.run());
        Ok(driver)
    }
}

/// What is remembered, what a person should know of it, and no leftovers of an earlier life.
fn recall(config: &Config) -> Result<(Memory, Vec<String>), BeginError> {
    let state_error = |source: io::Error| BeginError::State { path: config.state.clone(), source };
    let boot_id = vitals::boot_id();
    let empty = || Memory::empty(config.agent.clone(), boot_id.clone());
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
        if let Some(process) = memory.process
            && !config.die_with_sidecar
            && vitals::stat(process.pid.get())
                .is_some_and(|stat| stat.start_time == process.start_time && stat.state != 'Z')
        {
            let pid = process.pid.get();
            return Err(BeginError::StillRuns { agent: config.agent.clone(), pid });
        }
        if let (Some(process), Some(life)) = (memory.process, memory.life) {
            let (pid, ordinal) = (process.pid, life.ordinal);
            notes.push(format!("life {ordinal} (pid {pid}) ended while no sidecar was there"));
        }
        let left = memory.life.map_or(0, |life| sweep_leftovers(&config.agent, life.id));
        if left > 0 {
            notes.push(format!("ended {left} processes that an earlier life left behind"));
        }
    }
    memory.process = None;
    memory.boot_id = boot_id;
    Ok((memory, notes))
}
