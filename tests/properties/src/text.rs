//! Texts of paths and queries: percent-decoding, SKUs, order and store ids. The input is the text
//! as it stands in a URL.
//!
//! Two SKUs must never become one: what is decoded is exactly what the bytes say, or refused.

use shared::sku::SKU_BYTES_MAX;
use shared::{OrderId, Sku, StoreId};
use store_node::http::percent;

use crate::bound::Bound;

/// The decoded bytes.
const DECODE_BOUND: Bound = Bound { fixed_bytes: 0, per_byte: 1 };
/// A SKU or an id, on the heap when it is longer than 24 bytes.
const NAME_BOUND: Bound = Bound { fixed_bytes: 0, per_byte: 2 };

/// Checks one text.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for plus_is_space in [false, true] {
        let decode = || percent::decode(text, plus_is_space);
        let decoded = DECODE_BOUND.hold("percent-decoding", text.len(), decode);
        assert_eq!(
            decoded.as_deref().map(str::as_bytes),
            reference(text, plus_is_space).as_deref()
        );
        if let Some(decoded) = decoded {
            let encoded = percent::encode(&decoded);
            assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
            assert_eq!(percent::decode(&encoded, plus_is_space).as_deref(), Some(&*decoded));
            check_names(&decoded);
        }
    }
}

fn check_names(text: &str) {
    if let Ok(sku) = NAME_BOUND.hold("a SKU", text.len(), || Sku::new(text)) {
        assert_eq!(sku.as_str(), text);
        assert!((1..=SKU_BYTES_MAX).contains(&text.len()) && text.trim() == text);
        assert!(!text.chars().any(char::is_control));
    }
    if let Ok(order_id) = NAME_BOUND.hold("an order id", text.len(), || OrderId::new(text)) {
        assert_eq!(order_id.as_str(), text);
        // Between two parts of a page cursor.
        assert!(!text.contains('\u{1f}') && !text.is_empty());
    }
    if let Ok(store_id) = NAME_BOUND.hold("a store id", text.len(), || StoreId::new(text)) {
        assert_eq!(store_id.as_str(), text);
        // It becomes part of file names.
        assert!(!text.starts_with('.') && !text.contains(['/', '\\', '\0']));
    }
}

/// RFC 3986, section 2.1, as plainly as can be: cut at each `%`.
fn reference(text: &str, plus_is_space: bool) -> Option<Vec<u8>> {
    let mut pieces = text.split('%');
    let spaced = |piece: &str| {
        let piece = if plus_is_space { piece.replace('+', " ") } else { piece.to_owned() };
        piece.into_bytes()
    };
    let mut decoded = spaced(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.get(..2).filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if let Some(two) = digits {
            decoded.push(u8::from_str_radix(two, 16).expect("two digits"));
            decoded.extend(spaced(&piece[2..]));
        } else {
            decoded.push(b'%');
            decoded.extend(spaced(piece));
        }
    }
    std::str::from_utf8(&decoded).is_ok().then_some(decoded)
}
