//! Bugs on purpose, to prove that the tests would see them. In a normal build [`is`] is a constant
//! `false` and nothing of this remains; only the feature `planted-bugs`, which nothing but the
//! tests of the simulation and of concurrency turn on, compiles the switches.
//!
//! A switch is named where it is asked for, belongs to one thread, and is listed in
//! `docs/testing.md` with what catches it.

#[cfg(feature = "planted-bugs")]
mod switches {
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Plants a bug in this thread, or takes it out again.
    pub fn plant(bug: Option<&'static str>) {
        ACTIVE.set(bug);
    }

    /// Whether this bug is planted in this thread.
    pub fn is(bug: &str) -> bool {
        ACTIVE.get() == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub use switches::{is, plant};

/// Whether this bug is planted in this thread: never, in this build.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub const fn is(_bug: &str) -> bool {
    false
}
