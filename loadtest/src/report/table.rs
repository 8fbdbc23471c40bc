//! The report as text for a terminal.

use std::fmt;

use super::{Report, Step, Tested};

/// The heads of a table's columns.
pub(crate) const HEAD: &str = " offered/s accepted/s    p50 ms    p99 ms  p99.9 ms    max ms  429/503  unclean  timeout   broken   unsent  late ms  cpu µs";

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (latency, counts) = (&self.latency_ms, &self.counts);
        write!(
            f,
            "{:>10.1} {:>10.1} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8.2} {:>7}",
            self.offered,
            self.accepted_rate,
            latency.p50,
            latency.p99,
            latency.p999,
            latency.max,
            counts.refused_cleanly,
            counts.refused_uncleanly,
            counts.timed_out,
            counts.broken,
            counts.not_sent,
            self.generator_late_p99_ms,
            self.server_cpu_us.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.0}")),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, primitives) = (&self.machine, &self.primitives);
        writeln!(f, "{}: {} × {}", self.against, machine.cores, machine.processor)?;
        if let Some(load) = machine.load_average {
            writeln!(f, "load average before the run: {load:.2}")?;
        }
        writeln!(
            f,
            "primitives, µs: P-256 sign {:.1}, verify {:.1}; Ed25519 sign {:.1}, verify {:.1}; RSA-2048 verify {:.1}; SHA-256 \
             of 3.2 KB {:.2}; sending 1 MiB {:.0}; fdatasync p50 {}",
            primitives.p256_sign,
            primitives.p256_verify,
            primitives.ed25519_sign,
            primitives.ed25519_verify,
            primitives.rsa2048_verify,
            primitives.sha256_entry,
            primitives.send_mib,
            primitives.fdatasync_p50.map_or_else(|| "unknown".to_owned(), |p50| format!("{p50:.0}")),
        )?;
        self.tested.iter().try_for_each(|tested| write!(f, "\n{tested}"))
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries_before {
            Some(entries) => writeln!(f, "{}, from {entries} entries on\n{HEAD}", self.name)?,
            None => writeln!(f, "{}\n{HEAD}", self.name)?,
        }
        for step in &self.steps {
            writeln!(f, "{step}")?;
            for (what, times) in &step.counts.complaints {
                writeln!(f, "           {times} × {what}")?;
            }
        }
        self.write_findings(f)?;
        write!(f, "  verified: {} answers", self.verified)?;
        if self.entries_in_final_tree > 0 {
            let found = self.entries_in_final_tree.saturating_sub(self.breaches);
            write!(f, "; {found} entries found in the final tree")?;
        }
        if self.heads > 0 {
            write!(f, "; {} signed heads agree", self.heads)?;
        }
        writeln!(f)?;
        if self.breaches > 0 {
            writeln!(f, "  BROKEN: {} promises do not hold:", self.breaches)?;
            self.breaches_told.iter().try_for_each(|what| writeln!(f, "    {what}"))?;
        }
        Ok(())
    }
}

impl Tested {
    fn write_findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = &self.findings;
        write!(f, "  peak: {:.0}/s", findings.peak_rate)?;
        if let (Some(share), Some(ceiling)) = (findings.peak_to_one_core, findings.ceiling_us) {
            write!(f, ", {:.0} % of one core's ceiling of {:.0}/s", share * 100.0, ceiling.per_second())?;
        }
        if let Some(past) = findings.past_saturation {
            write!(f, "; past saturation at least {:.0} % of it", past * 100.0)?;
        }
        writeln!(f)?;
        if let Some(cpu) = findings.cpu_us {
            write!(f, "  server: {cpu:.0} µs of processor time each")?;
            if let (Some(ceiling), Some(ratio)) = (findings.ceiling_us, findings.cpu_ratio) {
                write!(
                    f,
                    "; the least is {:.0} µs ({:.0} cryptography, {:.0} rest), so {:.0} % of the ceiling",
                    ceiling.total(),
                    ceiling.cryptography,
                    ceiling.rest,
                    ratio * 100.0
                )?;
            }
            writeln!(f)?;
        }
        if let Some(growth) = findings.to_the_first {
            write!(f, "  to the log of {} entries:", growth.entries.unwrap_or_default())?;
            if let Some(cpu) = growth.cpu {
                write!(f, " {cpu:.2} × the processor time,")?;
            }
            writeln!(f, " {:.2} × the idle p50", growth.idle_p50)?;
        }
        write!(f, "  idle p50: {:.2} ms", findings.idle_p50_ms)?;
        if let Some(beyond) = findings.idle_beyond_two_fdatasyncs_ms {
            let sign = if beyond < 0.0 { '-' } else { '+' };
            write!(f, " = 2 fdatasyncs {sign} {:.2} ms", beyond.abs())?;
        }
        if let Some(syncs) = findings.p99_near_80_percent_in_fdatasyncs {
            write!(f, "; p99 near 80 % of the peak: {syncs:.1} fdatasyncs")?;
        }
        writeln!(f)
    }
}
