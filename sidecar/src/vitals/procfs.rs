//! PURE parsers over the text of `/proc/PID/{stat,io,environ}` and `task/TID/children`.
//!
//! Formats: proc(5). Only the fields that supervision and the vitals need are read.

use std::collections::HashSet;
use std::num::NonZeroU32;

use lubdub_shared::id::ProcessId;

/// `/proc/PID/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Field 1.
    pub pid: u32,
    /// Field 2, without its parentheses; hostile text.
    pub comm: String,
    /// Field 3.
    pub state: char,
    /// Field 4.
    pub parent: u32,
    /// Field 6.
    pub session: u32,
    /// Fields 14 to 17: its own and its waited-for children's CPU, in clock ticks.
    pub cpu_ticks: u64,
    /// Field 20.
    pub threads: u32,
    /// Field 22: ticks since boot.
    pub start_time: u64,
    /// Field 24, pages.
    pub rss_pages: u64,
}

impl Stat {
    /// A process whose first thread has ended shows as Z while others run on.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X') || self.threads > 1
    }

    /// Safe against reuse of its pid.
    pub fn id(&self) -> Option<ProcessId> {
        Some(ProcessId { pid: NonZeroU32::new(self.pid)?, start_time: self.start_time })
    }
}

/// Those of which no other one here is the parent.
pub fn topmost(found: &[Stat]) -> impl Iterator<Item = &Stat> {
    let pids: HashSet<u32> = found.iter().map(|stat| stat.pid).collect();
    found.iter().filter(move |stat| !pids.contains(&stat.parent))
}

/// Reads `/proc/PID/stat`. The name may hold anything, parentheses and newlines too: it ends at
/// the last `)`.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let mut state = rest.split_ascii_whitespace();
    let letter = state.next()?.chars().next()?;
    // From here on, index i is field i + 4.
    let fields: Vec<&str> = state.take(21).collect();
    let number = |field: usize| fields.get(field - 4)?.parse::<i64>().ok();
    let count = |field: usize| u64::try_from(number(field)?).ok();
    let small = |field: usize| u32::try_from(number(field)?).ok();
    Some(Stat {
        pid: pid.parse().ok()?,
        comm: comm.to_owned(),
        state: letter,
        parent: small(4)?,
        session: small(6)?,
        cpu_ticks: count(14)? + count(15)? + count(16).unwrap_or(0) + count(17).unwrap_or(0),
        threads: small(20)?,
        start_time: count(22)?,
        rss_pages: count(24)?,
    })
}

/// `/proc/PID/io`: what system calls moved, whether or not it reached a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Io {
    /// Bytes read.
    pub rchar: u64,
    /// Bytes written.
    pub wchar: u64,
}

/// Reads `/proc/PID/io`.
pub fn parse_io(text: &str) -> Option<Io> {
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse().ok()
    };
    Some(Io { rchar: field("rchar:")?, wchar: field("wchar:")? })
}

/// Reads `/proc/PID/task/TID/children`.
pub fn parse_children(text: &str) -> impl Iterator<Item = u32> {
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok())
}

/// Whether `/proc/PID/environ` holds exactly this assignment.
pub fn environ_holds(environ: &[u8], assignment: &[u8]) -> bool {
    environ.split(|byte| *byte == 0).any(|entry| entry == assignment)
}

/// The value of a variable in `/proc/PID/environ`.
pub fn environ_value<'a>(environ: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut entries = environ.split(|byte| *byte == 0);
    entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a) R (b\n) S 7 42 40 0 -1 4194560 100 0 0 0 11 22 3 4 20 0 5 0 98765 \
                        1000000 321 18446744073709551615 1 1 0 0 0 0 0";

    #[test]
    fn a_name_full_of_parentheses() {
        let stat = parse_stat(STAT).expect("valid");
        assert_eq!((stat.pid, stat.comm.as_str(), stat.state), (42, "a) R (b\n", 'S'));
        assert_eq!((stat.parent, stat.session), (7, 40));
        assert_eq!((stat.cpu_ticks, stat.threads), (40, 5));
        assert_eq!((stat.start_time, stat.rss_pages), (98765, 321));
    }

    #[test]
    fn torn_stats_are_none() {
        for end in 0..STAT.find(" 321").expect("there") {
            assert_eq!(parse_stat(&STAT[..end]), None, "{:?}", &STAT[..end]);
        }
    }

    #[test]
    fn io_children_and_environ() {
        let io = parse_io("rchar: 10\nwchar: 20\nsyscr: 1\n");
        assert_eq!(io, Some(Io { rchar: 10, wchar: 20 }));
        assert_eq!(parse_io("rchar: x\n"), None);
        assert_eq!(parse_children("12 34 \n").collect::<Vec<_>>(), [12, 34]);
        let environ = b"A=1\0LUBDUB_LIFE=abc\0B=2\0";
        assert!(environ_holds(environ, b"LUBDUB_LIFE=abc"));
        assert!(!environ_holds(environ, b"LUBDUB_LIFE=ab"));
        assert!(!environ_holds(b"XLUBDUB_LIFE=abc\0", b"LUBDUB_LIFE=abc"));
        assert_eq!(environ_value(environ, b"LUBDUB_LIFE"), Some(&b"abc"[..]));
        assert_eq!(environ_value(environ, b"LUBDUB_LIF"), None);
    }
}
