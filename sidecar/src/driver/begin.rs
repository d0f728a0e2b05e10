//! Everything before the first event: directories, lock, memory, leftovers, door.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lubdub_shared::fs::{check_above, keep_others_out, private_directory};
use lubdub_shared::id::{InstanceId, SpoolId};
use lubdub_shared::time::{self, TICK};
use tracing::warn;

use super::Ailments;
use super::Awaited;
use super::Notices;
use super::recall::{Recalled, recall};
use super::{
    Config, Disk, Door, Driver, Event, Link, LinkState, Outbox, Pace, Process, SignalKind,
    Supervisor, Ticks, VecDeque, Worker, long_ago, signal,
};
use crate::BeginError;
use crate::http::HttpDoor;
use crate::link::spool::{self, Contents};
use crate::lock::{self, Lock, Locked};
use crate::place::{self, Place};
use crate::process::Spec;
use crate::reserve;
use crate::state::Reached;
use crate::upward::Upward;
use crate::vitals;

/// Tries to get the lock: half a second in all.
pub(super) const LOCK_TRIES: u32 = 25;
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(20);

impl Driver {
    pub(crate) fn begin(mut config: Config) -> Result<Self, BeginError> {
        if !vitals::sees_itself() {
            return Err(BeginError::NoProc);
        }
        reserve::keep();
        let mut notes = closed(&mut config)?;
        let lock = lock(&config)?;
        let place = Place::new(config.state.clone(), config.agent.clone());
        let Recalled { memory, notes: recalled, unseen, lives, door, attaches } =
            recall(&config, &place)?;
        notes.extend(recalled);
        config.attach = config.attach.take().filter(|_| attaches);
        let contents = load_spool(&config, memory.reached, &mut notes)?;
        let door = open_door(&config, &place, door.as_deref())?;
        let http = open_http(&config, &door, &mut notes);
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
            process: Process::new(spec_of(&config, &door, http.as_ref().map(|(_, path)| path)))
                .map_err(system("adopt orphans"))?,
            place,
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
            ailments: Ailments::default(),
            deaf: None,
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

/// What no collector has acked yet, as far as it is there.
fn load_spool(
    config: &Config,
    reached: Option<Reached>,
    notes: &mut Vec<String>,
) -> Result<Contents, BeginError> {
    let state_error = |source| BeginError::State { path: config.state.clone(), source };
    let mut contents = spool::load(&config.state).map_err(state_error)?;
    if let Some(reached) = reached {
        contents.compare(reached);
    }
    if let Some(damage) = &contents.damage {
        notes.push(format!("the spool was damaged, events may be lost: {damage}"));
    }
    Ok(contents)
}

/// Nobody else supervises this agent.
fn lock(config: &Config) -> Result<Lock, BeginError> {
    let state_error = |source| BeginError::State { path: config.state.clone(), source };
    // One that was killed just now may still hold it for a moment.
    let mut tries = 0..LOCK_TRIES;
    loop {
        match lock::try_lock(&config.state, None).map_err(state_error)? {
            Locked::Ours(lock) => return Ok(lock),
            Locked::Theirs(_) if tries.next().is_some() => time::pause(LOCK_PAUSE),
            Locked::Theirs(owner) => {
                return Err(BeginError::Owned { agent: config.agent.clone(), owner });
            }
        }
    }
}

fn spec_of(config: &Config, door: &Door, http: Option<&PathBuf>) -> Spec {
    Spec {
        agent: config.agent.clone(),
        command: config.command.clone(),
        socket: door.path().to_owned(),
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

/// The directories of the agent are there, and closed to others. What a person should know.
fn closed(config: &mut Config) -> Result<Vec<String>, BeginError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BeginError::State { path, source }
    };
    let mut notes = Vec::new();
    let state = config.state.clone();
    if let Some(agents) = state.parent() {
        if let Some(root) = agents.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed(root))?;
            keep_others_out(root).map_err(failed(root))?;
        }
        // Several users may share it, where its owner lets nobody move what is another's.
        DirBuilder::new().recursive(true).mode(0o700).create(agents).map_err(failed(agents))?;
        keep_others_out(agents).map_err(failed(agents))?;
    }
    private_directory(&state).map_err(failed(&state))?;
    config.state = state.canonicalize().map_err(failed(&state))?;
    if config.scratch.is_none()
        && let Err(why) = check_above(&config.state)
    {
        notes.push(format!("{why} (the agent's state directory among it)"));
    }
    if let Ok(name) = config.heartbeat_file.strip_prefix(&state) {
        config.heartbeat_file = config.state.join(name);
    }
    Ok(notes)
}

/// Where the agent that lives on was told to speak, else in the first place that is fit for it.
fn open_door(config: &Config, place: &Place, told: Option<&Path>) -> Result<Door, BeginError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BeginError::Door { path, source }
    };
    if let Some(door) = &config.door {
        return Door::open(door).map_err(failed(door));
    }
    if let Some(door) = told {
        match place.prepare(door).and_then(|()| Door::open(door)) {
            Ok(door) => return Ok(door),
            Err(error) => warn!(%error, door = %door.display(), "cannot be opened again"),
        }
    }
    let opened = place.open(config.runtime.as_deref(), Door::open);
    opened.map(|(_, door)| door).map_err(|(path, source)| BeginError::Door { path, source })
}

/// The door for HTTP, where it is wanted and can be had. Agents do without it.
fn open_http(config: &Config, door: &Door, notes: &mut Vec<String>) -> Option<(HttpDoor, PathBuf)> {
    let path = config.http.then(|| door.path().with_file_name(place::HTTP))?;
    match HttpDoor::open(&path) {
        Ok(door) => Some((door, path)),
        Err(error) => {
            notes.push(format!("no HTTP at {}: {error}", path.display()));
            None
        }
    }
}
