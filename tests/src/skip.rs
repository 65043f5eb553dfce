//! What this machine can't do is left out aloud: on the spot, and in the summary of `make test`. It
//! must never be used for what merely fails.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Says that a test is left out, and why; the summary of `make test` lists it.
pub fn leave_out(test: &str, reason: &str) {
    eprintln!("LEFT OUT {test}: {reason}");
    if let Some(path) = std::env::var_os("ONHAND_SKIPS")
        && let Ok(mut file) = std::fs::File::options().append(true).create(true).open(path)
    {
        let _ = writeln!(file, "{test}: {reason}");
    }
}

/// Whether a command runs and succeeds.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
