//! What the kernel says about a process and its children: CPU time and resident memory. Read by `measure`.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Resident memory, summed over a process and its children.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) now_bytes: u64,
    pub(crate) peak_bytes: u64,
}

/// User and system time that a process and its children have spent so far.
pub(crate) fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let mut ticks = 0_u64;
    for member in family(process) {
        let stat = fs::read_to_string(format!("/proc/{member}/stat"))
            .with_context(|| format!("process {member} is gone: did it crash?"))?;
        // The second field, the name in brackets, may contain blanks; utime and stime are the 14th and 15th.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields = after_name.split_ascii_whitespace().skip(11).take(2);
        ticks += fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(Duration::from_micros(ticks * 1_000_000 / ticks_per_second.max(1)))
}

/// Resident memory now and at its highest. Pages that workers share are counted in each.
pub(crate) fn memory(process: u32) -> anyhow::Result<Memory> {
    let mut sum = Memory::default();
    for member in family(process) {
        let status = fs::read_to_string(format!("/proc/{member}/status"))
            .with_context(|| format!("process {member} is gone: did it crash?"))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        sum.now_bytes += bytes("VmRSS:").unwrap_or_default();
        sum.peak_bytes += bytes("VmHWM:").unwrap_or_default();
    }
    Ok(sum)
}

fn family(process: u32) -> Vec<u32> {
    let mut members = vec![process];
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    members.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    members
}
