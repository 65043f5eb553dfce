//! The checker: what an open log says against what the model knows.

use std::collections::BTreeSet;
use std::sync::Arc;

use event_log::storage::Storage;
use event_log::{Chain, Cursor, CursorError, Log, ReadError, Seq};

use super::{World, digest_up_to, ensure};

impl World {
    /// After opening: a prefix, holding at least what was acknowledged, ending between two appends.
    pub(super) fn check_opened(&mut self) -> Result<(), String> {
        let log = Arc::clone(self.log());
        let last = log.last().get() as usize;
        ensure!(log.durable() == log.last(), "opened with {} durable of {last}", log.durable());
        let (acknowledged, appended) = (self.model.acknowledged, self.model.records.len());
        ensure!(
            last >= acknowledged,
            "opened with {last} records, {acknowledged} were acknowledged"
        );
        ensure!(last <= appended, "opened with {last} records, {appended} were appended");
        ensure!(
            last == 0 || self.model.ends.contains(&last),
            "opened with {last} records: part of an append"
        );
        self.model.records.truncate(last);
        self.model.ends.split_off(&(last + 1));
        self.model.acknowledged = last;
        self.check()
    }

    /// Everything durable is what the model says; all that is derived from it is consistent.
    pub(crate) fn check(&self) -> Result<(), String> {
        let log = self.log();
        let tip = log.tip();
        let durable = tip.seq.get() as usize;
        let digest = digest_up_to(&self.model.records, durable);
        ensure!(tip.digest == digest, "the state digest at {durable} is another one");
        let (first, records, chain) = read_all(log).map_err(|error| format!("reading: {error}"))?;
        ensure!(
            first <= self.model.deleted_to + 1,
            "begins at {first}, nothing above {} may go",
            self.model.deleted_to
        );
        let expected = &self.model.records[first as usize - 1..durable];
        ensure!(records == expected, "other records than were appended, from {first} to {durable}");
        ensure!(chain == tip.chain, "the chain at the tip is another one");
        let count = (durable as u64 + 1 - first).min(1000) as u32;
        let from = durable as u64 + 1 - u64::from(count);
        if count > 0 {
            let read = log
                .read_records(Seq::new(from), count)
                .map_err(|error| format!("read_records: {error}"))?;
            ensure!(
                read == self.model.records[from as usize - 1..durable],
                "read_records gives other records"
            );
        }
        self.check_snapshots(durable)?;
        self.check_consumers()?;
        let report = event_log::verify(&self.storage, &mut |_, _| {})
            .map_err(|error| format!("verify: {error}"))?;
        ensure!(report.is_sound(), "verify found {:?}", report.damages);
        ensure!(report.last.get() as usize >= durable, "verify ends at {}", report.last);
        Ok(())
    }

    fn check_snapshots(&self, durable: usize) -> Result<(), String> {
        let list = self.log().list_snapshots().map_err(|error| format!("snapshots: {error}"))?;
        ensure!(list.damaged.is_empty(), "damaged snapshots {:?}", list.damaged);
        for info in &list.valid {
            ensure!(
                info.hi().get() as usize <= durable,
                "a snapshot to {} of a log to {durable}",
                info.hi()
            );
            let digest = digest_up_to(&self.model.records, info.lo().get() as usize);
            let mut reader = self.log().open_snapshot(info).map_err(|error| format!("{error}"))?;
            let section = reader.next_section().map_err(|error| format!("{error}"))?;
            let bytes = section.map(|section| section.bytes);
            ensure!(
                bytes.as_deref() == Some(&digest.to_le_bytes()[..]),
                "{} holds another state",
                info.file
            );
            ensure!(info.footer.items_digest == digest, "{} has another items digest", info.file);
        }
        let files: BTreeSet<String> = list.valid.into_iter().map(|info| info.file).collect();
        ensure!(
            files.is_superset(&self.model.snapshots),
            "lost one of {:?}: {files:?}",
            self.model.snapshots
        );
        Ok(())
    }

    fn check_consumers(&self) -> Result<(), String> {
        let log = self.log();
        ensure!(log.consumers_problem().is_none(), "{:?}", log.consumers_problem());
        let consumers = log.consumers();
        for (id, seq) in &self.model.cursors {
            let found = consumers.iter().find(|consumer| consumer.id == *id);
            ensure!(
                found.is_some_and(|consumer| consumer.seq.get() >= *seq),
                "{id} is at {found:?}, said {seq}"
            );
        }
        for consumer in consumers {
            ensure!(consumer.seq <= log.durable(), "{consumer:?} is beyond the log");
            let cursor = Cursor { seq: consumer.seq, chain: Some(consumer.chain) };
            log.reader(cursor).map_err(|error| format!("{consumer:?} can't go on: {error}"))?;
        }
        Ok(())
    }
}

/// The first seq that is still there, every record from it on, and the chain at the end.
pub(crate) fn read_all<S: Storage>(log: &Log<S>) -> Result<(u64, Vec<Vec<u8>>, Chain), String> {
    let mut first = 1;
    let mut reader = match log.reader(Cursor::START) {
        Ok(reader) => reader,
        Err(CursorError::Compacted { resume_from }) => {
            first = resume_from.get();
            let cursor = Cursor { seq: resume_from.previous(), chain: None };
            log.reader(cursor).map_err(|error| error.to_string())?
        }
        Err(error) => return Err(error.to_string()),
    };
    let mut records = Vec::new();
    let mut chain: Option<Chain> = None;
    loop {
        let frame = reader.next().map_err(|error: ReadError| error.to_string())?;
        let Some(frame) = frame else { break };
        let links = chain.is_none_or(|chain| event_log::verify_chain(&chain, frame));
        ensure!(links, "the chain breaks at {}", frame.header.first_seq);
        chain = Some(frame.header.chain);
        for (seq, record) in frame.records() {
            ensure!(seq.get() == first + records.len() as u64, "{seq} is out of order");
            records.push(record.to_vec());
        }
    }
    Ok((first, records, chain.unwrap_or(log.tip().chain)))
}
