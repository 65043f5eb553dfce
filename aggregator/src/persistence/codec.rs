//! Bytes of a store's file: hand-coded varints, since every cell passes here. The containers' crcs
//! guard these bytes; every field is validated again all the same.
//!
//! ```text
//! state    1 · url · epoch · trusted from · flags (1 compared, 2 paused) · difference 16 ·
//!          verified seq + 1 or 0 · quarantine · as of, last contact i64 (-1 = none) ·
//!          marks: count · (sku · since · latest · flags (1 renewed, 2 names unknown, 4 contradicted))*
//! cell     sku · flags · version · 7 quantities · seq · metadata at i64 · metadata hash u64 ·
//!          name, category, location, unit
//! letter   seq · sku · version · reason · record · first seen, last tried i64 · tries · healed by
//! ```
//! Numbers are LEB128 varints unless a size is given; texts and bytes follow their length.

use std::collections::BTreeMap;

use event_log::Seq;
use event_log::snapshot::SnapshotHeader;
use shared::cell::{Cell, Flags, Quantities, Version};
use shared::codec::{DecodeError, VarintReader, put_varint};
use shared::{Metadata, Quantity, Sku, StoreId, Timestamp};

use super::SavedStore;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::follower::marks::Mark;
use crate::follower::{FollowerState, MARKS_MAX, Position};
use crate::view::{Held, MetadataTexts};

const STATE_SCHEMA: u8 = 1;
const COMPARED: u8 = 1;
const PAUSED: u8 = 1 << 1;
const RENEWED: u8 = 1;
const NAMES_UNKNOWN: u8 = 1 << 1;
const CONTRADICTED: u8 = 1 << 2;
const NO_TIME: i64 = -1;

pub(super) fn encode_state(saved: &SavedStore) -> Vec<u8> {
    let state = &saved.state;
    let mut out = vec![STATE_SCHEMA];
    put_bytes(&mut out, saved.url.as_bytes());
    put_varint(&mut out, state.epoch);
    put_varint(&mut out, state.trusted_from.get());
    out.push(flag(state.compared, COMPARED) | flag(saved.paused, PAUSED));
    out.extend_from_slice(&state.difference.to_le_bytes());
    put_varint(&mut out, state.verified_seq.map_or(0, |seq| seq.get() + 1));
    put_bytes(&mut out, saved.quarantine.as_deref().unwrap_or("").as_bytes());
    for time in [saved.as_of, saved.last_contact_at] {
        put_i64(&mut out, time.map_or(NO_TIME, Timestamp::as_micros));
    }
    put_varint(&mut out, state.marks.len() as u64);
    for (sku, mark) in &state.marks {
        put_bytes(&mut out, sku.as_str().as_bytes());
        put_varint(&mut out, mark.since.get());
        put_varint(&mut out, mark.latest.get());
        out.push(
            flag(mark.renewed, RENEWED)
                | flag(mark.names_unknown, NAMES_UNKNOWN)
                | flag(mark.contradicted, CONTRADICTED),
        );
    }
    out
}

pub(super) fn decode_state(
    mut reader: VarintReader<'_>,
    header: &SnapshotHeader,
    store_id: &StoreId,
) -> Result<SavedStore, DecodeError> {
    if reader.byte("schema")? != STATE_SCHEMA {
        return Err(DecodeError::Invalid("schema"));
    }
    let url = reader.text("url")?.to_owned();
    let epoch = reader.varint("epoch")?;
    let trusted_from = Seq::new(reader.varint("trusted from")?);
    let flags = reader.byte("flags")?;
    let mut difference = [0; 16];
    difference.copy_from_slice(reader.slice(16, "difference")?);
    let verified_seq = reader.varint("verified seq")?.checked_sub(1).map(Seq::new);
    let quarantine = reader.text("quarantine")?;
    let quarantine = (!quarantine.is_empty()).then(|| quarantine.to_owned());
    let as_of = read_time(&mut reader)?;
    let last_contact_at = read_time(&mut reader)?;
    let marks = decode_marks(&mut reader)?;
    reader.finish()?;
    let state = FollowerState {
        log_id: header.log_id,
        position: Position { seq: header.lo, chain: header.chain },
        digest: header.state_digest,
        trusted_from,
        compared: flags & COMPARED != 0,
        difference: u128::from_le_bytes(difference),
        verified_seq,
        marks,
        epoch,
        logged_at: Timestamp::from_micros(header.logged_at_us),
    };
    Ok(SavedStore {
        store_id: store_id.clone(),
        url,
        state,
        quarantine,
        paused: flags & PAUSED != 0,
        as_of,
        last_contact_at,
        letters: DeadLetters::default(),
    })
}

fn decode_marks(reader: &mut VarintReader<'_>) -> Result<BTreeMap<Sku, Mark>, DecodeError> {
    let count = reader.varint("count of marks")?;
    if count > MARKS_MAX as u64 {
        return Err(DecodeError::Invalid("count of marks"));
    }
    let mut marks = BTreeMap::new();
    for _ in 0..count {
        let sku = read_sku(reader)?;
        let since = Seq::new(reader.varint("since")?);
        let latest = Seq::new(reader.varint("latest")?);
        let flags = reader.byte("mark")?;
        let mark = Mark {
            since,
            latest,
            renewed: flags & RENEWED != 0,
            names_unknown: flags & NAMES_UNKNOWN != 0,
            contradicted: flags & CONTRADICTED != 0,
        };
        marks.insert(sku, mark);
    }
    Ok(marks)
}

pub(super) fn encode_cell(out: &mut Vec<u8>, sku: &Sku, held: &Held, texts: &MetadataTexts<'_>) {
    put_bytes(out, sku.as_str().as_bytes());
    out.push(held.cell.flags.bits());
    put_varint(out, held.cell.version.get());
    for quantity in held.cell.quantities.to_array() {
        put_varint(out, quantity.get());
    }
    put_varint(out, held.seq);
    put_i64(out, held.metadata_at.as_micros());
    // The hash is kept beside the texts: of a marked cell it may be older than they are.
    out.extend_from_slice(&held.cell.metadata_hash.to_le_bytes());
    for text in [texts.name, texts.category, texts.location, texts.unit] {
        put_bytes(out, text.as_bytes());
    }
}

pub(super) fn decode_cell(
    reader: &mut VarintReader<'_>,
) -> Result<(Sku, Held, Metadata), DecodeError> {
    let sku = read_sku(reader)?;
    let flags = Flags::from_bits(reader.byte("flags")?);
    let version = Version::new(reader.varint("version")?);
    let mut array = [Quantity::ZERO; 7];
    for quantity in &mut array {
        *quantity = reader.quantity("quantities")?;
    }
    let seq = reader.varint("seq")?;
    let metadata_at = Timestamp::from_micros(reader.i64("metadata at")?);
    let metadata_hash = reader.i64("metadata hash")? as u64;
    let metadata = Metadata {
        name: reader.text("name")?.into(),
        category: reader.text("category")?.into(),
        location: reader.text("location")?.into(),
        unit: reader.text("unit")?.into(),
    };
    let quantities = Quantities::from_array(array);
    let cell = Cell { version, quantities, flags, metadata_hash };
    Ok((sku, Held { cell, seq, metadata_at }, metadata))
}

pub(super) fn encode_letter(out: &mut Vec<u8>, letter: &DeadLetter) {
    put_varint(out, letter.seq.get());
    put_bytes(out, letter.sku.as_str().as_bytes());
    put_varint(out, letter.version);
    put_bytes(out, letter.reason.as_bytes());
    put_bytes(out, &letter.record);
    put_i64(out, letter.first_seen_at.as_micros());
    put_i64(out, letter.last_tried_at.as_micros());
    put_varint(out, u64::from(letter.tries));
    put_varint(out, letter.healed_by.get());
}

pub(super) fn decode_letter(reader: &mut VarintReader<'_>) -> Result<DeadLetter, DecodeError> {
    let seq = Seq::new(reader.varint("seq")?);
    let sku = read_sku(reader)?;
    let version = reader.varint("version")?;
    let reason = reader.text("reason")?.to_owned();
    let length = usize::try_from(reader.varint("record")?);
    let record = reader.slice(length.map_err(|_| DecodeError::Invalid("record"))?, "record")?;
    let record = record.to_vec();
    let first_seen_at = Timestamp::from_micros(reader.i64("first seen")?);
    let last_tried_at = Timestamp::from_micros(reader.i64("last tried")?);
    let tries =
        u32::try_from(reader.varint("tries")?).map_err(|_| DecodeError::Invalid("tries"))?;
    let healed_by = Seq::new(reader.varint("healed by")?);
    Ok(DeadLetter {
        seq,
        sku,
        version,
        reason,
        record,
        first_seen_at,
        last_tried_at,
        tries,
        healed_by,
    })
}

fn flag(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_i64(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn read_time(reader: &mut VarintReader<'_>) -> Result<Option<Timestamp>, DecodeError> {
    let micros = reader.i64("time")?;
    Ok((micros != NO_TIME).then(|| Timestamp::from_micros(micros)))
}

fn read_sku(reader: &mut VarintReader<'_>) -> Result<Sku, DecodeError> {
    Sku::new(reader.text("sku")?).map_err(|_| DecodeError::Invalid("sku"))
}
