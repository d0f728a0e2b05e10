//! What the agent is told, and what it says through the HTTP door.

use std::time::Duration;

use lubdub_shared::command::CommandKind;
use lubdub_shared::id::CommandId;
use lubdub_shared::line::Message;
use lubdub_shared::time::Now;
use tokio::sync::mpsc;
use tracing::info;

use super::Driver;
use crate::hook::Hook;
use crate::http::{Heard, HttpDoor, What};
use crate::speaker::{NotHeard, Speaker};
use crate::supervisor::{Event, Gathered, Notice};

/// An agent that polled within this time listens: the longest poll, and time to come back.
const LISTENS_FOR: Duration = Duration::from_secs(90);
/// Answers that may wait; whoever has one more waits too.
const NEWS_DEPTH: usize = 4;
/// How long the nudge hook may take; then it is killed.
const NUDGE_PATIENCE: Duration = Duration::from_secs(10);

/// Ways to tell the agent something.
#[derive(Debug)]
pub(super) struct Notices {
    door: Option<HttpDoor>,
    /// What the sidecar's file names for nudges.
    hook: Option<Vec<String>>,
    ended: mpsc::Receiver<News>,
    pub(super) to_us: mpsc::Sender<News>,
    polled: Option<lubdub_shared::time::Mono>,
}

/// Something came back.
#[derive(Debug)]
pub(super) enum News {
    Http(Heard),
    Nudged(CommandId, Result<String, String>),
    Gathered(Box<Gathered>),
    Checkpointed(Result<String, String>),
    Restarted(Result<String, String>),
}

impl Notices {
    pub(super) fn new(door: Option<HttpDoor>, hook: Option<Vec<String>>) -> Self {
        let (to_us, ended) = mpsc::channel(NEWS_DEPTH);
        Self { door, hook, ended, to_us, polled: None }
    }

    /// Another door for HTTP in place of the one that was taken away.
    pub(super) fn set_door(&mut self, door: HttpDoor) {
        self.door = Some(door);
    }

    pub(super) fn has_door(&self) -> bool {
        self.door.is_some()
    }

    /// Another hook from now on, or none.
    pub(super) fn set_hook(&mut self, hook: Option<Vec<String>>) {
        self.hook = hook;
    }

    /// Waits for what comes through the HTTP door, or from a hook. Safe to cancel.
    pub(super) async fn news(&mut self) -> News {
        let Self { door, ended, .. } = self;
        let http = async {
            match door {
                Some(door) => door.heard.recv().await,
                None => None,
            }
        };
        tokio::select! {
            Some(heard) = http => News::Http(heard),
            Some(news) = ended.recv() => news,
        }
    }
}

impl Driver {
    /// What came through the HTTP door is heard like a datagram.
    pub(super) fn on_news(&mut self, news: News, now: Now) {
        match news {
            News::Http(Heard { speaker, what, answer }) => {
                self.hear_door();
                let heard = self.hear_request(speaker, what, now);
                if let Err(why) = &heard {
                    self.door.refuse(why, now.mono);
                }
                // Whoever asked may be gone.
                let (Ok(()) | Err(_)) = answer.send(heard);
            }
            News::Nudged(id, result) => self.events.push_back(Event::Noticed(id, result)),
            News::Gathered(gathered) => {
                self.gathering -= 1;
                self.look_closely(now);
                self.events.push_back(Event::Gathered(gathered));
            }
            News::Restarted(done) => self.restarted(done, now),
            News::Checkpointed(done) => self.events.push_back(Event::Checkpointed(done)),
        }
        self.note_listeners(now);
    }

    /// What somebody wants at the HTTP door, where that one may want it.
    fn hear_request(&mut self, speaker: Speaker, what: What, now: Now) -> Result<(), NotHeard> {
        let message = match what {
            What::Said(message) => return self.hear_from(speaker, *message, now),
            What::Polled | What::Taken(..) => Message::default(),
        };
        speaker.says(message, self.process.standing(speaker.pid))?;
        if let What::Taken(id, said) = what {
            if self.notices.door.as_ref().is_some_and(|door| door.take(id)) {
                let how = if said.is_empty() { "the agent took it".to_owned() } else { said };
                self.events.push_back(Event::Noticed(id, Ok(how)));
            }
        } else {
            self.supervisor.hear_request();
            self.notices.polled = Some(now.mono);
        }
        Ok(())
    }

    /// What came through the HTTP door, head and all, is no activity of the agent's.
    pub(super) fn hear_door(&mut self) {
        if let Some(door) = &self.notices.door {
            self.supervisor.hear_bytes(door.take_read());
        }
    }

    /// A notice is settled otherwise: whoever polls does not find it any more.
    pub(super) fn untell(&mut self, id: CommandId) {
        if let Some(door) = &self.notices.door {
            door.take(id);
        }
    }

    pub(super) fn note_listeners(&mut self, now: Now) {
        let polled = self.notices.polled;
        let polls = polled.is_some_and(|at| now.mono.since(at) < LISTENS_FOR);
        self.supervisor.set_listens(polls || self.notices.hook.is_some());
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        info!(kind = %notice.kind, reason = notice.reason, "the agent is told");
        if let (Some(argv), CommandKind::Nudge) = (&self.notices.hook, notice.kind) {
            let mut hook = self.hook(argv, NUDGE_PATIENCE);
            hook.environment.extend([
                ("LUBDUB_KIND", notice.kind.as_str().to_owned()),
                ("LUBDUB_CAUSE", notice.cause.map_or("", |cause| cause.as_str()).to_owned()),
                ("LUBDUB_REASON", notice.reason.clone()),
            ]);
            let id = notice.id;
            self.report_back(async move { News::Nudged(id, hook.run().await) });
        }
        if let Some(door) = &self.notices.door {
            door.post(notice);
        }
    }

    /// A local hook about the agent as it is now.
    pub(super) fn hook(&self, argv: &[String], patience: Duration) -> Hook {
        let main = self.supervisor.process().map(|process| process.pid.to_string());
        let environment = vec![
            ("LUBDUB_AGENT", self.config.agent.to_string()),
            ("LUBDUB_PID", main.unwrap_or_default()),
        ];
        Hook { argv: argv.to_vec(), environment, patience }
    }

    /// Does something beside the driver, which hears what came of it.
    pub(super) fn report_back(&self, work: impl Future<Output = News> + Send + 'static) {
        let to_us = self.notices.to_us.clone();
        tokio::spawn(async move {
            // The driver may have ended meanwhile: nobody waits for it then.
            let (Ok(()) | Err(_)) = to_us.send(work.await).await;
        });
    }

    /// A new life polls for itself, and finds nothing that was meant for another.
    pub(super) fn forget_notices(&mut self) {
        self.notices.polled = None;
        if let Some(door) = &self.notices.door {
            door.clear();
        }
    }
}
