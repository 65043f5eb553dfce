//! What a node tells about its log, consumers and health. Numbers of bytes and seqs only; nothing
//! here decides anything.

use std::borrow::Cow;

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
    /// The segments, oldest first.
    pub segments: Vec<SegmentView>,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotView>,
    /// The consumers, by id.
    pub consumers: Vec<ConsumerView>,
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
}

/// `GET /api/health` of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeHealth<'a> {
    /// The worst of the checks.
    pub status: &'static str,
    /// Whether the node takes writes.
    pub ready: bool,
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
