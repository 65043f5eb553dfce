//! What a node tells about its log, consumers and health. Numbers of bytes and seqs only; nothing
//! here decides anything.

use std::borrow::Cow;
use std::fmt;

use garde::Validate;
use serde::{Deserialize, Serialize};

use super::rules::NUMBER_MAX;
use crate::time::Timestamp;
use crate::wire::body::rule_error;

/// A segment of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentView {
    /// Its file, relative to the data directory.
    pub file: String,
    /// Its first seq.
    pub first: u64,
    /// Its last seq; below `first` while it is empty.
    pub last: u64,
    /// Its bytes on disk.
    pub bytes: u64,
    /// Whether it lies in the archive.
    pub archived: bool,
}

/// A verified snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotView {
    /// Its file, relative to the data directory.
    pub file: String,
    /// Everything up to here is in it.
    pub lo: u64,
    /// Nothing behind this is in it.
    pub hi: u64,
    /// Its bytes.
    pub bytes: u64,
    /// When it was begun.
    pub created_at: Timestamp,
}

/// Who tails the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerView {
    /// Its name.
    pub id: String,
    /// Everything up to here it has durably applied.
    pub seq: u64,
    /// The log's chain there, in hexadecimal.
    pub chain: String,
    /// When it said so.
    pub acknowledged_at: Timestamp,
    /// Events behind the watermark.
    pub lag_events: u64,
    /// Bytes of the log behind the watermark, to about 64 KiB.
    pub lag_bytes: u64,
    /// Until when a snapshot it downloads keeps the log behind it from being compacted.
    pub pinned_until: Option<Timestamp>,
    /// Since when it hasn't said anything, in ms, while it is behind.
    pub lag_ms: u64,
}

/// All consumers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerList {
    /// By id.
    pub consumers: Vec<ConsumerView>,
}

/// `PUT /api/log/consumers/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(rename = "a consumer", rename_all = "camelCase", deny_unknown_fields)]
pub struct AcknowledgeBody<'a> {
    /// Everything up to here is durably applied.
    #[garde(range(min = 0, max = NUMBER_MAX))]
    pub seq: i64,
    /// The log's chain there, 64 hexadecimal digits.
    #[serde(borrow)]
    #[garde(custom(hex_chain))]
    pub chain: Cow<'a, str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes a reference to its context")]
fn hex_chain(text: &str, (): &()) -> garde::Result {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(rule_error("hex", "must be 64 hexadecimal digits"))
    }
}

/// `GET /api/sync/status` of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSyncStatus {
    /// The store.
    pub store_id: String,
    /// The log.
    pub log_id: String,
    /// Which opening of the log this is.
    pub epoch: u64,
    /// Logged time of this answer.
    pub as_of: Timestamp,
    /// The watermark: everything up to here is durable.
    pub durable_seq: u64,
    /// The highest seq given out.
    pub last_seq: u64,
    /// The chain at the watermark, in hexadecimal.
    pub chain: String,
    /// The state digest at the watermark, in hexadecimal.
    pub digest: String,
    /// `writable`, `readOnly`, `poisoned` or `closed`.
    pub state: &'static str,
    /// Why, unless it is writable.
    pub reason: Option<String>,
    /// Damage that is known of, in the order of the log.
    pub damages: Vec<DamageView>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentView>,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotView>,
    /// The consumers, by id.
    pub consumers: Vec<ConsumerView>,
}

/// A range of bytes that can't be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DamageView {
    /// The file, relative to the data directory.
    pub file: String,
    /// Where it begins, bytes.
    pub offset: u64,
    /// How long it is, bytes; 0 when something is missing.
    pub length: u64,
    /// The first seq it concerns.
    pub first_seq: u64,
    /// The last seq it concerns; none when unknown.
    pub last_seq: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for DamageView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, length, first_seq, last_seq, what } = self;
        write!(f, "{file}, bytes {offset} to {}: {what}, from seq {first_seq}", offset + length)?;
        if let Some(last) = last_seq { write!(f, " to {last}") } else { Ok(()) }
    }
}

/// One part of a node's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckView {
    /// `ok`, `degraded` or `failed`.
    pub status: &'static str,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where what is wrong lies, if it is damage on disk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damages: Vec<DamageView>,
}

impl CheckView {
    /// Nothing is wrong.
    pub const fn ok() -> Self {
        Self { status: "ok", reason: None, damages: Vec::new() }
    }

    /// Something doesn't work, the rest goes on.
    pub const fn degraded(reason: String) -> Self {
        Self { status: "degraded", reason: Some(reason), damages: Vec::new() }
    }

    /// It doesn't work.
    pub const fn failed(reason: String) -> Self {
        Self { status: "failed", reason: Some(reason), damages: Vec::new() }
    }
}

/// `GET /api/health` of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeHealth<'a> {
    /// The worst of the checks.
    pub status: &'static str,
    /// Whether the node takes writes.
    pub ready: bool,
    /// Whether it was started for reading only, or is for now, as `log` says.
    pub read_only: bool,
    /// `store-node`.
    pub service: &'static str,
    /// The version of this build.
    pub version: &'static str,
    /// The commit of this build, where it is known.
    pub commit: &'static str,
    /// The store.
    pub store_id: &'a str,
    /// The log.
    pub log_id: String,
    /// Which opening of the log this is.
    pub epoch: u64,
    /// The log's format version.
    pub format: u16,
    /// Logged time of this answer.
    pub as_of: Timestamp,
    /// The log.
    pub log: CheckView,
    /// The disk.
    pub disk: CheckView,
    /// The consumers.
    pub sync: CheckView,
}
