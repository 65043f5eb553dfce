//! Damage as operators are told of it, by the API and by commands alike. Nothing here finds it or
//! decides what follows from it.

use event_log::{Damage, Seq};
use shared::wire::node::log::DamageView;

/// A damage as it is shown.
pub fn view(damage: &Damage) -> DamageView {
    DamageView {
        file: damage.file.clone(),
        offset: damage.offset,
        length: damage.length,
        first_seq: damage.first_seq.get(),
        last_seq: (damage.last_seq != Seq::MAX).then_some(damage.last_seq.get()),
        what: damage.what.clone(),
    }
}
