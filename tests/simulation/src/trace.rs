//! What happened in a run, line by line, with the simulated time: a short readable story for people
//! and a hash for the promise that a seed repeats bit for bit.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines that are kept for a report.
const LINES_MAX: usize = 200;

/// The story of one run. Clones write the same story.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Story>>);

struct Story {
    began: Instant,
    lines: VecDeque<String>,
    count: u64,
    hasher: blake3::Hasher,
    aloud: bool,
}

impl Trace {
    /// An empty story that begins now; `aloud` prints each line as it comes.
    pub fn new(aloud: bool) -> Self {
        Self(Arc::new(Mutex::new(Story {
            began: Instant::now(),
            lines: VecDeque::new(),
            count: 0,
            hasher: blake3::Hasher::new(),
            aloud,
        })))
    }

    /// Writes a line.
    pub fn note(&self, line: impl fmt::Display) {
        let mut story = self.0.lock();
        let at_us = story.began.elapsed().as_micros();
        let line = format!("{:>10.3} ms  {line}", at_us as f64 / 1000.0);
        story.hasher.update(line.as_bytes());
        story.hasher.update(b"\n");
        story.count += 1;
        if story.aloud {
            eprintln!("{line}");
        }
        if story.lines.len() == LINES_MAX {
            story.lines.pop_front();
        }
        story.lines.push_back(line);
    }

    /// Mixes in what isn't told: every answer's bytes, every frame's chain.
    pub fn mix(&self, bytes: &[u8]) {
        self.0.lock().hasher.update(bytes);
    }

    /// The hash of everything noted and mixed in.
    pub fn hash(&self) -> String {
        self.0.lock().hasher.finalize().to_hex()[..32].to_owned()
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.0.lock().lines.iter().cloned().collect()
    }

    /// Lines written.
    pub fn count(&self) -> u64 {
        self.0.lock().count
    }
}
