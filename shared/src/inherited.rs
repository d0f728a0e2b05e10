//! What a daemon inherits from whoever started it: a signal mask, ignored signals, limits. A
//! blocked TERM, a limit on the size of files or a shell's few descriptors must not be the end of
//! it; and what it starts itself finds the limits as they were, and can be asked to end.
//!
//! [`take`] comes first in `main`, while there is one thread.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raised as far as the system lets us, but not beyond what the daemons can use.
const RAISED: [(Resource, u64); 4] = [
    (Resource::Nofile, 65_536),
    (Resource::Fsize, u64::MAX),
    (Resource::Nproc, u64::MAX),
    (Resource::Cpu, u64::MAX),
];

/// They tell of a limit, or that we write to a terminal which is not ours: an error says that too.
const IGNORED: [Signal; 3] = [Signal::SIGXFSZ, Signal::SIGXCPU, Signal::SIGTTOU];

/// As it was before [`take`] changed it.
#[derive(Debug, Clone)]
pub struct Inherited {
    /// HUP was ignored, as nohup(1) has it: it stays so, here and for what is started.
    pub hup_ignored: bool,
    limits: Vec<(Resource, Rlimit)>,
}

static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// Looks at what was inherited, and makes this process fit to be a daemon. The first call counts.
pub fn take() -> &'static Inherited {
    INHERITED.get_or_init(|| {
        let limits = RAISED.map(|(resource, _)| (resource, getrlimit(resource))).to_vec();
        let inherited = Inherited { hup_ignored: ignores(Signal::SIGHUP), limits };
        let (Ok(()) | Err(_)) = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
        for number in IGNORED {
            // SAFETY: no handler is installed that could run.
            #[expect(unsafe_code, reason = "signal(2) is unsafe for its handlers")]
            let (Ok(_) | Err(_)) = unsafe { signal(number, SigHandler::SigIgn) };
        }
        for ((resource, limit), (_, wanted)) in inherited.limits.iter().zip(RAISED) {
            let most = limit.maximum.unwrap_or(u64::MAX).min(wanted);
            if limit.current.is_some_and(|current| current < most) {
                let current = Some(most).filter(|most| *most < u64::MAX);
                // What the system refuses stays as it was.
                let (Ok(()) | Err(_)) = setrlimit(*resource, Rlimit { current, ..*limit });
            }
        }
        inherited
    })
}

impl Inherited {
    /// What the command becomes finds limits and signals as they were, but for a blocked mask (the
    /// standard library empties it) and ignored signals: only an ignored HUP is meant for it.
    pub fn give_back(&self, command: &mut Command) {
        let (limits, hup_ignored) = (self.limits.clone(), self.hup_ignored);
        let restore = move || {
            for number in Signal::iterator() {
                if number == Signal::SIGHUP && hup_ignored {
                    continue;
                }
                // KILL and STOP refuse.
                // SAFETY: no handler is installed that could run.
                #[expect(unsafe_code, reason = "signal(2) is unsafe for its handlers")]
                let (Ok(_) | Err(_)) = unsafe { signal(number, SigHandler::SigDfl) };
            }
            // Those of real time have no names; the first two are the C library's own.
            for number in 34..=64 {
                // SAFETY: no handler is installed that could run.
                #[expect(unsafe_code, reason = "signal(2) is unsafe for its handlers")]
                let _before = unsafe { nix::libc::signal(number, nix::libc::SIG_DFL) };
            }
            for (resource, limit) in &limits {
                setrlimit(*resource, *limit)?;
            }
            Ok::<_, io::Error>(())
        };
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
        #[expect(unsafe_code, reason = "limits and signals are set between fork and exec")]
        unsafe {
            command.pre_exec(restore);
        }
    }
}

/// By the kernel's own word; `false` where it cannot be asked.
fn ignores(number: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number as i32 - 1) & 1 == 1)
}
