//! Socket activation (sd_listen_fds(3)): a service manager that gave sockets to the sidecar meant
//! them for its agent. `LISTEN_PID` must be the pid of who takes them, and that is known only
//! between fork and exec; so the program is run from there, with an environment made before.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const PID: &str = "LISTEN_PID";
/// The longest pid, in digits, and a NUL.
const DIGITS: usize = 11;

/// Sockets were handed to this very process.
pub(super) fn is_ours() -> bool {
    let pid = std::env::var(PID).ok().and_then(|pid| pid.trim().parse().ok());
    pid == Some(std::process::id())
}

/// The sockets that are meant for the agent come to it. Must be the last thing that is done to the
/// command.
///
/// # Errors
/// A NUL in a word, which no program can be given.
pub(super) fn hand_on(command: &mut Command) -> io::Result<()> {
    let mut image = Image::of(command)?;
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    #[expect(unsafe_code, reason = "the pid of the child is known only there")]
    unsafe {
        command.pre_exec(move || Err(image.run()));
    }
    Ok(())
}

/// Program, arguments and environment as execve(2) wants them. The words are never moved once their
/// addresses are taken.
struct Image {
    program: CString,
    _arguments: Vec<CString>,
    argv: Vec<usize>,
    _environment: Vec<CString>,
    /// `LISTEN_PID=` and room for digits.
    pid: Box<[u8]>,
    envp: Vec<usize>,
}

impl Image {
    fn of(command: &Command) -> io::Result<Self> {
        let word = |word: &OsStr| CString::new(word.as_bytes()).map_err(io::Error::from);
        let program = word(command.get_program())?;
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let arguments = words.map(word).collect::<io::Result<Vec<_>>>()?;
        let mut variables: std::collections::BTreeMap<OsString, Option<OsString>> =
            std::env::vars_os().map(|(name, value)| (name, Some(value))).collect();
        let own = command.get_envs();
        variables.extend(own.map(|(name, value)| (name.to_owned(), value.map(OsStr::to_owned))));
        variables.remove(OsStr::new(PID));
        let entries = variables.iter().filter_map(|(name, value)| {
            let entry = [name.as_bytes(), b"=", value.as_ref()?.as_bytes()].concat();
            Some(CString::new(entry).map_err(io::Error::from))
        });
        let environment = entries.collect::<io::Result<Vec<_>>>()?;
        let mut pid = format!("{PID}=").into_bytes();
        pid.resize(pid.len() + DIGITS, 0);
        let pid = pid.into_boxed_slice();
        let addresses = |words: &[CString]| words.iter().map(|w| w.as_ptr() as usize).collect();
        let mut argv: Vec<usize> = addresses(&arguments);
        argv.push(0);
        let mut envp: Vec<usize> = addresses(&environment);
        envp.extend([pid.as_ptr() as usize, 0]);
        Ok(Self { program, _arguments: arguments, argv, _environment: environment, pid, envp })
    }

    /// Runs the program; returns only where that fails.
    fn run(&mut self) -> io::Error {
        let mut left = std::process::id();
        let mut digits = [0; DIGITS];
        let mut count = 0;
        while left > 0 && count < DIGITS {
            digits[count] = b'0' + u8::try_from(left % 10).unwrap_or(0);
            (left, count) = (left / 10, count + 1);
        }
        for (place, digit) in self.pid[PID.len() + 1..].iter_mut().zip(digits[..count].iter().rev())
        {
            *place = *digit;
        }
        // SAFETY: both arrays end with a null and hold addresses of words that this owns, each of
        // which ends with a NUL.
        #[expect(unsafe_code, reason = "no safe function takes an environment made before a fork")]
        unsafe {
            libc::execvpe(
                self.program.as_ptr(),
                self.argv.as_ptr().cast::<*const c_char>(),
                self.envp.as_ptr().cast::<*const c_char>(),
            );
        }
        io::Error::last_os_error()
    }
}
