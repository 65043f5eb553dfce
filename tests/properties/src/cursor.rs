//! Page cursors, as clients send them back. The input is the cursor's text.
//!
//! Only the very text that a list gave out may be taken: two texts for one place would be two
//! pages for a cache.

use shared::wire::cursor::{PageCursor, ReservationCursor};

use crate::bound::Bound;

/// The decoded text and the parts of it.
const BOUND: Bound = Bound { fixed_bytes: 64, per_byte: 4 };

/// Checks both kinds of cursors.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(page) = BOUND.hold("a cursor", text.len(), || PageCursor::decode(text)) {
        assert_eq!(page.encode(), text, "given out it is another one");
    }
    if let Ok(place) = BOUND.hold("a cursor", text.len(), || ReservationCursor::decode(text)) {
        assert_eq!(place.encode(), text, "given out it is another one");
    }
}
