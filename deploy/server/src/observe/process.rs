//! The process itself, under the names that Prometheus' own client libraries use.
//!
//! Read from `/proc/self` alone. The libraries for it (metrics-process, procfs) also want `/proc/stat`, which the
//! shipped systemd unit hides (`ProcSubset=pid`), for a start time that we know without it.

use chancery_tlog::clock::Timestamp;
use metrics::{Counter, Gauge, counter, gauge};

use super::float;

/// In which the kernel tells CPU time to user space: USER_HZ, 100 on all architectures that we are built for.
const TICKS_PER_SECOND: u64 = 100;

/// The meters of this process.
pub(super) struct Process {
    cpu: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    resident: Gauge,
    virtual_memory: Gauge,
    threads: Gauge,
}

impl Process {
    pub(super) fn new(started: Timestamp) -> Self {
        gauge!("process_start_time_seconds").set(super::seconds(started));
        Self {
            cpu: counter!("process_cpu_seconds_total"),
            open_fds: gauge!("process_open_fds"),
            max_fds: gauge!("process_max_fds"),
            resident: gauge!("process_resident_memory_bytes"),
            virtual_memory: gauge!("process_virtual_memory_bytes"),
            threads: gauge!("process_threads"),
        }
    }

    pub(super) fn sample(&self) {
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            self.open_fds.set(float((open.count() as u64).saturating_sub(1)));
        }
        let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        let status = read("status");
        let set =
            |gauge: &Gauge, value: Option<u64>| value.into_iter().for_each(|value| gauge.set(float(value)));
        set(&self.max_fds, max_open_files(&read("limits")));
        set(&self.resident, field(&status, "VmRSS:").map(|kib| kib * 1024));
        set(&self.virtual_memory, field(&status, "VmSize:").map(|kib| kib * 1024));
        set(&self.threads, field(&status, "Threads:"));
        if let Some(ticks) = cpu_ticks(&read("stat")) {
            self.cpu.absolute(ticks / TICKS_PER_SECOND);
        }
    }
}

/// The first number of a line of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The soft limit; `unlimited` is none.
fn max_open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `utime` and `stime`, fields 14 and 15 of `/proc/self/stat`. The second field, the program's name, may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 1200 34 0 0 20 0 9 0 8421\n";
        assert_eq!(cpu_ticks(stat), Some(1234));
        let status = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t    1024 kB\nThreads:\t9\n";
        assert_eq!(field(status, "VmRSS:"), Some(1024));
        assert_eq!(field(status, "Threads:"), Some(9));
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n";
        assert_eq!(max_open_files(limits), Some(1024));
        assert_eq!(max_open_files("Max open files   unlimited   unlimited   files\n"), None);
        assert_eq!(cpu_ticks("7 (x) S 1 2"), None);
    }
}
