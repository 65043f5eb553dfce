//! Marked cells and what digests prove while there are some. The rule that must never be bent: a
//! frame that touches no marked cell leaves the difference between the digests as it was.

use std::collections::BTreeMap;

use event_log::Seq;
use shared::Sku;

use super::stage::FrameWork;
use super::{Divergence, FollowerState};

/// Why a cell isn't known for sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The first record of the item that wasn't taken over.
    pub since: Seq,
    /// The last one.
    pub latest: Seq,
    /// A later event has given its quantities.
    pub renewed: bool,
    /// The refused record may have changed its names.
    pub names_unknown: bool,
    /// The refused record could be read, and contradicts the state before it.
    pub contradicted: bool,
}

impl Mark {
    /// A cell whose record `seq` wasn't taken over.
    pub fn new(seq: Seq) -> Self {
        Self { since: seq, latest: seq, renewed: false, names_unknown: false, contradicted: false }
    }

    fn is_known_again(&self) -> bool {
        self.renewed && !self.names_unknown
    }
}

/// What comparing digests at a frame's end came to.
#[derive(Debug)]
pub(super) struct Settled {
    marks: Option<BTreeMap<Sku, Mark>>,
    difference: u128,
    compared: bool,
    verified_seq: Option<Seq>,
    pub(super) healed: Vec<Sku>,
}

impl Settled {
    /// Takes it over.
    pub(super) fn write_to(&self, state: &mut FollowerState) {
        if let Some(marks) = &self.marks {
            state.marks.clone_from(marks);
        }
        state.difference = self.difference;
        state.compared = self.compared;
        state.verified_seq = self.verified_seq;
    }
}

/// Compares the digest that the node sealed at `at` with ours after the frame's work.
pub(super) fn settle(
    state: &FollowerState,
    work: &mut FrameWork,
    at: Seq,
    node_digest: u128,
) -> Result<Settled, Divergence> {
    let touched = work.take_marks();
    if at < state.trusted_from {
        // Between a fuzzy snapshot's lo and hi no digest of ours means anything.
        let verified_seq = None;
        return Ok(Settled {
            marks: touched,
            difference: 0,
            compared: false,
            verified_seq,
            healed: Vec::new(),
        });
    }
    let difference = node_digest.wrapping_sub(work.digest);
    let mismatch = Divergence::DigestMismatch { at, node: node_digest, ours: work.digest };
    let mut settled = Settled {
        marks: None,
        difference,
        compared: true,
        verified_seq: state.verified_seq,
        healed: Vec::new(),
    };
    let Some(mut marks) = touched else {
        let expected = if state.marks.is_empty() {
            Some(0)
        } else {
            state.compared.then_some(state.difference)
        };
        if expected.is_some_and(|expected| expected != difference) {
            return Err(mismatch);
        }
        if state.marks.is_empty() {
            settled.verified_seq = Some(at);
        }
        return Ok(settled);
    };
    let all_renewed = marks.values().all(|mark| mark.renewed);
    if all_renewed && difference == 0 {
        settled.healed = std::mem::take(&mut marks).into_keys().collect();
        settled.verified_seq = Some(at);
    } else {
        settled.healed = take_known_again(&mut marks);
        if marks.is_empty() {
            return Err(mismatch);
        }
    }
    settled.marks = Some(marks);
    Ok(settled)
}

fn take_known_again(marks: &mut BTreeMap<Sku, Mark>) -> Vec<Sku> {
    let mut healed = Vec::new();
    marks.retain(|sku, mark| {
        if mark.is_known_again() {
            healed.push(sku.clone());
        }
        !mark.is_known_again()
    });
    healed
}
