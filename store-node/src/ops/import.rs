//! `store-node import`: items or movements from CSV or NDJSON, into a running node or offline
//! through the ledger. Every line is validated before the first is sent, all errors are told at
//! once, and each batch has an idempotency key of the file's hash and its lines: run again, it
//! resumes where it stopped and does nothing twice.
//!
//! It must never hold the whole file in memory, nor send a file that isn't valid as a whole.

mod csv_lines;
mod lines;
mod offline;
mod online;
mod reader;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use shared::StoreId;

use super::OpError;
use super::remote::{Node, Remote};
use super::terminal::{Progress, print_report};
pub use lines::{ImportLine, Kind, LineError};

pub use reader::{FileFormat, LineReader, ReadLine};

/// How many lines go into one batch.
pub const IMPORT_BATCH_LINES: usize = 1000;
/// How many errors and refusals are listed; beyond, they are only counted.
pub const IMPORT_LISTED_MAX: usize = 10_000;

/// Options of `import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The store's data directory (no node may be running on it).
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub data_dir: Option<PathBuf>,
    /// The store id; needed for a new data directory.
    #[arg(long, value_name = "ID")]
    pub store_id: Option<StoreId>,
    /// The running node.
    #[command(flatten)]
    pub remote: Remote,
    /// What the lines are; by default movements if they have an `op`, else items.
    #[arg(long, value_enum)]
    pub kind: Option<KindArg>,
    /// How the file is written; by default by its name: .csv, else NDJSON.
    #[arg(long, value_enum)]
    pub format: Option<FileFormat>,
    /// Validate every line and import nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What the lines of a file are, as an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// sku, name, category, location, unit, stock, reorderPoint, safetyStock.
    Items,
    /// sku, op, quantity, reason, reference, occurredAt.
    Movements,
}

/// What an import came to.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportReport {
    /// Whether the file was only looked at.
    pub dry_run: bool,
    /// Lines of the file, without header and empty ones.
    pub lines: u64,
    /// Lines that aren't valid.
    pub errors: u64,
    /// The first of them.
    pub error_list: Vec<LineError>,
    /// Lines that were done now.
    pub applied: u64,
    /// Lines that had been done by an earlier run.
    pub replayed: u64,
    /// Lines that the store refused.
    pub refused: u64,
    /// The first of them.
    pub refused_list: Vec<LineError>,
    /// BLAKE3 of the file, 64 hex digits: with it the idempotency keys begin.
    pub file_hash: String,
}

impl ImportReport {
    fn add_error(&mut self, error: LineError) {
        self.errors += 1;
        if self.error_list.len() < IMPORT_LISTED_MAX {
            self.error_list.push(error);
        }
    }

    fn add_refusal(&mut self, line: u64, message: String) {
        self.refused += 1;
        if self.refused_list.len() < IMPORT_LISTED_MAX {
            self.refused_list.push(LineError { line, field: String::new(), message });
        }
    }

    fn add_done(&mut self, replayed: bool) {
        if replayed {
            self.replayed += 1;
        } else {
            self.applied += 1;
        }
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.error_list {
            writeln!(f, "{error}")?;
        }
        for refusal in &self.refused_list {
            writeln!(f, "refused: {refusal}")?;
        }
        if self.errors > 0 {
            writeln!(
                f,
                "{} of {} lines are not valid; nothing was imported",
                self.errors, self.lines
            )
        } else if self.dry_run {
            writeln!(f, "{} lines are valid; nothing was imported (--dry-run)", self.lines)
        } else {
            writeln!(
                f,
                "{} lines: {} done, {} done before, {} refused",
                self.lines, self.applied, self.replayed, self.refused
            )
        }
    }
}

/// Where batches go.
trait Target {
    /// Sends one batch under its key and adds the outcome to the report.
    fn send(&mut self, batch: &Batch, report: &mut ImportReport) -> Result<(), OpError>;
    /// Returns once everything sent is durable.
    fn finish(&mut self) -> Result<(), OpError>;
}

/// Lines that go as one request.
struct Batch {
    key: String,
    lines: Vec<ImportLine>,
}

/// Runs the command; exit 1 when a line is invalid or was refused.
pub fn run(args: &ImportArgs) -> ExitCode {
    super::finish(import_command(args))
}

fn import_command(args: &ImportArgs) -> Result<ExitCode, OpError> {
    let report = import_file(args)?;
    print_report(&report, args.json)?;
    let complete = report.errors == 0 && report.refused == 0;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_FAILED) })
}

/// Validates the file and, unless something is wrong with it, imports it.
pub fn import_file(args: &ImportArgs) -> Result<ImportReport, OpError> {
    let mut report = validate(args)?;
    if report.errors > 0 || args.dry_run {
        return Ok(report);
    }
    match (&args.remote.url, &args.data_dir) {
        (Some(url), _) => {
            let node = Node::new(url, args.remote.token.clone())?;
            transfer(args, &mut online::NodeTarget::new(node), &mut report)?;
        }
        (None, Some(data_dir)) => {
            let mut target = offline::LedgerTarget::open(data_dir, args.store_id.clone())?;
            transfer(args, &mut target, &mut report)?;
            target.close()?;
        }
        (None, None) => {
            return Err(OpError::Usage("--url, --data-dir or --dry-run is needed".to_owned()));
        }
    }
    Ok(report)
}

/// Reads the whole file once: counts, validates, hashes.
fn validate(args: &ImportArgs) -> Result<ImportReport, OpError> {
    let mut report = ImportReport { dry_run: args.dry_run, ..ImportReport::default() };
    let mut reader = open(args)?;
    let mut progress = Progress::begin("validating");
    while let Some(line) = reader.next_line()? {
        report.lines += 1;
        for error in line.err().unwrap_or_default() {
            report.add_error(error);
        }
        if report.lines.is_multiple_of(IMPORT_BATCH_LINES as u64) {
            progress.tell(reader.bytes_read(), reader.bytes_total());
        }
    }
    progress.end();
    report.file_hash = reader.finish_hash()?;
    Ok(report)
}

/// Reads the file again and sends it batch by batch.
fn transfer(
    args: &ImportArgs,
    target: &mut dyn Target,
    report: &mut ImportReport,
) -> Result<(), OpError> {
    let mut reader = open(args)?;
    let mut progress = Progress::begin("importing");
    let mut lines = Vec::new();
    let mut sent = 0;
    loop {
        let line = reader.next_line()?;
        let over = line.is_none();
        match line {
            Some(Ok(line)) => lines.push(line),
            Some(Err(_)) => return Err(changed(args)),
            None => {}
        }
        if lines.len() == IMPORT_BATCH_LINES || (over && !lines.is_empty()) {
            let lines = std::mem::take(&mut lines);
            sent += lines.len() as u64;
            let key = batch_key(&report.file_hash, &lines);
            target.send(&Batch { key, lines }, report)?;
            progress.tell(sent, report.lines);
        }
        if over {
            break;
        }
    }
    target.finish()?;
    progress.end();
    if reader.finish_hash()? == report.file_hash { Ok(()) } else { Err(changed(args)) }
}

/// `import-<32 hex of the file's hash>-<first line>-<last line>`: the same lines of the same file
/// always get the same key.
fn batch_key(file_hash: &str, lines: &[ImportLine]) -> String {
    let first = lines.first().map_or(0, |line| line.number);
    let last = lines.last().map_or(0, |line| line.number);
    format!("import-{}-{first}-{last}", &file_hash[..32])
}

fn open(args: &ImportArgs) -> Result<LineReader, OpError> {
    let kind = args.kind.map(|kind| match kind {
        KindArg::Items => Kind::Items,
        KindArg::Movements => Kind::Movements,
    });
    LineReader::open(&args.file, args.format, kind)
}

fn changed(args: &ImportArgs) -> OpError {
    OpError::Failed(format!("{} changed while it was being imported", args.file.display()))
}
