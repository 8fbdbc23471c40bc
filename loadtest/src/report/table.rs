//! The report as text for a terminal.

use std::fmt;

use super::{Report, Step, Tested};

/// The heads of a table's columns.
pub(crate) const HEAD: &str = " offered/s accepted/s    p50 ms    p99 ms  p99.9 ms    max ms  429/503  unclean  timeout   broken   unsent  late ms  cpu µs";

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.latency_ms;
        write!(
            f,
            "{:>10.1} {:>10.1} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8.2} {:>7}",
            self.offered,
            self.accepted_rate,
            latency.p50,
            latency.p99,
            latency.p999,
            latency.max,
            self.refused_cleanly,
            self.refused_uncleanly,
            self.timed_out,
            self.broken,
            self.not_sent,
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
             of 3.2 KB {:.2}; fdatasync p50 {}",
            primitives.p256_sign,
            primitives.p256_verify,
            primitives.ed25519_sign,
            primitives.ed25519_verify,
            primitives.rsa2048_verify,
            primitives.sha256_entry,
            primitives.fdatasync_p50.map_or_else(|| "unknown".to_owned(), |p50| format!("{p50:.0}")),
        )?;
        self.tested.iter().try_for_each(|tested| write!(f, "\n{tested}"))
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{HEAD}", self.name)?;
        for step in &self.steps {
            writeln!(f, "{step}")?;
            for (what, times) in &step.complaints {
                writeln!(f, "           {times} × {what}")?;
            }
        }
        self.write_findings(f)?;
        writeln!(
            f,
            "  verified: {} acknowledgements; {} entries found in the final tree, which extends all {} signed heads",
            self.verified,
            self.entries_in_final_tree.saturating_sub(self.breaches),
            self.heads
        )?;
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
