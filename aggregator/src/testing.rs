//! A node in a test: the real rules make its events, the real codec its records, the real seal its
//! frames. What it says can be bent before it is sealed, to see whether a lie is found.

use std::collections::BTreeMap;

use event_log::frame::{
    FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, decode_frame, keep_alive, seal,
};
use event_log::{Chain, LogId, RecordBuffer, Seq, Tip};
use shared::codec::encode_event;
use shared::command::{Action, Command, NewItem};
use shared::digest::delta;
use shared::rules::{apply, decide, expirations};
use shared::{Event, Item, Quantity, Sku, Timestamp};

pub(crate) const LOG_ID: LogId = LogId::new([7; 16]);

/// A store and its log, in memory.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) items: BTreeMap<Sku, (Item, u64)>,
    pub(crate) seq: u64,
    pub(crate) chain: Chain,
    pub(crate) digest: u128,
    pub(crate) now: Timestamp,
}

pub(crate) fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

pub(crate) fn units(units: u64) -> Quantity {
    Quantity::new(units).unwrap()
}

pub(crate) fn create(stock: u64) -> Action {
    Action::create(NewItem { stock: units(stock), name: "Mug".into(), ..NewItem::default() })
}

pub(crate) fn sell(quantity: u64) -> Action {
    Action::Sell { quantity: units(quantity) }
}

impl Node {
    pub(crate) fn new() -> Self {
        Self {
            items: BTreeMap::new(),
            seq: 0,
            chain: Chain::genesis(LOG_ID),
            digest: 0,
            now: Timestamp::from_micros(1_000_000),
        }
    }

    /// The events of these commands, taken over by the node; refused ones make none.
    pub(crate) fn events(&mut self, commands: &[(&str, Action)]) -> Vec<Event> {
        let mut events = Vec::new();
        for (text, action) in commands {
            let sku = sku(text);
            self.now = Timestamp::from_micros(self.now.as_micros() + 1_000);
            let now = self.now;
            let entry = self.items.entry(sku.clone()).or_default();
            let mut made = expirations(&entry.0, &sku, now);
            for event in &made {
                apply(&mut entry.0, event);
            }
            let command =
                Command { sku: sku.clone(), action: action.clone(), expected_version: None };
            if let Ok(Some(event)) = decide(&entry.0, &command, now) {
                apply(&mut entry.0, &event);
                made.push(event);
            }
            for event in made {
                events.push(event);
                entry.1 = self.seq + events.len() as u64;
            }
        }
        self.items.retain(|_, (item, _)| item.cell().version.get() > 0);
        self.digest = self.items.iter().fold(0, |sum, (sku, (item, _))| {
            sum.wrapping_add(delta(sku, &shared::Cell::default(), item.cell()))
        });
        events
    }

    /// Records of events.
    pub(crate) fn records(events: &[Event]) -> Vec<Vec<u8>> {
        let encode = |event: &Event| {
            let mut record = Vec::new();
            encode_event(&mut record, event);
            record
        };
        events.iter().map(encode).collect()
    }

    /// Decides, encodes and seals.
    pub(crate) fn commit(&mut self, commands: &[(&str, Action)]) -> Frame {
        let events = self.events(commands);
        self.seal(FrameKind::Data, &Self::records(&events))
    }

    pub(crate) fn checkpoint(&mut self) -> Frame {
        self.seal(FrameKind::Checkpoint, &[])
    }

    /// Seals these records as they are, with the node's digest as it is.
    pub(crate) fn seal(&mut self, kind: FrameKind, records: &[Vec<u8>]) -> Frame {
        let mut buffer = RecordBuffer::new();
        for record in records {
            buffer.push(record);
        }
        let mut stored = vec![0; FRAME_HEADER_BYTES];
        stored.extend_from_slice(buffer.as_bytes());
        let header = FrameHeader {
            kind,
            payload_len: buffer.byte_len() as u32,
            record_count: buffer.count(),
            first_seq: Seq::new(self.seq + 1),
            segment_first_seq: Seq::new(1),
            epoch_counter: 1,
            watermark: Seq::new(self.seq),
            logged_at_us: self.now.as_micros(),
            state_digest: self.digest,
            chain: self.chain,
            payload_crc: 0,
        };
        let header = seal(&mut stored, header, LOG_ID, &self.chain);
        self.chain = header.chain;
        self.seq = header.last_seq().get();
        Frame { header, stored }
    }

    pub(crate) fn keep_alive(&self) -> Frame {
        let tip = Tip {
            seq: Seq::new(self.seq),
            chain: self.chain,
            digest: self.digest,
            logged_at_us: self.now.as_micros(),
        };
        let bytes = keep_alive(LOG_ID, 1, &tip);
        decode_frame(&bytes, LOG_ID).unwrap().unwrap().0
    }
}
