//! The lines of a CSV file (RFC 4180), one at a time. It must never hold more than the longest line
//! that is taken: a quote that is never closed makes one line of the rest of the file.

use std::io::{self, BufRead, BufReader, Read};

use csv_core::{ReadRecordResult, Reader};

use super::reader::LINE_BYTES_MAX;

/// The most fields of a line.
const FIELDS_MAX: usize = 1024;

/// A line: its fields, or what is wrong with it as the rest of a sentence.
pub(super) type CsvLine = Result<Vec<String>, String>;

/// Reads lines. Empty ones are passed over; a line may go on over line ends in quotes.
pub(super) struct CsvLines<R> {
    source: BufReader<R>,
    parser: Reader,
    /// The fields of a line, one after the other, without quotes.
    text: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl<R: Read> CsvLines<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source: BufReader::new(source),
            parser: Reader::new(),
            // One more, so that the longest line doesn't fill it.
            text: vec![0; LINE_BYTES_MAX as usize + 1],
            ends: vec![0; FIELDS_MAX],
        }
    }

    /// The next line and the number of the line of the file that it begins at, from 1; none at the
    /// end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<(u64, CsvLine)>> {
        let number = self.parser.line();
        let (mut text, mut fields) = (0, 0);
        let mut problem = None;
        loop {
            let input = self.source.fill_buf()?;
            let (result, read, written, ended) =
                self.parser.read_record(input, &mut self.text[text..], &mut self.ends[fields..]);
            self.source.consume(read);
            text += written;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    let why = format!("is longer than {LINE_BYTES_MAX} bytes");
                    problem.get_or_insert(why + " (a quote that isn't closed reads on)");
                    text = 0;
                }
                ReadRecordResult::OutputEndsFull => {
                    problem.get_or_insert(format!("has more than {FIELDS_MAX} fields"));
                    fields = 0;
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let line = match problem {
            Some(problem) => Err(problem),
            None => self.fields(fields),
        };
        Ok(Some((number, line)))
    }

    /// What is read from.
    pub(super) fn source(&self) -> &R {
        self.source.get_ref()
    }

    /// What is read from, for reading on past the lines.
    pub(super) fn source_mut(&mut self) -> &mut R {
        self.source.get_mut()
    }

    fn fields(&self, count: usize) -> CsvLine {
        let mut begin = 0;
        let field = |end: &usize| {
            let bytes = &self.text[begin..*end];
            begin = *end;
            let text = std::str::from_utf8(bytes);
            text.map(str::to_owned).map_err(|_| "isn't UTF-8".to_owned())
        };
        self.ends[..count].iter().map(field).collect()
    }
}
