//! Long files made durable as they are written and not at their end.
//!
//! A disk works off what it is given more or less in order: a frame that is synced while a gigabyte
//! of snapshot lies in the queue waits for that gigabyte, and so does every writer of the store.
//! Nothing here may make a caller believe that bytes are durable: whoever needs that syncs at the end.

use std::io;

use super::StorageFile;

/// How many bytes a long file may be ahead of the disk, and a frame has to wait for.
pub(crate) const AHEAD_BYTES_MAX: u64 = 512 << 10;

/// What of a file may still be on its way to the disk.
#[derive(Debug, Default)]
pub(crate) struct Gradual {
    ahead_bytes: u64,
}

impl Gradual {
    /// Writes all of `bytes` at `offset`, and waits for the disk where it has fallen behind. After
    /// an error nothing is known about the file.
    pub(crate) fn write_at(
        &mut self,
        file: &impl StorageFile,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        file.write_at(bytes, offset)?;
        self.ahead_bytes += bytes.len() as u64;
        if self.ahead_bytes >= AHEAD_BYTES_MAX {
            self.ahead_bytes = 0;
            file.sync_data()?;
        }
        Ok(())
    }
}

/// The most bytes of a file that a simulated disk was ever given without being asked to keep them.
#[cfg(test)]
pub(crate) fn most_ahead_bytes(storage: &super::sim::SimStorage, path: &str) -> u64 {
    use super::sim::Operation;

    let (mut ahead, mut most) = (0, 0);
    for operation in (0..storage.op_count()).filter_map(|index| storage.operation(index)) {
        match operation {
            Operation::Write(file, _, bytes) if file == path => {
                ahead += bytes;
                most = most.max(ahead);
            }
            Operation::SyncData(file) if file == path => ahead = 0,
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::super::sim::{Fault, SimStorage};
    use super::super::{OpenMode, Storage};
    use super::*;

    const PIECE: usize = 300 << 10;

    #[test]
    fn a_long_file_is_never_far_ahead_of_the_disk() {
        let storage = SimStorage::new(1);
        let file = storage.open("long", OpenMode::CreateNew).unwrap();
        let (mut gradual, piece) = (Gradual::default(), vec![7; PIECE]);
        for index in 0..40 {
            gradual.write_at(&file, &piece, index * PIECE as u64).unwrap();
        }
        let most = most_ahead_bytes(&storage, "long");
        assert!((1..AHEAD_BYTES_MAX + PIECE as u64).contains(&most), "{most}");
    }

    #[test]
    fn a_sync_that_fails_on_the_way_is_an_error() {
        let storage = SimStorage::new(1);
        let file = storage.open("long", OpenMode::CreateNew).unwrap();
        storage.fail_at(storage.op_count() + 1, Fault::Eio);
        let piece = vec![7; AHEAD_BYTES_MAX as usize];
        assert!(Gradual::default().write_at(&file, &piece, 0).is_err());
    }
}
