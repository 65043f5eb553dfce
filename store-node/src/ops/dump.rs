//! `store-node dump`: every record as a line of JSON with its seq, read beside whatever runs there.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::Args;
use event_log::Seq;
use shared::codec::decode_record;

use super::OpError;
use super::record_json::RecordJson;
use super::store::{DataDir, read_directory, read_error};
use super::terminal::ignore_closed_pipe;

/// Options of `dump`.
#[derive(Debug, Clone, Args)]
pub struct DumpArgs {
    /// Where.
    #[command(flatten)]
    pub dir: DataDir,
    /// The first record.
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    pub from_seq: u64,
    /// The last record.
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX)]
    pub to_seq: u64,
    /// Accepted for symmetry: the output is always JSON, one record a line.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &DumpArgs) -> ExitCode {
    let mut out = BufWriter::new(std::io::stdout().lock());
    super::finish(dump(args, &mut out).map(|_| ExitCode::SUCCESS))
}

/// Writes the records to `out`; returns how many.
pub fn dump(args: &DumpArgs, out: &mut impl Write) -> Result<u64, OpError> {
    let (from, to) = (Seq::new(args.from_seq), Seq::new(args.to_seq));
    let mut reader = read_directory(&args.dir.data_dir)?;
    let mut written = 0;
    while let Some(frame) = reader.next().map_err(read_error)? {
        if frame.header.first_seq > to {
            break;
        }
        for (seq, bytes) in frame.records().filter(|(seq, _)| (from..=to).contains(seq)) {
            let record = decode_record(bytes).map_err(|error| {
                OpError::Damage(format!("record {seq} can't be decoded: {error}"))
            })?;
            let line = serde_json::to_writer(&mut *out, &RecordJson { seq, record: &record })
                .map_err(std::io::Error::from)
                .and_then(|()| out.write_all(b"\n"));
            if let Err(error) = line {
                return ignore_closed_pipe(Err(error)).map(|()| written);
            }
            written += 1;
        }
    }
    ignore_closed_pipe(out.flush())?;
    Ok(written)
}
