//! Who speaks at a door: the kernel tells its pid and uid. Authority is membership of the agent's
//! tree; a member may have changed its uid.

use lubdub_shared::line::Message;
use rustix::process::geteuid;

/// The other end, as the kernel attests it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaker {
    /// 0 where it is in another pid namespace.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// What a speaker is to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A living member of its tree.
    Member,
    /// Gone already, or not to be seen from here.
    Gone,
    /// It lives, and is none of the agent's.
    Stranger,
}

/// Why somebody is not heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHeard {
    /// A living process outside the tree.
    #[error("pid {0} is no member of the agent's tree")]
    Stranger(u32),
    /// Gone, and of another user.
    #[error("the sender is gone, and was of uid {0}")]
    User(u32),
}

impl Speaker {
    /// What of a message counts, coming from this speaker. Who is gone cannot be asked any more: it
    /// may prove life and tell of work, but end nothing, move nothing and set no contract.
    ///
    /// # Errors
    /// It is not heard at all.
    pub fn says(self, message: Message, standing: Standing) -> Result<Message, NotHeard> {
        match standing {
            Standing::Member => Ok(message),
            Standing::Stranger => Err(NotHeard::Stranger(self.pid)),
            Standing::Gone if self.uid != geteuid().as_raw() && self.uid != 0 => {
                Err(NotHeard::User(self.uid))
            }
            Standing::Gone => Ok(Message {
                phase: message.phase.filter(|phase| *phase != lubdub_shared::beat::Phase::Stopping),
                check: message.check.filter(|check| !check.trigger),
                deadline: None,
                main_pid: None,
                restart_reset: false,
                ..message
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use lubdub_shared::beat::Phase;
    use lubdub_shared::line::parse;

    use super::*;

    #[test]
    fn who_may_say_what() {
        let own = Speaker { pid: 7, uid: geteuid().as_raw() };
        let says = |speaker: Speaker, text: &str, standing| {
            speaker.says(parse(text.as_bytes()).expect(text), standing)
        };
        for text in [
            "WATCHDOG=trigger",
            "STOPPING=1",
            "MAINPID=8",
            "WATCHDOG_USEC=5000000",
            "RESTART_RESET=1",
            "{\"fail\":{\"message\":\"x\"}}",
            "{\"deadline_s\":9}",
        ] {
            let whole = parse(text.as_bytes()).expect(text);
            assert_eq!(says(own, text, Standing::Member), Ok(whole), "{text}");
            let heard = says(own, text, Standing::Gone).expect("it was of our user");
            let Message { phase, check, deadline, main_pid, restart_reset, .. } = heard;
            let none = (phase, check, deadline, main_pid, restart_reset);
            assert_eq!(none, (None, None, None, None, false), "{text}");
            let refused = says(own, text, Standing::Stranger);
            assert_eq!(refused, Err(NotHeard::Stranger(7)), "{text}");
        }
        for text in ["WATCHDOG=1", "READY=1", "{\"phase\":\"llm\",\"progress\":3}"] {
            let whole = parse(text.as_bytes()).expect(text);
            assert_eq!(says(own, text, Standing::Gone), Ok(whole), "{text}");
        }
        // Of another user: a member is heard (it dropped its rights), who is gone is not.
        let other = Speaker { uid: own.uid + 1, ..own };
        let idle = says(other, "{\"phase\":\"idle\"}", Standing::Member).expect("a member");
        assert_eq!(idle.phase, Some(Phase::Idle));
        let refused = says(other, "WATCHDOG=1", Standing::Gone);
        assert_eq!(refused, Err(NotHeard::User(other.uid)));
    }
}
