//! What the C library keeps of the memory that is given back to it.
//!
//! A batch run takes megabytes for each piece of a log and gives them back, many times in a second. The GNU C library
//! returns what lies at the end of a heap to the system as soon as that is more than twice the largest piece so far, and gets large
//! pieces from there, each page of which is made empty first. For `users` of `benches/peers.py batch` that was half of the
//! time in the kernel, and a tenth of all CPU time.
#![allow(unsafe_code)]

/// Below so many bytes a piece is taken from a heap. It is the most that the library allows.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const PIECE: i32 = 32 << 20;

/// More than that at the end of a heap is returned.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: i32 = 256 << 20;

/// Has the memory kept from now on that a run without a budget of memory gives back. It is a setting of the process; with another
/// C library it does nothing.
pub(crate) fn keep() {
    // SAFETY: `mallopt` sets two numbers, which it does under the allocator's own lock, at any time and from any thread.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, PIECE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}
