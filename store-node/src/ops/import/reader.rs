//! Reading an import file line by line, hashing what is read. It must never hold more than a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

use super::csv_lines::CsvLines;
use super::lines::{Fields, ImportLine, Kind, LineError, parse_line};
use crate::ops::OpError;

/// The longest line, in bytes; of CSV without its quotes and commas.
pub(super) const LINE_BYTES_MAX: u64 = 64 << 10;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

/// A line: valid, or everything that is wrong with it.
pub type ReadLine = Result<ImportLine, Vec<LineError>>;

/// Reads lines and hashes every byte of the file.
pub struct LineReader {
    source: Source,
    kind: Option<Kind>,
    bytes_total: u64,
}

enum Source {
    Csv { reader: Box<CsvLines<Hashing>>, names: Vec<String> },
    Ndjson { reader: Box<BufReader<Hashing>>, number: u64 },
}

impl LineReader {
    /// Opens a file; without a kind the lines themselves tell.
    pub fn open(
        path: &Path,
        format: Option<FileFormat>,
        kind: Option<Kind>,
    ) -> Result<Self, OpError> {
        let failed = |error| OpError::Failed(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let bytes_total = file.metadata().map_err(failed)?.len();
        let is_csv =
            path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let format = format.unwrap_or(if is_csv { FileFormat::Csv } else { FileFormat::Ndjson });
        let hashing = Hashing { file, hasher: blake3::Hasher::new(), bytes: 0 };
        let source = match format {
            FileFormat::Csv => {
                let mut reader = Box::new(CsvLines::new(hashing));
                let names = match reader.next_line().map_err(failed)? {
                    None => Vec::new(),
                    Some((number, line)) => {
                        let refused = |what| OpError::Failed(format!("line {number} {what}"));
                        line.map_err(refused)?.iter().map(|name| name.trim().to_owned()).collect()
                    }
                };
                Source::Csv { reader, names }
            }
            FileFormat::Ndjson => {
                Source::Ndjson { reader: Box::new(BufReader::new(hashing)), number: 0 }
            }
        };
        let kind = kind.or(match &source {
            Source::Csv { names, .. } if names.iter().any(|name| name == "op") => {
                Some(Kind::Movements)
            }
            Source::Csv { .. } => Some(Kind::Items),
            Source::Ndjson { .. } => None,
        });
        Ok(Self { source, kind, bytes_total })
    }

    /// Bytes of the file.
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.hashing().bytes
    }

    /// The next line that isn't empty; none at the end.
    pub fn next_line(&mut self) -> Result<Option<ReadLine>, OpError> {
        let fields = match &mut self.source {
            Source::Csv { reader, names } => next_csv(reader, names)?,
            Source::Ndjson { reader, number } => next_ndjson(reader, number)?,
        };
        let Some((number, fields)) = fields else {
            return Ok(None);
        };
        let fields = match fields {
            Ok(fields) => fields,
            Err(message) => {
                return Ok(Some(Err(vec![LineError {
                    line: number,
                    field: String::new(),
                    message,
                }])));
            }
        };
        let guessed = || {
            let has_op = fields.iter().any(|(name, _)| name == "op");
            if has_op { Kind::Movements } else { Kind::Items }
        };
        let kind = *self.kind.get_or_insert_with(guessed);
        Ok(Some(parse_line(kind, number, &fields)))
    }

    /// BLAKE3 of the whole file, as hex; to be called at the end.
    pub(super) fn finish_hash(mut self) -> Result<String, OpError> {
        let hashing = match &mut self.source {
            Source::Csv { reader, .. } => reader.source_mut(),
            Source::Ndjson { reader, .. } => reader.get_mut(),
        };
        std::io::copy(hashing, &mut std::io::sink()).map_err(OpError::failed)?;
        Ok(hashing.hasher.finalize().to_hex().to_string())
    }

    fn hashing(&self) -> &Hashing {
        match &self.source {
            Source::Csv { reader, .. } => reader.source(),
            Source::Ndjson { reader, .. } => reader.get_ref(),
        }
    }
}

type Numbered = Option<(u64, Result<Fields, String>)>;

fn next_csv(reader: &mut CsvLines<Hashing>, names: &[String]) -> Result<Numbered, OpError> {
    let Some((number, line)) = reader.next_line().map_err(OpError::failed)? else {
        return Ok(None);
    };
    let fields = line.and_then(|texts| {
        if texts.len() != names.len() {
            return Err(format!("has {} fields, the header {}", texts.len(), names.len()));
        }
        let pairs = names.iter().zip(texts);
        let filled = pairs.filter(|(name, text)| !text.is_empty() || *name == "sku");
        Ok(filled.map(|(name, text)| (name.clone(), Value::from(text))).collect())
    });
    Ok(Some((number, fields)))
}

fn next_ndjson(reader: &mut BufReader<Hashing>, number: &mut u64) -> Result<Numbered, OpError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        *number += 1;
        let mut limited = reader.by_ref().take(LINE_BYTES_MAX + 1);
        let read = limited.read_until(b'\n', &mut line).map_err(OpError::failed)?;
        if read == 0 {
            return Ok(None);
        }
        if line.len() as u64 > LINE_BYTES_MAX {
            reader.skip_until(b'\n').map_err(OpError::failed)?;
            return Ok(Some((*number, Err(format!("is longer than {LINE_BYTES_MAX} bytes")))));
        }
        if !line.trim_ascii().is_empty() {
            break;
        }
    }
    let fields = match serde_json::from_slice::<ObjectFields>(&line) {
        Ok(ObjectFields(fields)) => Ok(fields),
        Err(error) => Err(format!("is not a JSON object: {error}")),
    };
    Ok(Some((*number, fields)))
}

/// An object's fields in order, duplicates included.
struct ObjectFields(Fields);

impl<'de> serde::Deserialize<'de> for ObjectFields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = ObjectFields;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: serde::de::MapAccess<'de>>(
                self,
                mut map: M,
            ) -> Result<ObjectFields, M::Error> {
                let mut fields = Fields::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(ObjectFields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A file that is hashed while it is read.
struct Hashing {
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}
