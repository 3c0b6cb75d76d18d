//! What the machine says of this process: its time, memory and files, from `/proc`. Elsewhere than on Linux it says nothing.

use std::fs;

/// `AT_CLKTCK` of the auxiliary vector: in how many ticks a second the kernel counts.
const TICKS: u64 = 17;

/// Returns how many seconds of processor time it has taken.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = field(&stat, 14)? + field(&stat, 15)?;
    Some(ticks as f64 / ticks_per_second() as f64)
}

/// Returns when it was started, in seconds since 1970.
pub(crate) fn start_seconds() -> Option<f64> {
    let after_boot = field(&fs::read_to_string("/proc/self/stat").ok()?, 22)? as f64 / ticks_per_second() as f64;
    let boot = number_after(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
    Some(boot as f64 + after_boot)
}

/// Returns how many bytes of memory it occupies.
pub(crate) fn resident_bytes() -> Option<u64> {
    Some(number_after(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")? << 10)
}

/// Returns how many bytes of address space it has.
pub(crate) fn virtual_bytes() -> Option<u64> {
    Some(number_after(&fs::read_to_string("/proc/self/status").ok()?, "VmSize:")? << 10)
}

/// Returns how many files and sockets it has open.
pub(crate) fn open_files() -> Option<u64> {
    // One of them is the folder that is being read.
    Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}

/// Returns how many files and sockets it may have open.
pub(crate) fn open_files_limit() -> Option<u64> {
    number_after(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}

/// Returns a field of `/proc/PID/stat`, the first of which is number 1. The second is the program's name in brackets, which
/// may hold anything.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

fn number_after(text: &str, word: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn ticks_per_second() -> u64 {
    let words = fs::read("/proc/self/auxv").unwrap_or_default();
    // Pairs of a kind and a value, each as wide as a pointer.
    let width = size_of::<usize>();
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let mut pairs = words.chunks_exact(2 * width).map(|pair| (word(&pair[..width]), word(&pair[width..])));
    pairs.find(|(kind, _)| *kind == TICKS && cfg!(target_endian = "little")).map_or(100, |(_, ticks)| ticks.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_moves_no_field() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!((field(stat, 14), field(stat, 15)), (Some(250), Some(50)));
        assert_eq!(field(stat, 40), None);
    }

    #[test]
    fn numbers_are_found_after_their_words() {
        let limits = "Limit   Soft Limit  Hard Limit\nMax open files            1024      4096   files\n";
        assert_eq!(number_after(limits, "Max open files"), Some(1024));
        assert_eq!(number_after("VmRSS:\t   12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(number_after("Max open files  unlimited unlimited\n", "Max open files"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_begun_takes_time_and_memory() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let start = start_seconds().unwrap();
        assert!(start <= now + 1.0 && start > now - 86_400.0, "{start} {now}");
        let before = cpu_seconds().unwrap();
        let mut sum = 0u64;
        while cpu_seconds().unwrap() < before + 0.05 {
            sum = std::hint::black_box(sum.wrapping_mul(31) + 7);
        }
        assert!(resident_bytes().unwrap() > 1 << 16 && virtual_bytes() >= resident_bytes());
        // Standard input, output and error, and a file.
        let _file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(open_files().unwrap() >= 4 && open_files() <= open_files_limit());
    }
}
