//! A store's log in the making: real rules, codec and seal; a source that hands its frames out
//! paced, as a busy node would.

use std::time::Duration;

use aggregator::follower::Position;
use aggregator::source::{ByteStream, FrameStream, Identity, LogSource, NodeStatus, SourceError};
use bytes::Bytes;
use event_log::frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, seal};
use event_log::{Chain, LogId, RecordBuffer, Seq};
use shared::codec::encode_event;
use shared::command::{Action, Command, NewItem};
use shared::digest::delta;
use shared::rules::{apply, decide};
use shared::{Item, Quantity, Sku, StoreId, Timestamp};
use tokio::time::{Instant, sleep_until};

/// Records in a frame while the store is filled.
const FILL_RECORDS: usize = 512;
/// Items that are sold from.
const SOLD_FROM: usize = 10_000;
const CATEGORIES: u64 = 200;
const PLACES: u64 = 2_000;
const WORDS: [&str; 16] = [
    "stoneware",
    "walnut",
    "enamel",
    "linen",
    "copper",
    "glass",
    "oak",
    "cotton",
    "mug",
    "bowl",
    "board",
    "towel",
    "pan",
    "carafe",
    "tray",
    "basket",
];

/// What a store's log is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) skus: usize,
    /// Between frames of sales, once the store is filled.
    pub(crate) pause: Duration,
    pub(crate) sales_a_frame: usize,
}

/// The node of one store.
#[derive(Debug, Clone)]
pub(crate) struct MadeSource {
    pub(crate) store_id: StoreId,
    pub(crate) number: u8,
    pub(crate) plan: Plan,
}

/// A number that looks random and is the same every time.
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 11
}

pub(crate) fn category(number: u64) -> String {
    format!("category {:03}", number % CATEGORIES)
}

pub(crate) fn place(number: u64) -> String {
    format!("aisle {:02} bin {:02}", number % PLACES / 40, number % 40)
}

pub(crate) fn word(number: u64) -> &'static str {
    WORDS[(number % WORDS.len() as u64) as usize]
}

fn new_item(number: u64, store: u8) -> NewItem {
    let random = mixed(number * 7 + u64::from(store));
    let units = |units: u64| Quantity::new(units).unwrap_or_default();
    NewItem {
        stock: units(if random.is_multiple_of(50) { 0 } else { 5_000 + random % 10_000 }),
        // Most items are called the same everywhere.
        name: format!("{} {} {number}", word(mixed(number)), word(mixed(number) >> 7))
            .as_str()
            .into(),
        category: category(mixed(number)).as_str().into(),
        location: place(random >> 9).as_str().into(),
        reorder_point: Some(units(if random.is_multiple_of(20) { 20_000 } else { 10 })),
        ..NewItem::default()
    }
}

pub(crate) struct MadeFrames {
    source: MadeSource,
    sold_from: Vec<(Sku, Item)>,
    created: usize,
    sold: usize,
    seq: u64,
    chain: Chain,
    digest: u128,
    next_at: Instant,
}

impl MadeSource {
    fn log_id(&self) -> LogId {
        LogId::new([self.number + 1; 16])
    }

    fn identity(&self) -> Identity {
        Identity { store_id: self.store_id.clone(), log_id: self.log_id(), epoch: 1 }
    }
}

impl MadeFrames {
    fn make(&mut self) -> Frame {
        let now = Timestamp::from_micros(1_700_000_000_000_000 + self.seq as i64);
        let mut records = RecordBuffer::new();
        let plan = self.source.plan;
        let is_filling = self.created < plan.skus;
        for _ in 0..if is_filling { FILL_RECORDS } else { plan.sales_a_frame } {
            let (sku, mut item, action) = if is_filling {
                let sku = Sku::new(&format!("SKU-{:08}", self.created)).expect("a valid SKU");
                let action = Action::create(new_item(self.created as u64, self.source.number));
                (sku, Item::default(), action)
            } else {
                let place = self.sold % self.sold_from.len();
                self.sold += 1;
                let (sku, item) = self.sold_from[place].clone();
                (sku, item, Action::Receive { quantity: Quantity::new(1).unwrap_or_default() })
            };
            let command = Command { sku: sku.clone(), action, expected_version: None };
            let event = decide(&item, &command, now).ok().flatten().expect("always possible");
            let before = *item.cell();
            apply(&mut item, &event);
            self.digest = self.digest.wrapping_add(delta(&sku, &before, item.cell()));
            records.push_with(|out| encode_event(out, &event));
            if is_filling {
                self.created += 1;
                if self.sold_from.len() < SOLD_FROM {
                    self.sold_from.push((sku, item));
                }
            } else {
                let place = (self.sold - 1) % self.sold_from.len();
                self.sold_from[place].1 = item;
            }
            if is_filling && self.created == plan.skus {
                break;
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
        let header = seal(&mut stored, header, self.source.log_id(), &self.chain);
        (self.chain, self.seq) = (header.chain, header.last_seq().get());
        Frame { header, stored }
    }
}

impl FrameStream for MadeFrames {
    async fn next(&mut self) -> Result<Frame, SourceError> {
        if self.created == self.source.plan.skus {
            sleep_until(self.next_at).await;
            self.next_at = Instant::now() + self.source.plan.pause;
        }
        Ok(self.make())
    }
}

/// There is none: every store is followed from its beginning.
pub(crate) struct NoSnapshot;

impl ByteStream for NoSnapshot {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(None)
    }
}

impl LogSource for MadeSource {
    type Stream = MadeFrames;
    type Snapshot = NoSnapshot;

    async fn status(&self) -> Result<NodeStatus, SourceError> {
        let durable_seq = Seq::new(self.plan.skus as u64);
        Ok(NodeStatus { identity: self.identity(), durable_seq, snapshot_count: 0 })
    }

    async fn follow(&self, _: Option<Position>) -> Result<(Identity, MadeFrames), SourceError> {
        let frames = MadeFrames {
            source: self.clone(),
            sold_from: Vec::new(),
            created: 0,
            sold: 0,
            seq: 0,
            chain: Chain::genesis(self.log_id()),
            digest: 0,
            next_at: Instant::now(),
        };
        Ok((self.identity(), frames))
    }

    async fn snapshot(&self) -> Result<(Identity, NoSnapshot), SourceError> {
        Err(SourceError::Unreachable("made stores have no snapshot".to_owned()))
    }

    async fn acknowledge(&self, _: Seq, _: Chain) -> Result<(), SourceError> {
        Ok(())
    }

    async fn deregister(&self) -> Result<(), SourceError> {
        Ok(())
    }
}
