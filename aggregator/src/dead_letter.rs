//! Records that couldn't be taken over, kept with their bytes until something settles their items.
//! They are persisted together with the cells, so that the node is never told to forget a record
//! that is neither applied nor kept here.

use std::collections::BTreeMap;

use event_log::Seq;
use shared::wire::global_sync::DeadLetterView;
use shared::{Sku, StoreId, Timestamp};

use crate::follower::Refused;

/// Letters kept for one store, healed ones included.
pub const LETTERS_MAX: usize = 20_000;
/// Bytes of records kept for one store.
pub const LETTER_BYTES_MAX: usize = 64 << 20;
/// Tries by schedule before a letter waits for a command or an upgrade.
pub const TRIES_MAX: u32 = 8;
/// The first scheduled retry comes so much later, each further one after twice the time.
const RETRY_AFTER_SECONDS: u64 = 60;

/// One record that wasn't taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record's seq.
    pub seq: Seq,
    /// Its item.
    pub sku: Sku,
    /// The version that it makes.
    pub version: u64,
    /// Why it wasn't taken over.
    pub reason: String,
    /// Its bytes.
    pub record: Vec<u8>,
    /// When it was first seen.
    pub first_seen_at: Timestamp,
    /// When it was last tried.
    pub last_tried_at: Timestamp,
    /// How often.
    pub tries: u32,
    /// The seq up to which something settled its item; zero while it is open.
    pub healed_by: Seq,
}

impl DeadLetter {
    /// The letter of a record that was just refused.
    pub fn new(refused: Refused, now: Timestamp) -> Self {
        Self {
            seq: refused.seq,
            sku: refused.sku,
            version: refused.version.get(),
            reason: refused.reason,
            record: refused.record,
            first_seen_at: now,
            last_tried_at: now,
            tries: 1,
            healed_by: Seq::ZERO,
        }
    }

    /// Whether its item isn't settled.
    pub fn is_open(&self) -> bool {
        self.healed_by == Seq::ZERO
    }

    /// Whether the schedule says to try it again.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let wait = RETRY_AFTER_SECONDS << self.tries.min(TRIES_MAX);
        self.is_open() && self.tries < TRIES_MAX && now >= self.last_tried_at.plus_seconds(wait)
    }

    /// The letter as the API shows it.
    pub fn view(&self, store_id: &StoreId) -> DeadLetterView {
        DeadLetterView {
            id: format!("{store_id}:{}", self.seq),
            store_id: store_id.clone(),
            seq: self.seq.get(),
            sku: self.sku.clone(),
            version: self.version,
            reason: self.reason.clone(),
            state: if self.is_open() { "open" } else { "healed" },
            healed_by_seq: (!self.is_open()).then_some(self.healed_by.get()),
            tries: self.tries,
            first_seen_at: self.first_seen_at,
            last_tried_at: self.last_tried_at,
            record: None,
        }
    }
}

/// The letters of one store, by seq.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetters {
    letters: BTreeMap<Seq, DeadLetter>,
    bytes: usize,
    open: u64,
}

/// There is no room for another letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the dead letter queue is full")]
pub struct QueueFull;

impl DeadLetters {
    /// How many are open.
    pub fn open_count(&self) -> u64 {
        self.open
    }

    /// All of them, by seq.
    pub fn iter(&self) -> impl Iterator<Item = &DeadLetter> {
        self.letters.values()
    }

    /// One of them.
    pub fn get(&self, seq: Seq) -> Option<&DeadLetter> {
        self.letters.get(&seq)
    }

    /// Keeps a letter, and for it forgets healed ones if there are too many.
    pub fn push(&mut self, letter: DeadLetter) -> Result<(), QueueFull> {
        let bytes = letter.record.len();
        while self.letters.len() >= LETTERS_MAX || self.bytes + bytes > LETTER_BYTES_MAX {
            let healed = self.letters.values().find(|letter| !letter.is_open());
            let seq = healed.map(|letter| letter.seq).ok_or(QueueFull)?;
            self.remove(seq);
        }
        self.remove(letter.seq);
        self.bytes += bytes;
        self.open += u64::from(letter.is_open());
        self.letters.insert(letter.seq, letter);
        Ok(())
    }

    /// Forgets a letter; says whether it was there.
    pub fn remove(&mut self, seq: Seq) -> bool {
        let Some(letter) = self.letters.remove(&seq) else {
            return false;
        };
        self.bytes -= letter.record.len();
        self.open -= u64::from(letter.is_open());
        true
    }

    /// The items' states are known for sure from `by` on.
    pub fn heal(&mut self, skus: &[Sku], by: Seq) {
        self.heal_where(by, |letter| skus.contains(&letter.sku));
    }

    /// A verified state from elsewhere has replaced everything that the letters are about.
    pub fn heal_all(&mut self, by: Seq) {
        self.heal_where(by, |_| true);
    }

    /// A letter was tried in vain.
    pub fn tried(&mut self, seq: Seq, reason: Option<String>, now: Timestamp) {
        if let Some(letter) = self.letters.get_mut(&seq) {
            letter.tries = letter.tries.saturating_add(1);
            letter.last_tried_at = now;
            letter.reason = reason.unwrap_or_else(|| std::mem::take(&mut letter.reason));
        }
    }

    fn heal_where(&mut self, by: Seq, test: impl Fn(&DeadLetter) -> bool) {
        if self.open == 0 {
            return;
        }
        for letter in self.letters.values_mut().filter(|letter| letter.is_open() && test(letter)) {
            letter.healed_by = by.max(letter.seq);
            self.open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::cell::Version;

    use super::*;

    fn letter(seq: u64, sku: &str, bytes: usize) -> DeadLetter {
        let refused = Refused {
            seq: Seq::new(seq),
            sku: Sku::new(sku).unwrap(),
            version: Version::new(2),
            reason: "test".to_owned(),
            record: vec![0; bytes],
        };
        DeadLetter::new(refused, Timestamp::EPOCH)
    }

    #[test]
    fn healed_letters_make_room_and_open_ones_never_do() {
        let mut letters = DeadLetters::default();
        let big = LETTER_BYTES_MAX / 2;
        letters.push(letter(1, "A", big)).unwrap();
        letters.push(letter(2, "B", big)).unwrap();
        assert_eq!(letters.push(letter(3, "C", 1)), Err(QueueFull));
        letters.heal(&[Sku::new("A").unwrap()], Seq::new(9));
        assert_eq!(
            (letters.open_count(), letters.get(Seq::new(1)).unwrap().healed_by),
            (1, Seq::new(9))
        );
        letters.push(letter(3, "C", 1)).unwrap();
        assert_eq!(letters.iter().map(|letter| letter.seq.get()).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(letters.open_count(), 2);
        letters.heal_all(Seq::new(5));
        assert_eq!(letters.open_count(), 0);
    }

    #[test]
    fn the_schedule_waits_longer_each_time_and_ends() {
        let mut letters = DeadLetters::default();
        letters.push(letter(1, "A", 1)).unwrap();
        let mut now = Timestamp::EPOCH;
        let mut waits = Vec::new();
        while letters.get(Seq::new(1)).unwrap().tries < TRIES_MAX {
            let before = now;
            while !letters.get(Seq::new(1)).unwrap().is_due(now) {
                now = now.plus_seconds(10);
            }
            waits.push(now.micros_since(before) / 1_000_000);
            letters.tried(Seq::new(1), None, now);
        }
        assert_eq!(waits, [120, 240, 480, 960, 1_920, 3_840, 7_680]);
        assert!(!letters.get(Seq::new(1)).unwrap().is_due(now.plus_seconds(1 << 30)));
    }
}
