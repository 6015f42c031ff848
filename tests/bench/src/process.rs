//! What /proc says of the server's processes and of this machine.

use std::time::Duration;

use anyhow::Context;

/// CPU time, user and system, that processes have used since they started.
pub fn cpu(pids: &[u32]) -> anyhow::Result<Duration> {
    // SAFETY: sysconf only reads a constant of the system.
    #[allow(unsafe_code)]
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let mut ticks = 0;
    for pid in pids {
        let stat = read(*pid, "stat")?;
        ticks += cpu_ticks(&stat).with_context(|| format!("/proc/{pid}/stat is not as expected"))?;
    }
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second))
}

/// utime and stime: fields 14 and 15; the name in field 2 may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Memory of processes, in bytes, pages they share counted by share.
pub fn pss(pids: &[u32]) -> anyhow::Result<u64> {
    pids.iter().map(|pid| Ok(kilobytes(&read(*pid, "smaps_rollup")?, "Pss:")? * 1024)).sum()
}

/// Resident memory of processes, in bytes: cheap to ask for, however much it is.
pub fn rss(pids: &[u32]) -> anyhow::Result<u64> {
    pids.iter().map(|pid| Ok(kilobytes(&read(*pid, "status")?, "VmRSS:")? * 1024)).sum()
}

/// The most resident memory that processes ever had, in bytes.
pub fn peak_rss(pids: &[u32]) -> anyhow::Result<u64> {
    pids.iter().map(|pid| Ok(kilobytes(&read(*pid, "status")?, "VmHWM:")? * 1024)).sum()
}

/// The processes that have a text on their command line.
pub fn naming(text: &str) -> anyhow::Result<Vec<u32>> {
    let mut naming = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that has ended meanwhile names nothing.
        if read(pid, "cmdline").is_ok_and(|line| line.contains(text)) {
            naming.push(pid);
        }
    }
    Ok(naming)
}

/// The load of the machine over the last minute, in processes that wanted to run.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

/// Number of CPUs.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What the CPUs are called.
pub fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.to_owned())
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("process {pid} has ended"))
}

fn kilobytes(text: &str, field: &str) -> anyhow::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number =
        line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {field} in /proc"))?;
    Ok(number.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_and_spaces_do_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 4 0 100";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn kilobytes_are_found_by_field() {
        assert_eq!(kilobytes("Rss:   10 kB\nPss:    7 kB\n", "Pss:").unwrap(), 7);
        assert!(kilobytes("Rss: 10 kB\n", "Pss:").is_err());
    }

    #[test]
    fn this_process_is_found_by_its_name_and_has_memory() {
        let name = std::env::args().next().unwrap();
        assert!(naming(&name).unwrap().contains(&std::process::id()));
        assert!(pss(&[std::process::id()]).unwrap() > 0);
    }
}
