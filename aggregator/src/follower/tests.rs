//! The follower against honest and lying nodes.

mod properties;

use shared::command::ItemPatch;
use shared::receipt::{LineOutcome, RequestShape};
use shared::{KeyClaim, Receipt};

use super::*;
use crate::testing::{LOG_ID, Node, create, sell, sku, units};
use crate::view::MemoryView;
use shared::command::Action;

fn follower() -> Follower<MemoryView> {
    let view = MemoryView::default();
    let slot = view.open_slot();
    Follower::new(view, slot, FollowerState::at_beginning(LOG_ID))
}

fn held(follower: &Follower<MemoryView>, text: &str) -> Held {
    follower.view.held(&follower.slot, &sku(text))
}

/// What is held is what the node has, and the running digest is that of the cells.
fn assert_equal(follower: &Follower<MemoryView>, node: &Node) {
    for (sku, (item, seq)) in &node.items {
        let held = follower.view.held(&follower.slot, sku);
        assert_eq!((&held.cell, held.seq), (item.cell(), *seq), "{sku}");
    }
    assert_eq!(follower.state.digest, digest_of_slot(&follower.view, &follower.slot));
    assert_eq!(follower.state.digest, node.digest);
    assert_eq!(follower.state.position, Position { seq: Seq::new(node.seq), chain: node.chain });
}

/// The frame is refused so, and nothing of it is seen.
fn assert_refused(follower: &mut Follower<MemoryView>, frame: &Frame) -> Divergence {
    let before = (follower.state.clone(), digest_of_slot(&follower.view, &follower.slot));
    let divergence = follower.absorb(frame).expect_err("a lie is found");
    assert_eq!((follower.state.clone(), digest_of_slot(&follower.view, &follower.slot)), before);
    divergence
}

fn stocked() -> (Node, Follower<MemoryView>) {
    let (mut node, mut follower) = (Node::new(), follower());
    let frame = node.commit(&[("A", create(10)), ("B", create(5)), ("A", sell(1))]);
    let absorbed = follower.absorb(&frame).unwrap();
    assert_eq!((absorbed.applied, follower.state.is_verified()), (3, true));
    (node, follower)
}

#[test]
fn follows_frames_checkpoints_and_keep_alives() {
    let (mut node, mut follower) = stocked();
    let checkpoint = node.checkpoint();
    follower.absorb(&checkpoint).unwrap();
    follower.absorb(&node.keep_alive()).unwrap();
    assert_eq!(follower.absorb(&checkpoint), Ok(Absorbed::default()), "the same again is nothing");
    let frame = node.commit(&[("B", sell(2)), ("C", create(0))]);
    follower.absorb(&frame).unwrap();
    assert_equal(&follower, &node);
    assert_eq!(follower.absorb(&frame).unwrap().skipped, 2);
    assert_equal(&follower, &node);
    assert_eq!(follower.state.verified_seq, Some(Seq::new(5)));
}

#[test]
fn an_empty_log_is_verified_by_its_keep_alive() {
    let (node, mut follower) = (Node::new(), follower());
    assert!(!follower.state.is_verified());
    follower.absorb(&node.keep_alive()).unwrap();
    assert!(follower.state.is_verified());
}

#[test]
fn a_wrong_digest_is_refused_with_the_whole_frame() {
    let (mut node, mut follower) = stocked();
    let events = node.events(&[("A", sell(1))]);
    node.digest ^= 1;
    let frame = node.seal(FrameKind::Data, &Node::records(&events));
    let divergence = assert_refused(&mut follower, &frame);
    assert!(matches!(divergence, Divergence::DigestMismatch { at, .. } if at == Seq::new(4)));
    assert!(follower.state.is_verified(), "what is held is still what seq 3 sealed");
}

#[test]
fn a_keep_alive_with_a_wrong_digest_is_refused() {
    let (mut node, mut follower) = stocked();
    node.digest ^= 1;
    assert!(matches!(
        assert_refused(&mut follower, &node.keep_alive()),
        Divergence::DigestMismatch { .. }
    ));
}

#[test]
fn a_keep_alive_from_further_on_proves_nothing() {
    let (mut node, mut follower) = stocked();
    node.commit(&[("A", sell(1))]);
    assert_eq!(follower.absorb(&node.keep_alive()), Ok(Absorbed::default()));
    assert_eq!(follower.state.position.seq, Seq::new(3));
}

#[test]
fn broken_chains_gaps_and_reordered_frames_are_refused() {
    let (node, mut follower) = stocked();
    let mut rewritten = node.clone();
    rewritten.chain = Chain::new([1; 32]);
    let frame = rewritten.commit(&[("A", sell(1))]);
    assert_eq!(
        assert_refused(&mut follower, &frame),
        Divergence::ChainBroken { after: Seq::new(3) }
    );
    let mut honest = node.clone();
    let first = honest.commit(&[("A", sell(1))]);
    let second = honest.commit(&[("A", sell(1))]);
    let gap = Divergence::Gap { expected: Seq::new(4), found: Seq::new(5) };
    assert_eq!(assert_refused(&mut follower, &second), gap);
    follower.absorb(&first).unwrap();
    follower.absorb(&second).unwrap();
    assert_equal(&follower, &honest);
    // A frame that begins before the cursor and ends behind it isn't one of this log.
    let mut overlapping = node.clone();
    let frame = overlapping.commit(&[("A", sell(1)), ("A", sell(1)), ("A", sell(1))]);
    assert!(matches!(assert_refused(&mut follower, &frame), Divergence::Gap { .. }));
}

#[test]
fn receipts_and_stateless_records_of_other_versions_count_nothing() {
    let (mut node, mut follower) = stocked();
    let receipt = Receipt {
        recorded_at: node.now,
        key: KeyClaim { key_hash: 1, fingerprint: 2, records: 1 },
        shape: RequestShape::Single,
        lines: vec![LineOutcome::Invalid],
    };
    let mut record = Vec::new();
    shared::codec::encode_receipt(&mut record, &receipt);
    let mut newer = record.clone();
    (newer[0], newer[1]) = (200, 9);
    let frame = node.seal(FrameKind::Data, &[record, newer]);
    let absorbed = follower.absorb(&frame).unwrap();
    assert_eq!((absorbed.ignored, absorbed.refused), (2, Vec::new()));
    assert_equal(&follower, &node);
}

#[test]
fn an_unreadable_envelope_is_a_divergence() {
    let (mut node, mut follower) = stocked();
    let frame = node.seal(FrameKind::Data, &[vec![4, 1, 1, 200, 0]]);
    assert!(matches!(assert_refused(&mut follower, &frame), Divergence::UnreadableRecord { .. }));
}

/// Makes the payload unreadable and leaves the envelope as it is.
fn unreadable(record: &mut Vec<u8>) {
    record.push(0);
}

#[test]
fn an_undecodable_record_marks_its_cell_and_the_rest_goes_on() {
    let (mut node, mut follower) = stocked();
    let mut records = Node::records(&node.events(&[("A", sell(2)), ("B", sell(1))]));
    unreadable(&mut records[0]);
    let frame = node.seal(FrameKind::Data, &records);
    let absorbed = follower.absorb(&frame).unwrap();
    assert_eq!((absorbed.applied, absorbed.refused.len()), (1, 1));
    let letter = &absorbed.refused[0];
    assert_eq!((letter.seq, letter.sku.as_str(), &letter.record), (Seq::new(4), "A", &records[0]));
    assert!(!follower.state.is_verified());
    assert_eq!(held(&follower, "A").cell.quantities.stock, units(7), "its envelope says so");
    // Frames that don't touch it go on unverified; one that touches it heals it.
    follower.absorb(&node.commit(&[("B", sell(1))])).unwrap();
    assert!(!follower.state.is_verified());
    let absorbed = follower.absorb(&node.commit(&[("A", sell(1))])).unwrap();
    assert_eq!(absorbed.healed, [sku("A")]);
    assert!(follower.state.is_verified());
    assert_equal(&follower, &node);
}

#[test]
fn while_a_cell_is_marked_the_difference_must_stay() {
    let (mut node, mut follower) = stocked();
    let patch = ItemPatch { name: Some("Becher".into()), ..ItemPatch::default() };
    let mut records = Node::records(&node.events(&[("A", Action::update(patch.clone()))]));
    unreadable(&mut records[0]);
    let frame = node.seal(FrameKind::Data, &records);
    follower.absorb(&frame).unwrap();
    assert_ne!(follower.state.difference, 0, "the new name isn't known");
    follower.absorb(&node.commit(&[("B", sell(1))])).unwrap();
    // A sale gives the quantities again, but not the name: still marked.
    let absorbed = follower.absorb(&node.commit(&[("A", sell(1))])).unwrap();
    assert_eq!(absorbed.healed, Vec::<Sku>::new());
    let mut lying = node.clone();
    let events = lying.events(&[("B", sell(1))]);
    lying.digest ^= 1;
    let frame = lying.seal(FrameKind::Data, &Node::records(&events));
    assert!(matches!(assert_refused(&mut follower, &frame), Divergence::DigestMismatch { .. }));
    // The next event that says all of its names heals it.
    let again = ItemPatch { category: Some("kitchen".into()), ..ItemPatch::default() };
    let absorbed = follower.absorb(&node.commit(&[("A", Action::update(again))])).unwrap();
    assert_eq!(absorbed.healed, [sku("A")]);
    assert_equal(&follower, &node);
}

#[test]
fn a_refused_record_is_a_dead_letter_and_a_later_event_heals_it() {
    type Bend = fn(&mut Event);
    let bends: [(&str, Bend, &str); 3] = [
        ("version gap", |event| event.version = event.version.next(), "cannot follow"),
        (
            "before + moved ≠ after",
            |event| event.after.stock = units(event.after.stock.get() + 1),
            "stock should be",
        ),
        ("repeated version", |event| event.version = Version::new(1), "cannot follow"),
    ];
    for (name, bend, reason) in bends {
        let (mut node, mut follower) = stocked();
        let mut events = node.events(&[("A", sell(2)), ("B", sell(1))]);
        bend(&mut events[0]);
        let frame = node.seal(FrameKind::Data, &Node::records(&events));
        let absorbed = follower.absorb(&frame).unwrap();
        assert_eq!(absorbed.refused.len(), 1, "{name}");
        assert!(
            absorbed.refused[0].reason.contains(reason),
            "{name}: {}",
            absorbed.refused[0].reason
        );
        assert!(!follower.state.is_verified(), "{name}");
        let other = node.commit(&[("B", sell(1))]);
        follower.absorb(&other).unwrap();
        // The gap took the view one version too far, so two sales are newer than it; else one.
        node.events(&[]);
        for _ in 0..2 {
            follower.absorb(&node.commit(&[("A", sell(1))])).unwrap();
        }
        assert_eq!(follower.state.marks.len(), 0, "{name}");
        assert_equal(&follower, &node);
        assert!(follower.state.is_verified(), "{name}");
    }
}

#[test]
fn a_marked_cell_that_stays_wrong_is_a_mismatch() {
    let (mut node, mut follower) = stocked();
    let mut events = node.events(&[("A", sell(2))]);
    events[0].after.stock = units(3);
    follower.absorb(&node.seal(FrameKind::Data, &Node::records(&events))).unwrap();
    let mut events = node.events(&[("A", sell(1))]);
    events[0].after.stock = units(2);
    let frame = node.seal(FrameKind::Data, &Node::records(&events));
    assert!(matches!(assert_refused(&mut follower, &frame), Divergence::DigestMismatch { .. }));
}

#[test]
fn an_upgrade_can_read_a_dead_letter() {
    let (mut node, mut follower) = stocked();
    let patch = ItemPatch { name: Some("Becher".into()), ..ItemPatch::default() };
    let readable = Node::records(&node.events(&[("A", Action::update(patch))]));
    let mut records = readable.clone();
    unreadable(&mut records[0]);
    follower.absorb(&node.seal(FrameKind::Data, &records)).unwrap();
    let seq = Seq::new(4);
    assert!(matches!(follower.retry(seq, &records[0]), Retried::StillRefused(_)));
    assert!(!follower.state.is_verified());
    assert_eq!(follower.retry(seq, &readable[0]), Retried::Healed);
    assert_equal(&follower, &node);
    assert_eq!(held(&follower, "A").cell, *node.items[&sku("A")].0.cell());
    assert_eq!(follower.retry(seq, &readable[0]), Retried::Healed, "again is nothing");
    follower.absorb(&node.checkpoint()).unwrap();
    assert!(follower.state.is_verified());
}

/// A follower that begins from a fuzzy snapshot: items as of different seqs between lo and hi.
fn from_fuzzy_snapshot(early: &Node, lo: Position, late: &Node) -> Follower<MemoryView> {
    let view = MemoryView::default();
    let slot = view.open_slot();
    let mut state = FollowerState::at_beginning(LOG_ID);
    for (index, (sku, (late_item, late_seq))) in late.items.iter().enumerate() {
        let (item, seq) = match early.items.get(sku) {
            Some((item, seq)) if index % 2 == 0 => (item, seq),
            None if index % 2 == 0 => continue,
            _ => (late_item, late_seq),
        };
        let held = Held { cell: *item.cell(), seq: *seq, metadata_at: item.updated_at() };
        view.put(&slot, sku, &held, Some(item.metadata()));
        state.digest = state.digest.wrapping_add(item_digest(sku, item.cell()));
    }
    state.position = lo;
    state.trusted_from = Seq::new(late.seq);
    Follower::new(view, slot, state)
}

#[test]
fn a_fuzzy_snapshot_is_verified_at_its_hi_and_no_sooner() {
    let mut node = Node::new();
    node.commit(&[("A", create(10)), ("B", create(10)), ("C", create(10))]);
    let early = node.clone();
    let lo = Position { seq: Seq::new(node.seq), chain: node.chain };
    let frames = [
        node.commit(&[("A", sell(1)), ("B", sell(1))]),
        node.commit(&[("C", sell(1)), ("D", create(4)), ("E", create(5))]),
        node.commit(&[("A", sell(1)), ("D", sell(1))]),
    ];
    let mut follower = from_fuzzy_snapshot(&early, lo, &node);
    for (index, frame) in frames.iter().enumerate() {
        follower.absorb(frame).unwrap();
        assert_eq!(follower.state.is_verified(), index == 2, "after frame {index}");
    }
    assert_equal(&follower, &node);
    // The same with one cell that no replay mends: found at hi.
    let mut follower = from_fuzzy_snapshot(&early, lo, &node);
    let wrong = Cell { metadata_hash: 1, ..held(&follower, "B").cell };
    let held = Held { cell: wrong, ..held(&follower, "B") };
    follower.view.put(&follower.slot, &sku("B"), &held, None);
    follower.state.digest = digest_of_slot(&follower.view, &follower.slot);
    let results: Vec<bool> = frames.iter().map(|frame| follower.absorb(frame).is_ok()).collect();
    assert_eq!(results, [true, true, false]);
}
