//! The follower against generated histories, honest and bent.

use event_log::frame::FrameHeader;
use proptest::prelude::*;
use shared::command::{Action, AdjustReason, ItemPatch};
use shared::{OrderId, Quantities};

use super::*;

fn action() -> impl Strategy<Value = Action> {
    let order = || (0..4_u8).prop_map(|n| OrderId::new(&format!("order-{n}")).unwrap());
    prop_oneof![
        (0..50_u64).prop_map(create),
        (1..9_u64).prop_map(sell),
        (1..9_u64).prop_map(|n| Action::Receive { quantity: units(n) }),
        (-5..9_i64)
            .prop_filter("not zero", |n| *n != 0)
            .prop_map(|delta| Action::Adjust { delta, reason: AdjustReason::Correction }),
        (order(), 1..5_u64, prop::option::of(0..1_u64)).prop_map(
            |(order_id, n, expires_in_seconds)| {
                Action::Reserve { order_id, quantity: units(n), expires_in_seconds }
            }
        ),
        order().prop_map(|order_id| Action::Release { order_id, quantity: None }),
        order().prop_map(|order_id| Action::Deduct { order_id, quantity: None }),
        (0..3_u8).prop_map(|n| {
            let name = Some(format!("name {n}").as_str().into());
            Action::update(ItemPatch { name, reactivate: true, ..ItemPatch::default() })
        }),
        Just(Action::Deactivate),
    ]
}

type Batch = Vec<(u8, Action)>;

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let batch = prop::collection::vec((0..6_u8, action()), 1..12);
    prop::collection::vec(batch, 1..20)
}

fn commit(node: &mut Node, batch: &Batch) -> Option<Frame> {
    let names: Vec<String> = batch.iter().map(|(sku, _)| format!("SKU-{sku}")).collect();
    let commands: Vec<(&str, Action)> = names
        .iter()
        .zip(batch)
        .map(|(name, (_, action))| (name.as_str(), action.clone()))
        .collect();
    let events = node.events(&commands);
    (!events.is_empty()).then(|| node.seal(FrameKind::Data, &Node::records(&events)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the node does honestly, repeated frames and restarts included, ends equal.
    #[test]
    fn honest_histories_end_equal(batches in batches(), repeat in any::<u8>(), restart in 0..20_usize) {
        let (mut node, mut follower) = (Node::new(), follower());
        let mut frames: Vec<Frame> = Vec::new();
        for (index, batch) in batches.iter().enumerate() {
            frames.extend(commit(&mut node, batch));
            let Some(last) = frames.last() else { continue };
            follower.absorb(last).unwrap();
            prop_assert!(follower.state.is_verified());
            let old = &frames[usize::from(repeat) % frames.len()];
            prop_assert_eq!(follower.absorb(old).unwrap().applied, 0);
            if index == restart {
                let Follower { view, slot, state, .. } = follower;
                follower = Follower::new(view, slot, state);
            }
        }
        assert_equal(&follower, &node);
    }

    /// Any single bent number in any event is noticed at once: refused, or a dead letter.
    #[test]
    fn no_bent_event_is_taken_for_true(
        batches in batches(),
        at in any::<prop::sample::Index>(),
        field in 0..9_usize,
        by in 1..1_000_u64,
    ) {
        let (mut node, mut follower) = (Node::new(), follower());
        let lie_in = at.index(batches.len());
        for batch in &batches[..lie_in] {
            if let Some(frame) = commit(&mut node, batch) {
                follower.absorb(&frame).unwrap();
            }
        }
        let names: Vec<String> = batches[lie_in].iter().map(|(sku, _)| format!("SKU-{sku}")).collect();
        let commands: Vec<_> = names.iter().zip(&batches[lie_in])
            .map(|(name, (_, action))| (name.as_str(), action.clone())).collect();
        let mut events = node.events(&commands);
        prop_assume!(!events.is_empty());
        let bent = at.index(events.len());
        let event = &mut events[bent];
        match field {
            0..7 => {
                let mut array = event.after.to_array();
                array[field] = units(array[field].get() + by);
                event.after = Quantities::from_array(array);
            }
            7 => event.version = Version::new(event.version.get() + by),
            _ => event.flags.active = !event.flags.active,
        }
        let frame = node.seal(FrameKind::Data, &Node::records(&events));
        match follower.absorb(&frame) {
            Err(_) => {}
            Ok(absorbed) => {
                // Only a later event of the same item, in the same frame, may have set it right.
                let equal = follower.state.digest == node.digest;
                prop_assert!(equal || !follower.state.is_verified());
                prop_assert!(equal || !absorbed.refused.is_empty());
            }
        }
    }

    /// No bytes make the decoder or the follower panic.
    #[test]
    fn damaged_frames_never_panic(batches in batches(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let (mut node, mut follower) = (Node::new(), follower());
        for batch in &batches {
            let Some(frame) = commit(&mut node, batch) else { continue };
            let mut stored = frame.stored.clone();
            let place = at.index(stored.len());
            stored[place] ^= 1 << bit;
            // As if the crcs had not noticed.
            let header = FrameHeader::decode(&frame.stored, LOG_ID).unwrap().unwrap();
            if place >= event_log::frame::FRAME_HEADER_BYTES
                && event_log::frame::decode_frame(&stored, LOG_ID).is_err()
            {
                let damaged = Frame { header, stored };
                let layout_holds = damaged.payload().len() == frame.payload().len();
                prop_assert!(layout_holds);
                prop_assert!(follower.absorb(&damaged).is_err(), "the chain notices");
            }
            follower.absorb(&frame).unwrap();
        }
        assert_equal(&follower, &node);
    }
}
