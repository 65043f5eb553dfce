//! The commands besides `serve`, one file each: parsed options in, a report out, printed for people
//! or as JSON. They must never change anything but what their name says, and read without taking
//! the lock wherever reading is all they do.
//!
//! Exit codes: 0 done, 1 failed, 2 usage (clap's), 3 damage found, 4 locked by another process.

pub mod compact;
pub mod dump;
pub mod history;
pub mod import;
pub mod record_json;
pub mod remote;
pub mod replay;
pub mod snapshot;
pub mod store;
pub mod terminal;
pub mod verify;

use std::process::ExitCode;

use thiserror::Error;

/// The exit code of a command that failed.
pub const EXIT_FAILED: u8 = 1;
/// The exit code of options that make no sense together.
pub const EXIT_USAGE: u8 = 2;
/// The exit code of a command that found damage.
pub const EXIT_DAMAGE: u8 = 3;
/// The exit code of a command that another process keeps out.
pub const EXIT_LOCKED: u8 = 4;

/// Why a command ended without success; the message says what to do about it.
#[derive(Debug, Error)]
pub enum OpError {
    /// It didn't work.
    #[error("{0}")]
    Failed(String),
    /// The options make no sense together.
    #[error("{0}")]
    Usage(String),
    /// What was acknowledged is damaged.
    #[error("{0}")]
    Damage(String),
    /// Another process writes this directory.
    #[error(
        "{0}; stop that process first (snapshot, compact and import also work on it with --url)"
    )]
    Locked(String),
}

impl OpError {
    /// A failure with the error's own words.
    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => EXIT_FAILED,
            Self::Usage(_) => EXIT_USAGE,
            Self::Damage(_) => EXIT_DAMAGE,
            Self::Locked(_) => EXIT_LOCKED,
        }
    }
}

/// Prints a command's error and gives the process's exit code.
pub fn finish(result: Result<ExitCode, OpError>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
