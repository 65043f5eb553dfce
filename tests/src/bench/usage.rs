//! What a process has used, as the kernel counts it: processor time of all of its threads and the
//! most memory it ever held. It must never estimate.

use anyhow::{Context, Result};
use serde::Serialize;

/// One process up to now, or between two looks at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Processor seconds in the program.
    pub user_seconds: f64,
    /// Processor seconds in the kernel on its behalf.
    pub system_seconds: f64,
    /// The most resident memory since its start, in bytes (`VmHWM`).
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// Looks at `/proc/<id>`.
    pub fn of(id: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{id}/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Self::parse(&stat, &status, ticks).with_context(|| format!("process {id}: {stat}"))
    }

    /// What process `id` holds in memory now (`VmRSS`), in bytes.
    pub fn resident_bytes(id: u32) -> Result<u64> {
        let path = format!("/proc/{id}/status");
        let status = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        status_bytes(&status, "VmRSS:").with_context(|| format!("{path} has no VmRSS"))
    }

    /// A process, its children now, and the processor time of all of its children that have ended:
    /// of a server that has a process for each connection. The memory is the sum of what each holds
    /// for itself and its share of what they have in common (PSS), now.
    pub fn of_family(id: u32) -> Result<Self> {
        let mut family = children(id)?;
        family.push(id);
        let mut sum = Self { peak_rss_bytes: 0, ..Self::of_reaped(id)? };
        for member in family {
            // One that has just ended is counted once it has been waited for.
            let Ok(usage) = Self::of(member) else { continue };
            sum.user_seconds += usage.user_seconds;
            sum.system_seconds += usage.system_seconds;
            let shares = std::fs::read_to_string(format!("/proc/{member}/smaps_rollup"));
            sum.peak_rss_bytes += shares.ok().as_deref().and_then(pss_bytes).unwrap_or_default();
        }
        Ok(sum)
    }

    /// The processor time of children that have ended and been waited for.
    fn of_reaped(id: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let reaped = times(&stat, REAPED_FIELDS, ticks);
        let (user_seconds, system_seconds) = reaped.with_context(|| format!("process {id}"))?;
        Ok(Self { user_seconds, system_seconds, peak_rss_bytes: 0 })
    }

    /// What was used since `earlier`; the memory is that of now.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user_seconds: self.user_seconds - earlier.user_seconds,
            system_seconds: self.system_seconds - earlier.system_seconds,
            peak_rss_bytes: self.peak_rss_bytes,
        }
    }

    /// Processor seconds in all.
    pub fn cpu_seconds(self) -> f64 {
        self.user_seconds + self.system_seconds
    }

    /// The peak in MiB.
    pub fn peak_rss_mib(self) -> f64 {
        self.peak_rss_bytes as f64 / f64::from(1 << 20)
    }

    fn parse(stat: &str, status: &str, ticks_per_second: f64) -> Option<Self> {
        let (user_seconds, system_seconds) = times(stat, OWN_FIELDS, ticks_per_second)?;
        let peak_rss_bytes = status_bytes(status, "VmHWM:")?;
        Some(Self { user_seconds, system_seconds, peak_rss_bytes })
    }
}

/// The processes that this one started and that haven't been waited for.
pub fn children(id: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{id}/task/{id}/children");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    Ok(text.split_whitespace().filter_map(|child| child.parse().ok()).collect())
}

/// utime and stime are fields 14 and 15 of proc(5), cutime and cstime 16 and 17; the first after
/// the name is field 3.
const OWN_FIELDS: usize = 11;
const REAPED_FIELDS: usize = 13;

/// Two times in seconds. The name in `stat` may hold spaces and brackets: the fields begin after
/// the last one.
fn times(stat: &str, skip: usize, ticks_per_second: f64) -> Option<(f64, f64)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace().skip(skip).map(str::parse::<f64>);
    let mut seconds = || Some(fields.next()?.ok()? / ticks_per_second);
    Some((seconds()?, seconds()?))
}

fn pss_bytes(smaps_rollup: &str) -> Option<u64> {
    status_bytes(smaps_rollup, "Pss:")
}

/// A line of a name and a number of KiB, in bytes.
fn status_bytes(text: &str, name: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(kib.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_lines_whatever_the_program_is_called() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 9 9 20 0 4 0 99 1 1";
        let status = "Name:\ta ) b\nVmPeak:\t  900 kB\nVmHWM:\t  512 kB\n";
        let usage = Usage::parse(stat, status, 100.0).unwrap();
        let expected = Usage { user_seconds: 2.5, system_seconds: 0.5, peak_rss_bytes: 512 * 1024 };
        assert_eq!(usage, expected);
        assert!((usage.cpu_seconds() - 3.0).abs() < 1e-9);
        assert!(Usage::parse("7 (a", status, 100.0).is_none());
        assert_eq!(times(stat, REAPED_FIELDS, 100.0), Some((0.09, 0.09)));
        assert_eq!(pss_bytes("00-ff ---p [rollup]\nRss:  9 kB\nPss:  7 kB\n"), Some(7 * 1024));
    }

    #[test]
    fn this_very_process_has_used_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak_rss_bytes > 0, "{usage:?}");
        let later = Usage { user_seconds: usage.user_seconds + 1.5, ..usage };
        assert!((later.since(usage).cpu_seconds() - 1.5).abs() < 1e-9);
    }
}
