//! `launch PARENT PROGRAM ARGUMENT…`: becomes PROGRAM, which gets SIGTERM when the process that
//! started it ends, however it ends. So nothing is left running after a demonstration or a
//! benchmark that was itself killed. It must never do anything but that.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let parent = arguments.next().and_then(|id| id.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        eprintln!("usage: launch PARENT PROGRAM ARGUMENT…");
        return ExitCode::from(2);
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        eprintln!("launch: {error}: {} will outlive its starter", program.display());
    }
    // The starter may have ended before the line above.
    if getppid().map(|id| id.as_raw_nonzero().get()) != Some(parent) {
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("launch: cannot start {}: {error}", program.display());
    ExitCode::FAILURE
}
