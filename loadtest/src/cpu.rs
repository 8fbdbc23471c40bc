//! Processor time: of a server, from what the kernel has counted; of our own thread, to time primitives.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

/// What a process has used so far, or between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) processor: Duration,
    /// Bytes that came from disks.
    pub(crate) read: u64,
    /// Bytes that it made the kernel write to disks, when the kernel chooses.
    pub(crate) written: u64,
}

impl Usage {
    /// What a process of this machine has used since it began.
    pub(crate) fn of_process(id: u32) -> Result<Self> {
        let path = format!("/proc/{id}/io");
        let io = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {path}: does {id} run as this user?"))?;
        let field =
            |name| field(&io, name).with_context(|| format!("{path} is not in the format of proc(5)"));
        Ok(Self { processor: of_process(id)?, read: field("read_bytes")?, written: field("write_bytes")? })
    }

    /// What was used between `before` and this.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(before.processor),
            read: self.read.saturating_sub(before.read),
            written: self.written.saturating_sub(before.written),
        }
    }
}

fn field(io: &str, name: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
}

/// User and system time that a process of this machine has used, all its threads together. Counted in ticks of
/// 10 ms, which a step of seconds makes small.
fn of_process(id: u32) -> Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let stat = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}: is {id} the server's process on this machine?"))?;
    ticks(&stat)
        .map(|ticks| {
            Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100)
        })
        .with_context(|| format!("{path} is not in the format of proc(5)"))
}

/// Megabytes of RAM that a process of this machine has.
pub(crate) fn resident_mebibytes(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    kibibytes
        .map(|kib| f64::from(kib) / 1024.0)
        .with_context(|| format!("{path} is not in the format of proc(5)"))
}

/// `utime` + `stime`, fields 14 and 15 of proc(5). The name in field 2 may contain spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

/// Processor time of the calling thread: what others do on the machine does not count.
pub(crate) fn of_this_thread() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 6 7 20 0 9 0 100";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("7 (short) S 1 2"), None);
    }

    #[test]
    fn our_own_process_has_used_some() {
        let mut sum = 0u64;
        let before = of_this_thread();
        while of_this_thread().saturating_sub(before) < Duration::from_millis(30) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        assert!(of_process(std::process::id()).unwrap() >= Duration::from_millis(10));
        assert!(of_process(0).is_err());
        assert!(Usage::of_process(std::process::id()).is_ok());
        assert!(resident_mebibytes(std::process::id()).unwrap() > 0.1);
    }

    #[test]
    fn bytes_are_those_that_reached_disks() {
        let io = "rchar: 9\nwchar: 8\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 7\n";
        assert_eq!((field(io, "read_bytes"), field(io, "write_bytes")), (Some(4096), Some(8192)));
        assert_eq!(field("write_bytes: many", "write_bytes"), None);
    }
}
