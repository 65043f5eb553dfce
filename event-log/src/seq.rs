//! The small values that name a place in a log: [`Seq`], [`Chain`], [`LogId`], [`Epoch`] and what is made of them.
//!
//! Pure: this file must never read a clock, a file or a random number.

use std::fmt;
use std::str::FromStr;

/// The number of a record. The first record of a log is 1, there are no gaps, and a number is never given out twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// The place before the first record.
    pub const ZERO: Seq = Seq(0);
    /// The highest number there is; as a bound, "everything".
    pub const MAX: Seq = Seq(u64::MAX);

    /// The seq of this number; 0 is the place before the first record.
    pub const fn new(number: u64) -> Self {
        Seq(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The seq after this one. A log would need centuries at full speed to overflow it, so an overflow is a broken invariant.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0.checked_add(1).expect("a log never gives out 2^64 seqs"))
    }

    /// The seq before this one; the one before [`Seq::ZERO`] is itself.
    #[must_use]
    pub const fn previous(self) -> Seq {
        Seq(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The seqs of one append, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    /// The seq of the first record.
    pub first: Seq,
    /// The seq of the last record; wait for this one.
    pub last: Seq,
}

impl SeqRange {
    /// How many records the range holds.
    pub const fn count(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }
}

/// The BLAKE3 chain over every frame up to some frame's end: two logs with the same chain hold the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain([u8; 32]);

impl Chain {
    /// The chain with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Chain(bytes)
    }

    /// The chain before the first frame of a log: BLAKE3 of `onhand genesis` and the log id.
    pub fn genesis(log_id: LogId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"onhand genesis");
        hasher.update(log_id.as_bytes());
        Chain(*hasher.finalize().as_bytes())
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Chain({self})")
    }
}

/// A text that isn't the 64 hexadecimal digits of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chain is written as 64 hexadecimal digits")]
pub struct ChainParseError;

impl FromStr for Chain {
    type Err = ChainParseError;

    fn from_str(text: &str) -> Result<Self, ChainParseError> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ChainParseError);
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Ok(Chain(bytes))
    }
}

fn hex_digit(digit: u8) -> Result<u8, ChainParseError> {
    (digit as char).to_digit(16).map(|value| value as u8).ok_or(ChainParseError)
}

/// The identity of a log: a UUID v7 chosen when the log is made, never changed. Restoring a log as another one gives a new id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId([u8; 16]);

impl LogId {
    /// The id with these bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        LogId(bytes)
    }

    /// A UUID v7 of this time (microseconds since 1970 in UTC) and these random bytes.
    pub fn from_parts(created_at_us: i64, random: [u8; 10]) -> Self {
        let millis = u64::try_from(created_at_us / 1000).unwrap_or(0);
        LogId(*uuid::Builder::from_unix_timestamp_millis(millis, &random).as_uuid().as_bytes())
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(formatter)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LogId({self})")
    }
}

/// A text that isn't a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a log id is written as a UUID")]
pub struct LogIdParseError;

impl FromStr for LogId {
    type Err = LogIdParseError;

    fn from_str(text: &str) -> Result<Self, LogIdParseError> {
        uuid::Uuid::parse_str(text).map(|id| LogId(*id.as_bytes())).map_err(|_| LogIdParseError)
    }
}

/// Names one opening for writing. Informative: a higher counter whose chain continues is normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// One more than the highest the log held when it was opened.
    pub counter: u64,
    /// Given by the caller at opening; tells two openings with one counter apart.
    pub random: u64,
}

/// The caller's digest of the state after a frame. The log only adds (wrapping) what each append brings and seals the sum.
pub type StateDigest = u128;

/// A place between two frames: the reader delivers what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last seq that was consumed: a frame's end, or [`Seq::ZERO`].
    pub seq: Seq,
    /// The chain there, when known; then a rewritten log is noticed. Frames without records (checkpoints) move the chain and not the seq.
    pub chain: Option<Chain>,
}

impl Cursor {
    /// The place before the first record.
    pub const START: Cursor = Cursor { seq: Seq::ZERO, chain: None };
}

/// The durable end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The durable watermark.
    pub seq: Seq,
    /// The chain there.
    pub chain: Chain,
    /// The state digest there.
    pub digest: StateDigest,
    /// The logged time of the last durable append, µs since 1970 in UTC; 0 in an empty log.
    pub logged_at_us: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_survives_its_text() {
        let chain = Chain::genesis(LogId::new([7; 16]));
        assert_eq!(chain.to_string().parse(), Ok(chain));
        assert_eq!("0".repeat(63).parse::<Chain>(), Err(ChainParseError));
        assert_eq!("g".repeat(64).parse::<Chain>(), Err(ChainParseError));
    }

    #[test]
    fn log_id_is_a_uuid_v7_and_survives_its_text() {
        let id = LogId::from_parts(1_700_000_000_000_000, [9; 10]);
        let text = id.to_string();
        assert_eq!(&text[14..15], "7", "{text}");
        assert_eq!(text.parse(), Ok(id));
        assert_ne!(Chain::genesis(id), Chain::genesis(LogId::new([0; 16])));
    }
}
