//! `store-node history --sku`: the events of one item in order, read beside whatever runs there.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::Args;
use shared::codec::{Record, decode_envelope, decode_record};
use shared::{Change, Event, Sku};

use super::OpError;
use super::record_json::RecordJson;
use super::store::{DataDir, read_directory, read_error};
use super::terminal::ignore_closed_pipe;

/// Options of `history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    /// Where.
    #[command(flatten)]
    pub dir: DataDir,
    /// The item.
    #[arg(long, value_name = "SKU", value_parser = parse_sku)]
    pub sku: Sku,
    /// Print JSON, one event a line.
    #[arg(long)]
    pub json: bool,
}

/// Parses a SKU given as an option.
pub fn parse_sku(text: &str) -> Result<Sku, String> {
    Sku::new(text).map_err(|error| error.to_string())
}

/// Runs the command; exit 1 when the item has no event.
pub fn run(args: &HistoryArgs) -> ExitCode {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let count = history(args, &mut out).and_then(|count| {
        ignore_closed_pipe(out.flush())?;
        let unknown = || OpError::Failed(format!("no event of {:?} in this log", args.sku));
        if count == 0 { Err(unknown()) } else { Ok(ExitCode::SUCCESS) }
    });
    super::finish(count)
}

/// Writes the item's events to `out`; returns how many.
pub fn history(args: &HistoryArgs, out: &mut impl Write) -> Result<u64, OpError> {
    let mut reader = read_directory(&args.dir.data_dir)?;
    let mut count = 0;
    while let Some(frame) = reader.next().map_err(read_error)? {
        for (seq, bytes) in frame.records() {
            let damaged =
                |error| OpError::Damage(format!("record {seq} can't be decoded: {error}"));
            let (envelope, _) = decode_envelope(bytes).map_err(damaged)?;
            if envelope.state.is_none_or(|state| state.sku != args.sku) {
                continue;
            }
            let record = decode_record(bytes).map_err(damaged)?;
            if write_record(out, args.json, &RecordJson { seq, record: &record })?.is_none() {
                return Ok(count);
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Writes one record; none when whoever reads has seen enough.
fn write_record(
    out: &mut impl Write,
    json: bool,
    line: &RecordJson<'_>,
) -> Result<Option<()>, OpError> {
    let written = match line.record {
        Record::Event(event) if !json => write_line(out, line.seq.get(), event),
        Record::Event(_) | Record::Receipt(_) => serde_json::to_writer(&mut *out, line)
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n")),
    };
    match written {
        Ok(()) => Ok(Some(())),
        Err(error) => ignore_closed_pipe(Err(error)).map(|()| None),
    }
}

fn write_line(out: &mut impl Write, seq: u64, event: &Event) -> std::io::Result<()> {
    let after = &event.after;
    write!(
        out,
        "{seq:>10}  v{:<6} {}  {:<22}",
        event.version,
        event.recorded_at,
        moved(&event.change)
    )?;
    write!(out, " stock {} reserved {} sold {}", after.stock, after.reserved, after.sold)?;
    if let Some(order_id) = event.change.order_id() {
        write!(out, "  order {order_id}")?;
    }
    let context = &event.context;
    for (name, text) in [
        ("reference", &context.reference),
        ("reason", &context.reason),
        ("note", &context.note),
        ("by", &context.actor),
    ] {
        if let Some(text) = text {
            write!(out, "  {name} {text:?}")?;
        }
    }
    writeln!(out)
}

/// The change and its units in a few characters.
fn moved(change: &Change) -> String {
    match change {
        Change::Created { .. }
        | Change::Updated { .. }
        | Change::Deactivated { .. }
        | Change::Extended { .. } => change.name().to_owned(),
        Change::Received { quantity } => format!("received +{quantity}"),
        Change::Returned { quantity, restocked: true } => format!("returned +{quantity}"),
        Change::Returned { quantity, restocked: false } => format!("returned damaged {quantity}"),
        Change::Adjusted { delta, reason } => format!("adjusted {delta:+} {reason:?}"),
        Change::Sold { quantity } => format!("sold -{quantity}"),
        Change::Deducted { quantity, .. } => format!("deducted -{quantity}"),
        Change::Reserved { quantity, .. } => format!("reserved {quantity}"),
        Change::Released { quantity, .. } => format!("released {quantity}"),
        Change::Expired { quantity, .. } => format!("expired {quantity}"),
    }
}
