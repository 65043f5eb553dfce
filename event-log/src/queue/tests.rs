//! Tests of the queue: what is accepted always has a place, and what has none is refused with the right word.

use super::*;
use crate::frame::FRAME_HEADER_BYTES;
use crate::seq::Chain;
use crate::storage::sim::SimStorage;

const ALIGNMENT: u64 = 512;
const SEGMENT_BYTES: u64 = 16 * 1024;

struct World {
    storage: SimStorage,
    limits: Limits,
    queue: Queue<SimStorage>,
    empty: Batch,
    spares: u64,
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            alignment: ALIGNMENT as u32,
            segment_bytes: SEGMENT_BYTES,
            frame_bytes_max: 1 << 20,
            spare_segments: 2,
            disk_floor_bytes: 0,
            checkpoint_after_ms: 1000,
        };
        let tip = Tip { seq: Seq::ZERO, chain: Chain::new([0; 32]), digest: 5, logged_at_us: 100 };
        let room = Room { offset: 4096, capacity: SEGMENT_BYTES };
        let queue = Queue::new(&tip, Seq::new(1), room, &limits);
        World { storage: SimStorage::new(1), limits, queue, empty: Batch::new(), spares: 0 }
    }

    fn append(&mut self, bytes: usize) -> Result<SeqRange, AppendError> {
        let mut records = RecordBuffer::new();
        records.push(&vec![7; bytes - 4]);
        self.queue.append(&records, 0, 1, &self.limits)
    }

    fn add_spare(&mut self, bytes: u64) {
        self.spares += 1;
        let spare = Spare::make(&self.storage, self.spares, bytes).unwrap();
        self.queue.add_spare(spare, &self.limits);
    }

    /// Takes the batch, checks that its frame and the trailers after it are inside, and gives its place.
    fn take(&mut self) -> Option<(Option<u64>, u64)> {
        let before = self.queue.room;
        let taken = self.queue.take(&mut self.empty, &self.limits)?;
        let end = taken.offset + align_up(self.empty.bytes.len() as u64, ALIGNMENT as u32);
        let rotated = taken.rotate_to.map(|spare| spare.bytes);
        let capacity = rotated.unwrap_or(before.capacity);
        assert!(
            end + TRAILER_FRAMES * ALIGNMENT <= capacity,
            "a frame to {end} in {capacity} bytes"
        );
        assert!(rotated.is_some() || taken.offset == before.offset, "frames follow one another");
        self.empty.clear();
        Some((rotated, taken.offset))
    }

    /// Appends until the queue refuses; what it says then.
    fn fill(&mut self, bytes: usize) -> AppendError {
        for _ in 0..1000 {
            if let Err(error) = self.append(bytes) {
                return error;
            }
        }
        panic!("it never refuses");
    }
}

#[test]
fn a_batch_carries_seqs_digest_and_the_latest_time() {
    let mut world = World::new();
    let mut records = RecordBuffer::new();
    records.push(b"one");
    records.push(b"two");
    let limits = &world.limits;
    let appended = world.queue.append(&records, 300, 10, limits).unwrap();
    assert_eq!((appended.first, appended.last), (Seq::new(1), Seq::new(2)));
    records.clear();
    records.push(b"three");
    assert_eq!(world.queue.append(&records, 200, 20, limits).unwrap().first, Seq::new(3));
    let taken = world.queue.take(&mut world.empty, limits).unwrap();
    assert_eq!((taken.first_seq, taken.digest, taken.logged_at_us), (Seq::new(1), 35, 300));
    assert_eq!(
        (world.empty.record_count, world.empty.bytes.len()),
        (3, FRAME_HEADER_BYTES + 7 + 7 + 9)
    );
    world.empty.clear();
    assert!(world.queue.take(&mut world.empty, limits).is_none(), "nothing is taken twice");
    assert_eq!(world.append(10).unwrap().first, Seq::new(4));
    assert_eq!(world.queue.take(&mut world.empty, &world.limits).unwrap().first_seq, Seq::new(4));
}

#[test]
fn without_usable_spares_the_active_segment_is_all_there_is() {
    for spares in 0..=1 {
        let mut world = World::new();
        (0..spares).for_each(|_| world.add_spare(SEGMENT_BYTES));
        assert_eq!(
            world.fill(1000),
            AppendError::Busy,
            "{spares} spares, of which one is reserved"
        );
        assert_eq!(world.take().unwrap(), (None, 4096));
        assert_eq!(
            world.append(8000),
            Err(AppendError::Busy),
            "only the reserved spare would have room"
        );
        assert_eq!(world.queue.spare_count(), spares);
    }
}

#[test]
fn a_usable_spare_takes_what_the_active_segment_cannot() {
    let mut world = World::new();
    world.append(6000).unwrap();
    world.take().unwrap();
    assert_eq!(world.append(8000), Err(AppendError::Busy));
    world.add_spare(SEGMENT_BYTES);
    world.add_spare(SEGMENT_BYTES);
    assert_eq!(world.append(8000).unwrap().first, Seq::new(2));
    assert_eq!(world.take().unwrap(), (Some(SEGMENT_BYTES), 4096));
    assert_eq!(world.queue.spare_count(), 1);
    assert_eq!(world.queue.spare_wanted(&world.limits), Some(SEGMENT_BYTES));
}

#[test]
fn an_append_larger_than_a_segment_gets_one_of_its_size() {
    let mut world = World::new();
    world.append(100).unwrap();
    world.take().unwrap();
    assert_eq!(world.append(60_000), Err(AppendError::Busy));
    // Bounded: the large one and two ordinary ones.
    for _ in 0..3 {
        let Some(bytes) = world.queue.spare_wanted(&world.limits) else { break };
        world.add_spare(bytes);
    }
    assert_eq!(world.queue.spare_wanted(&world.limits), None);
    world.append(60_000).unwrap();
    let (rotated, offset) = world.take().unwrap();
    assert!(rotated.unwrap() > SEGMENT_BYTES && offset == 4096);
}

#[test]
fn a_segment_without_records_is_outgrown_behind_its_trailers() {
    let mut world = World::new();
    assert_eq!(world.queue.take_trailer(1, &world.limits), Some(4096));
    assert_eq!(world.append(60_000), Err(AppendError::Busy));
    let wanted = world.queue.spare_wanted(&world.limits).unwrap();
    world.add_spare(SEGMENT_BYTES);
    world.add_spare(wanted);
    world.append(60_000).unwrap();
    // The larger file keeps the name, so the trailer comes along and the frame begins behind it.
    assert_eq!(world.take().unwrap(), (Some(wanted), 4096 + ALIGNMENT));
}

#[test]
fn a_shortage_shuts_the_gate_and_room_opens_it() {
    let mut world = World::new();
    let shortage = Shortage::NoSpace { reason: "full".into() };
    world.queue.note_shortage(shortage.clone());
    assert_eq!(world.append(60_000), Err(AppendError::NoSpace), "an oversize append finds no room");
    assert_eq!(world.queue.gate, Gate::Open, "and leaves the others theirs");
    assert_eq!(world.fill(1000), AppendError::Busy, "the batch will be gone in a moment");
    world.take().unwrap();
    assert_eq!(world.fill(4000), AppendError::NoSpace);
    assert_eq!(world.queue.gate, Gate::Shut(shortage));
    assert_eq!(world.append(10), Err(AppendError::NoSpace), "read-only is for everyone");
    world.add_spare(SEGMENT_BYTES);
    world.add_spare(SEGMENT_BYTES);
    assert_eq!(world.queue.gate, Gate::Open);
    world.append(4000).unwrap();
}

#[test]
fn another_shortage_than_space_says_so() {
    let mut world = World::new();
    world.queue.note_shortage(Shortage::Io { reason: "a broken disk".into() });
    let refused = world.append(SEGMENT_BYTES as usize - 4096);
    assert_eq!(refused, Err(AppendError::ReadOnly { reason: "a broken disk".into() }));
}

#[test]
fn a_closed_and_a_poisoned_gate_stay_so() {
    let poisoned = Gate::Poisoned { reason: "eio".into() };
    let cases = [
        (Gate::Closed, AppendError::Closed),
        (poisoned, AppendError::Poisoned { reason: "eio".into() }),
    ];
    for (gate, expected) in cases {
        let mut world = World::new();
        world.queue.gate = gate.clone();
        assert_eq!(world.queue.spare_wanted(&world.limits), None);
        world.add_spare(SEGMENT_BYTES);
        world.add_spare(SEGMENT_BYTES);
        assert_eq!(world.append(10), Err(expected));
        assert_eq!((&world.queue.gate, world.queue.last), (&gate, Seq::ZERO));
    }
}

#[test]
fn records_never_take_the_trailers_room() {
    let mut world = World::new();
    for bytes in [4000, 1000, 300, 100] {
        while world.append(bytes).is_ok() {
            world.take().unwrap();
        }
    }
    assert!(world.queue.take_trailer(1, &world.limits).is_some(), "a checkpoint");
    assert_eq!(
        world.queue.take_trailer(1, &world.limits),
        None,
        "a second one would take the close frame's"
    );
    assert!(world.queue.take_trailer(0, &world.limits).is_some(), "a close frame");
    assert_eq!(world.queue.take_trailer(0, &world.limits), None);
}

/// Many sizes in an order nobody chose: [`World::take`] checks every place.
#[test]
fn whatever_is_accepted_has_a_place() {
    let mut world = World::new();
    let mut random: u64 = 1;
    let (mut accepted, mut rotations) = (0, 0);
    for step in 0..5000 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (random >> 33) % 8 {
            0..=3 => {
                accepted += u32::from(world.append(4 + (random >> 40) as usize % 9000).is_ok());
            }
            4..=5 => rotations += u32::from(matches!(world.take(), Some((Some(_), _)))),
            6 if world.queue.batch.is_empty() => {
                let _ = world.queue.take_trailer(step % 2, &world.limits);
            }
            _ => {
                if let Some(bytes) = world.queue.spare_wanted(&world.limits) {
                    world.add_spare(bytes);
                }
            }
        }
    }
    assert!(accepted > 500 && rotations > 100, "{accepted} accepted, {rotations} rotations");
}

#[test]
fn a_released_spare_is_never_one_the_batch_needs() {
    let mut world = World::new();
    world.add_spare(SEGMENT_BYTES);
    world.add_spare(SEGMENT_BYTES);
    world.append(6000).unwrap();
    world.take().unwrap();
    world.append(8000).unwrap();
    assert!(world.queue.release_spare(&world.limits).is_none());
    world.take().unwrap();
    assert!(world.queue.release_spare(&world.limits).is_some());
}
