//! Measures the view: events per second that followers take over, digest checks on, and bytes for
//! each SKU and store. The frames are made by the real rules, codec and seal before the clock runs.
//!
//! `cargo run --release -p aggregator --example ingest_bench -- [stores] [SKUs] [sales per SKU] [threads]`

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aggregator::follower::{Follower, FollowerState, digest_of_slot};
use aggregator::view::{MemoryView, ViewStore};
use event_log::frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, seal};
use event_log::{Chain, LogId, RecordBuffer, Seq};
use shared::codec::encode_event;
use shared::command::{Action, Command, NewItem};
use shared::digest::delta;
use shared::rules::{apply, decide};
use shared::{Item, Quantity, Sku, StoreId, Timestamp};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records in a frame: a busy node's group commit.
const FRAME_RECORDS: usize = 256;
/// Frames made before they are taken over, so that making them isn't measured.
const FRAMES_AHEAD: usize = 400;

/// One store's log in the making.
struct Maker {
    items: Vec<(Sku, Item)>,
    next: usize,
    round: u64,
    seq: u64,
    chain: Chain,
    digest: u128,
    log_id: LogId,
}

impl Maker {
    fn new(store: u8, skus: usize) -> Self {
        let log_id = LogId::new([store + 1; 16]);
        let sku = |number| Sku::new(&format!("SKU-{number:08}")).expect("a valid SKU");
        Self {
            items: (0..skus).map(|number| (sku(number), Item::default())).collect(),
            next: 0,
            round: 0,
            seq: 0,
            chain: Chain::genesis(log_id),
            digest: 0,
            log_id,
        }
    }

    /// The next frame: first every item is created, then each is sold from in turn.
    fn frame(&mut self) -> Frame {
        let now = Timestamp::from_micros(1_700_000_000_000_000 + self.seq as i64);
        let mut records = RecordBuffer::new();
        for _ in 0..FRAME_RECORDS {
            let (sku, item) = &mut self.items[self.next];
            let action = if self.round == 0 {
                let (stock, name) =
                    (Quantity::new(1_000_000), format!("Name of item {:011}", self.next));
                Action::create(NewItem {
                    stock: stock.unwrap_or_default(),
                    name: name.as_str().into(),
                    category: "kitchen".into(),
                    ..NewItem::default()
                })
            } else {
                Action::Sell { quantity: Quantity::new(1).unwrap_or_default() }
            };
            let command = Command { sku: sku.clone(), action, expected_version: None };
            let event = decide(item, &command, now).ok().flatten().expect("always possible");
            let before = *item.cell();
            apply(item, &event);
            self.digest = self.digest.wrapping_add(delta(sku, &before, item.cell()));
            records.push_with(|out| encode_event(out, &event));
            self.next += 1;
            if self.next == self.items.len() {
                (self.next, self.round) = (0, self.round + 1);
            }
        }
        self.seal(&records, now)
    }

    fn seal(&mut self, records: &RecordBuffer, now: Timestamp) -> Frame {
        let mut stored = vec![0; FRAME_HEADER_BYTES];
        stored.extend_from_slice(records.as_bytes());
        let header = FrameHeader {
            kind: FrameKind::Data,
            payload_len: records.byte_len() as u32,
            record_count: records.count(),
            first_seq: Seq::new(self.seq + 1),
            segment_first_seq: Seq::new(1),
            epoch_counter: 1,
            watermark: Seq::new(self.seq),
            logged_at_us: now.as_micros(),
            state_digest: self.digest,
            chain: self.chain,
            payload_crc: 0,
        };
        let header = seal(&mut stored, header, self.log_id, &self.chain);
        (self.chain, self.seq) = (header.chain, header.last_seq().get());
        Frame { header, stored }
    }
}

/// One store: what makes its frames and what follows them.
struct Line {
    maker: Maker,
    follower: Follower<MemoryView>,
    events_left: usize,
    waiting: VecDeque<Frame>,
}

impl Line {
    fn make_ahead(&mut self) {
        while self.waiting.len() < FRAMES_AHEAD && self.events_left > 0 {
            self.waiting.push_back(self.maker.frame());
            self.events_left = self.events_left.saturating_sub(FRAME_RECORDS);
        }
    }

    fn absorb_all(&mut self) -> usize {
        let mut events = 0;
        while let Some(frame) = self.waiting.pop_front() {
            let absorbed = self.follower.absorb(&frame).expect("an honest node");
            events += absorbed.applied as usize;
        }
        events
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0_usize);
    pages * 4096
}

/// Takes over everything that is waiting, `threads` stores at a time; returns events and time.
fn measure(lines: &mut [Line], threads: usize) -> (usize, Duration) {
    lines.iter_mut().for_each(Line::make_ahead);
    let begun = Instant::now();
    let share = lines.len().div_ceil(threads);
    let events = std::thread::scope(|scope| {
        let work = |share: &mut [Line]| share.iter_mut().map(Line::absorb_all).sum::<usize>();
        let running: Vec<_> =
            lines.chunks_mut(share).map(|share| scope.spawn(move || work(share))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    (events, begun.elapsed())
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let mut number = |default| numbers.next().unwrap_or(default);
    let (stores, skus, sales, threads) = (number(4), number(250_000), number(4), number(2));
    let view = MemoryView::default();
    let mut lines: Vec<Line> = (0..stores)
        .map(|store| {
            let slot = view.open_slot();
            let id = StoreId::new(&format!("store-{store}")).expect("a valid id");
            view.publish(&slot, &id);
            let maker = Maker::new(store as u8, skus);
            let state = FollowerState::at_beginning(maker.log_id);
            let follower = Follower::new(view.clone(), slot, state);
            Line { maker, follower, events_left: skus * (1 + sales), waiting: VecDeque::new() }
        })
        .collect();
    let (mut events, mut took) = (0, Duration::ZERO);
    while lines.iter().any(|line| line.events_left > 0) {
        let (more, time) = measure(&mut lines, threads);
        (events, took) = (events + more, took + time);
    }
    let digests_hold = lines.iter().all(|line| {
        line.follower.state().is_verified()
            && line.follower.state().digest == digest_of_slot(&view, line.follower.slot())
    });
    let rate = events as f64 / took.as_secs_f64();
    println!("{stores} stores, {skus} SKUs each, {threads} threads, all verified: {digests_hold}");
    println!("{events} events in {:.2} s: {:.0} events/s", took.as_secs_f64(), rate);
    let before = resident_bytes();
    let copy = MemoryView::default();
    for line in &lines {
        let slot = copy.open_slot();
        view.for_each(line.follower.slot(), &mut |sku, held, texts| {
            copy.put(&slot, sku, held, Some(&texts.to_metadata()));
        });
        std::mem::forget(slot);
    }
    let bytes = resident_bytes().saturating_sub(before);
    let cells = stores * skus;
    println!(
        "{:.1} bytes for each SKU and store ({cells} cells, a second view)",
        bytes as f64 / cells as f64
    );
}
