//! What people see: progress bars on a terminal, plain lines elsewhere, all on standard error so
//! that standard output holds nothing but the result.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::OpError;

/// The progress of one long piece of work.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    told_percent: u64,
}

impl Progress {
    /// Begins; `what` is a word or two such as `replaying`.
    pub fn begin(what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
            );
            let bar = ProgressBar::new(0).with_message(what);
            if let Ok(style) = style { bar.with_style(style) } else { bar }
        });
        Self { bar, what, told_percent: 0 }
    }

    /// Tells how far it is: a bar moves, or a line for each tenth.
    pub fn tell(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done.min(total));
            return;
        }
        let percent = (done.min(total) * 100).checked_div(total).unwrap_or(0);
        if percent >= self.told_percent + 10 {
            self.told_percent = percent - percent % 10;
            eprintln!("{} {done}/{total} ({percent} %)", self.what);
        }
    }

    /// Ends; the bar disappears.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Prints a report: one JSON object, or lines for people.
pub fn print_report<R: Serialize + std::fmt::Display>(
    report: &R,
    json: bool,
) -> Result<(), OpError> {
    let mut out = std::io::stdout().lock();
    let written = if json {
        let text = serde_json::to_string(report).map_err(OpError::failed)?;
        writeln!(out, "{text}")
    } else {
        write!(out, "{report}")
    };
    ignore_closed_pipe(written.and_then(|()| out.flush()))
}

/// Whoever reads our output may have seen enough (`| head`): that is no failure.
pub fn ignore_closed_pipe(result: std::io::Result<()>) -> Result<(), OpError> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(OpError::failed(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
