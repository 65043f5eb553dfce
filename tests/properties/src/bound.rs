//! Memory that a decoder may take, measured: the most bytes alive at one moment on this thread
//! while it ran. It must never be an estimate, nor count what the checks themselves allocate.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// How much memory a decoder may take at most.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// Bytes for any input: buffers of fixed size, words of an error.
    pub fixed_bytes: u64,
    /// Bytes for each byte of input.
    pub per_byte: u64,
}

impl Bound {
    /// Runs a decoder over `length` bytes.
    ///
    /// # Panics
    /// When it took more than the bound.
    pub fn hold<T>(self, what: &str, length: usize, decode: impl FnOnce() -> T) -> T {
        let mut result = None;
        let taken = allocation_counter::measure(|| {
            // Caught, so that the counter's books are right after a panic too.
            result = Some(catch_unwind(AssertUnwindSafe(decode)));
        });
        let decoded = match result.expect("the decoder was run") {
            Ok(decoded) => decoded,
            Err(panic) => resume_unwind(panic),
        };
        let bytes_max = self.fixed_bytes + self.per_byte * length as u64;
        assert!(
            taken.bytes_max <= bytes_max,
            "{what} took {} bytes of memory for {length} bytes, more than {bytes_max}",
            taken.bytes_max
        );
        decoded
    }
}
