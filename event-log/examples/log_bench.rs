//! P4 of the performance bars: the log alone against one thread that seals and syncs the same bytes in the same batches.
//!
//! `log_bench <directory> [--rounds N] [--producers N] [--json FILE]`: the directory must be on the disk that is measured (not
//! tmpfs) and loses `log_bench-*` under it. Rounds alternate, ours and the ceiling, and only ratios of neighbours count.
//! It must never make the ceiling slower than it can be: its bytes are laid out beforehand, it copies and locks nothing.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use event_log::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, seal};
use event_log::storage::disk::DiskStorage;
use event_log::{AppendError, Chain, Cursor, Log, LogId, LogOptions, RecordBuffer, Seq};

const RECORD_BYTES: usize = 96;
const STORED_RECORD_BYTES: usize = RECORD_BYTES + 4;
const ALIGNMENT_BYTES: usize = 512;
const ROUNDS_MIN: usize = 5;
const ZERO_PIECE_BYTES: usize = 1 << 20;
/// What the log keeps ready by default.
const SPARES: usize = 2;
const BUSY_PAUSE: Duration = Duration::from_micros(50);
const LOG_ID: LogId = LogId::new([0x42; 16]);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// One line of the table: how many records are in flight, over how many records, and the bar.
struct Case {
    in_flight: usize,
    records: usize,
    /// Records before the clock runs, on both sides. Without them a short round of 200 times how two fresh threads settle on
    /// their processors (34 us a record outside the sync, 11 us once settled, on a virtual machine with two).
    warm_up: usize,
    bar: f64,
}

const CASES: [Case; 3] = [
    Case { in_flight: 1, records: 3_000, warm_up: 1_000, bar: 0.8 },
    Case { in_flight: 1_024, records: 500_000, warm_up: 50_000, bar: 0.7 },
    Case { in_flight: 8_192, records: 1_000_000, warm_up: 100_000, bar: 0.7 },
];

struct Arguments {
    directory: PathBuf,
    rounds: usize,
    producers: usize,
    json: Option<PathBuf>,
}

/// Records a second of each round.
#[derive(Default)]
struct Rates {
    ours: Vec<f64>,
    /// The same bytes in the batches that ours turned out to make.
    ceiling: Vec<f64>,
    /// The same bytes in batches of everything in flight: what no log that overlaps two batches can make. For orientation.
    whole: Vec<f64>,
    records_per_frame: Vec<f64>,
    /// Durations of the ceiling's single syncs, µs.
    syncs_us: Vec<f64>,
    /// The batches of the round before.
    batches: Vec<usize>,
}

fn main() -> Outcome<()> {
    let arguments = arguments()?;
    fs::create_dir_all(&arguments.directory)?;
    let mut results = Vec::new();
    for case in &CASES {
        let mut rates = Rates::default();
        for round in 0..arguments.rounds {
            one_round(&arguments, case, &mut rates)?;
            eprintln!("{} in flight: round {} of {}", case.in_flight, round + 1, arguments.rounds);
        }
        results.push((case, rates));
    }
    print!("{}", table(&results));
    if let Some(path) = &arguments.json {
        fs::write(path, json(&results))?;
    }
    Ok(())
}

fn arguments() -> Outcome<Arguments> {
    let mut parsed =
        Arguments { directory: PathBuf::new(), rounds: ROUNDS_MIN, producers: 1, json: None };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => parsed.rounds = value()?.parse::<usize>()?.max(ROUNDS_MIN),
            "--producers" => parsed.producers = value()?.parse::<usize>()?.clamp(1, 2),
            "--json" => parsed.json = Some(value()?.into()),
            _ => parsed.directory = argument.into(),
        }
    }
    if parsed.directory.as_os_str().is_empty() {
        return Err(
            "usage: log_bench <directory> [--rounds N] [--producers N] [--json FILE]".into()
        );
    }
    Ok(parsed)
}

fn one_round(arguments: &Arguments, case: &Case, rates: &mut Rates) -> Outcome<()> {
    // The ceiling goes first every other round, so that a machine that slows down or recovers favours nobody. Its batches are
    // then those of the round before.
    let ceiling_first = rates.ours.len() % 2 == 1;
    if ceiling_first {
        ceiling_round(arguments, case, rates)?;
    }
    let directory = arguments.directory.join("log_bench-ours");
    let _ = fs::remove_dir_all(&directory);
    let (elapsed, batches) = ours(&directory, case, arguments.producers)?;
    fs::remove_dir_all(&directory)?;
    rates.ours.push(case.records as f64 / elapsed.as_secs_f64());
    rates.records_per_frame.push(case.records as f64 / batches.len() as f64);
    rates.batches = batches;
    if !ceiling_first {
        ceiling_round(arguments, case, rates)?;
    }
    Ok(())
}

fn ceiling_round(arguments: &Arguments, case: &Case, rates: &mut Rates) -> Outcome<()> {
    let file = arguments.directory.join("log_bench-ceiling");
    let whole = vec![case.in_flight; case.records / case.in_flight];
    let seals = case.in_flight > 1;
    let elapsed = ceiling(&file, &rates.batches, case, seals, &mut rates.syncs_us)?;
    rates.ceiling.push(case.records as f64 / elapsed.as_secs_f64());
    let elapsed = ceiling(&file, &whole, case, seals, &mut Vec::new())?;
    rates.whole.push((whole.len() * case.in_flight) as f64 / elapsed.as_secs_f64());
    Ok(fs::remove_file(&file)?)
}

/// Bytes of a frame of this many records on disk.
const fn frame_bytes(records: usize) -> usize {
    (FRAME_HEADER_BYTES + records * STORED_RECORD_BYTES).next_multiple_of(ALIGNMENT_BYTES)
}

/// Appends through the real log with its threads; how long, and how many records each frame got.
fn ours(directory: &Path, case: &Case, producers: usize) -> Outcome<(Duration, Vec<usize>)> {
    // Room for every record in a frame of its own would be far too much: at many in flight frames are large.
    let smallest_frame = case.in_flight.min(64);
    let segment_bytes = ((case.warm_up + case.records) / smallest_frame + 1)
        * frame_bytes(smallest_frame)
        + ZERO_PIECE_BYTES;
    let options = LogOptions {
        segment_bytes: segment_bytes as u64,
        alignment: Some(ALIGNMENT_BYTES as u32),
        new_log_id: LOG_ID,
        ..LogOptions::default()
    };
    fs::create_dir_all(directory)?;
    let log = Log::open(DiskStorage::new(directory.to_path_buf()), options)?;
    log.start()?;
    // The ceiling's file is preallocated before the clock runs as well.
    while log.status().spares < SPARES {
        std::thread::sleep(Duration::from_millis(10));
    }
    let producers = producers.min(case.in_flight);
    let all_warm = Arc::new(Barrier::new(producers));
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let (log, all_warm) = (Arc::clone(&log), Arc::clone(&all_warm));
            let (warm_up, records) = (case.warm_up / producers, case.records / producers);
            let in_flight = case.in_flight / producers;
            std::thread::spawn(move || {
                let warmed = produce(&log, warm_up, in_flight);
                all_warm.wait();
                let started = Instant::now();
                warmed.and_then(|()| produce(&log, records, in_flight)).map(|()| started.elapsed())
            })
        })
        .collect();
    let mut elapsed = Duration::ZERO;
    for thread in threads {
        elapsed = elapsed.max(thread.join().map_err(|_| "a producer panicked")??);
    }
    let mut batches = Vec::new();
    let mut reader = log.reader(Cursor::START)?;
    while let Some(frame) = reader.next()? {
        if frame.header.record_count > 0 && frame.header.first_seq.get() > case.warm_up as u64 {
            batches.push(frame.header.record_count as usize);
        }
    }
    log.close()?;
    if batches.iter().sum::<usize>() != case.records {
        return Err("the log doesn't hold what was appended".into());
    }
    Ok((elapsed, batches))
}

/// Keeps this many records un-durable until all are appended, then waits for the last.
fn produce(log: &Arc<Log<DiskStorage>>, records: usize, in_flight: usize) -> Outcome<()> {
    let mut waiting: VecDeque<Seq> = VecDeque::with_capacity(in_flight);
    let mut buffer = RecordBuffer::new();
    let mut record = [0x5a_u8; RECORD_BYTES];
    for number in 0..records as u64 {
        record[..8].copy_from_slice(&number.to_le_bytes());
        buffer.clear();
        buffer.push(&record);
        waiting.push_back(append(log, &buffer)?);
        if waiting.len() == in_flight {
            log.wait_blocking(waiting[0])?;
            let durable = log.durable();
            while waiting.front().is_some_and(|seq| *seq <= durable) {
                waiting.pop_front();
            }
        }
    }
    if let Some(last) = waiting.back() {
        log.wait_blocking(*last)?;
    }
    Ok(())
}

fn append(log: &Arc<Log<DiskStorage>>, buffer: &RecordBuffer) -> Outcome<Seq> {
    loop {
        match log.append(buffer, 1, 1) {
            Ok(appended) => return Ok(appended.last),
            Err(AppendError::Busy) => std::thread::sleep(BUSY_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}

/// One thread: seals (unless that is done beforehand), writes and syncs these batches into a preallocated file, after as many
/// of them again as the warm-up takes.
fn ceiling(
    path: &Path,
    batches: &[usize],
    case: &Case,
    seals: bool,
    syncs_us: &mut Vec<f64>,
) -> Outcome<Duration> {
    let warm_batches = (case.warm_up * batches.len()).div_ceil(case.records).min(batches.len());
    let all = [&batches[..warm_batches], batches].concat();
    let file = zero_filled(path, all.iter().map(|records| frame_bytes(*records)).sum())?;
    let largest = batches.iter().copied().max().unwrap_or(1);
    let mut buffer = RecordBuffer::new();
    (0..largest).for_each(|_| buffer.push(&[0x5a; RECORD_BYTES]));
    let mut bytes = vec![0_u8; FRAME_HEADER_BYTES];
    bytes.extend_from_slice(buffer.as_bytes());
    bytes.resize(frame_bytes(largest), 0);
    let mut chain = Chain::genesis(LOG_ID);
    let (mut offset, mut next) = (0_u64, 1_u64);
    let mut started = Instant::now();
    for (index, records) in all.iter().enumerate() {
        if index == warm_batches {
            started = Instant::now();
        }
        if seals || next == 1 {
            let stored = FRAME_HEADER_BYTES + records * STORED_RECORD_BYTES;
            chain =
                seal(&mut bytes[..stored], unsealed(*records, next, chain), LOG_ID, &chain).chain;
        }
        let length = frame_bytes(*records);
        file.write_all_at(&bytes[..length], offset)?;
        let syncing = Instant::now();
        file.sync_data()?;
        syncs_us.push(syncing.elapsed().as_secs_f64() * 1e6);
        offset += length as u64;
        next += *records as u64;
    }
    Ok(started.elapsed())
}

fn unsealed(records: usize, first: u64, chain: Chain) -> FrameHeader {
    FrameHeader {
        kind: FrameKind::Data,
        payload_len: (records * STORED_RECORD_BYTES) as u32,
        record_count: records as u32,
        first_seq: Seq::new(first),
        segment_first_seq: Seq::new(1),
        epoch_counter: 1,
        watermark: Seq::new(first - 1),
        logged_at_us: 1,
        state_digest: 1,
        chain,
        payload_crc: 0,
    }
}

fn zero_filled(path: &Path, bytes: usize) -> Outcome<File> {
    let file = File::create(path)?;
    let zeros = vec![0_u8; ZERO_PIECE_BYTES];
    for offset in (0..bytes).step_by(ZERO_PIECE_BYTES) {
        file.write_all_at(&zeros[..ZERO_PIECE_BYTES.min(bytes - offset)], offset as u64)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &[f64], part: f64) -> f64 {
    sorted(values)[((values.len() - 1) as f64 * part) as usize]
}

/// Of each round on its own, so that a slow minute of the machine weighs on both sides.
fn ratios(ours: &[f64], peer: &[f64]) -> Vec<f64> {
    ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect()
}

fn spread(values: &[f64]) -> String {
    let sorted = sorted(values);
    format!("{:.0} ({:.0}..{:.0})", median(values), sorted[0], sorted[sorted.len() - 1])
}

fn table(results: &[(&Case, Rates)]) -> String {
    let mut text = format!(
        "{:>9} {:>30} {:>30} {:>9} {:>18} {:>5} {:>4} {:>8} {:>16}\n",
        "in flight",
        "ours, records/s",
        "ceiling, same batches",
        "per frame",
        "ratio (quartiles)",
        "bar",
        "",
        "of whole",
        "sync p50/p99, us"
    );
    for (case, rates) in results {
        let per_round = ratios(&rates.ours, &rates.ceiling);
        let ratio = median(&per_round);
        let quartiles = format!(
            "{ratio:.2} ({:.2}..{:.2})",
            quantile(&per_round, 0.25),
            quantile(&per_round, 0.75)
        );
        let syncs =
            format!("{:.0}/{:.0}", median(&rates.syncs_us), quantile(&rates.syncs_us, 0.99));
        let _ = writeln!(
            text,
            "{:>9} {:>30} {:>30} {:>9.0} {:>18} {:>5.2} {:>4} {:>8.2} {:>16}",
            case.in_flight,
            spread(&rates.ours),
            spread(&rates.ceiling),
            median(&rates.records_per_frame),
            quartiles,
            case.bar,
            if ratio >= case.bar { "met" } else { "MISS" },
            median(&ratios(&rates.ours, &rates.whole)),
            syncs,
        );
    }
    text
}

fn json(results: &[(&Case, Rates)]) -> String {
    let cases: Vec<String> = results
        .iter()
        .map(|(case, rates)| {
            let per_round = ratios(&rates.ours, &rates.ceiling);
            format!(
                "{{\"in_flight\":{},\"records\":{},\"bar\":{},\"ratio\":{:.4},\"ratios\":{:?},\"ours_per_s\":{:?},\"ceiling_per_s\":{:?},\"whole_batches_per_s\":{:?},\"records_per_frame\":{:?},\"sync_p50_us\":{:.1},\"sync_p99_us\":{:.1}}}",
                case.in_flight,
                case.records,
                case.bar,
                median(&per_round),
                per_round,
                rates.ours,
                rates.ceiling,
                rates.whole,
                rates.records_per_frame,
                median(&rates.syncs_us),
                quantile(&rates.syncs_us, 0.99),
            )
        })
        .collect();
    format!("{{\"record_bytes\":{RECORD_BYTES},\"cases\":[{}]}}\n", cases.join(","))
}
