//! Opaque page cursors: where a list goes on. They must survive any write in between, so they name
//! the last row's sort key, never an offset.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

use crate::ids::OrderId;
use crate::sku::Sku;

/// The position after one row of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageCursor {
    /// The row's sort key, where the list isn't sorted by SKU alone.
    pub rank: Option<i64>,
    /// The row's SKU, which breaks ties.
    pub sku: Sku,
}

/// The position after one row of a list of reservations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReservationCursor {
    /// The row's SKU.
    pub sku: Sku,
    /// The row's order.
    pub order_id: OrderId,
}

/// Between two parts: a character that no SKU and no order id holds.
const SEPARATOR: char = '\u{1f}';

/// The text is no cursor that this service gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not a cursor that a list returned")]
pub struct CursorError;

impl PageCursor {
    /// The cursor as URL-safe base64 without padding: of the SKU, or of `rank 0x1f SKU`.
    pub fn encode(&self) -> String {
        match self.rank {
            None => URL_SAFE_NO_PAD.encode(self.sku.as_str()),
            Some(rank) => URL_SAFE_NO_PAD.encode(format!("{rank}{SEPARATOR}{}", self.sku)),
        }
    }

    /// Reads a cursor that [`PageCursor::encode`] wrote.
    pub fn decode(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let place = String::from_utf8(bytes).map_err(|_| CursorError)?;
        let (rank, sku) = match place.split_once(SEPARATOR) {
            None => (None, place.as_str()),
            Some((rank, sku)) => (Some(rank.parse().map_err(|_| CursorError)?), sku),
        };
        let cursor = Self { rank, sku: Sku::new(sku).map_err(|_| CursorError)? };
        // Numbers can be written in several ways (+7, 07), and a list gives out one of them.
        if cursor.encode() == text { Ok(cursor) } else { Err(CursorError) }
    }
}

impl ReservationCursor {
    /// The cursor as URL-safe base64 without padding, of `SKU 0x1f order id`.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}{SEPARATOR}{}", self.sku, self.order_id))
    }

    /// Reads a cursor that [`ReservationCursor::encode`] wrote.
    pub fn decode(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let text = String::from_utf8(bytes).map_err(|_| CursorError)?;
        let (sku, order_id) = text.split_once(SEPARATOR).ok_or(CursorError)?;
        let sku = Sku::new(sku).map_err(|_| CursorError)?;
        Ok(Self { sku, order_id: OrderId::new(order_id).map_err(|_| CursorError)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_the_examples_show_and_comes_back() {
        let sku = Sku::new("PROD-001").unwrap();
        let plain = PageCursor { rank: None, sku: sku.clone() };
        assert_eq!(plain.encode(), "UFJPRC0wMDE");
        let ranked = PageCursor { rank: Some(-7), sku };
        for cursor in [plain, ranked] {
            assert_eq!(PageCursor::decode(&cursor.encode()), Ok(cursor));
        }
        for bad in ["", "!", "UFJPRC0wMDE=", "_w", "eB9h", "KzcfUFJPRC0wMDE"] {
            assert_eq!(PageCursor::decode(bad), Err(CursorError), "{bad}");
        }
    }

    #[test]
    fn of_reservations_comes_back_and_is_told_from_others() {
        let sku = Sku::new("a/b c").unwrap();
        let order_id = OrderId::new("order 1/é").unwrap();
        let cursor = ReservationCursor { sku: sku.clone(), order_id };
        assert_eq!(ReservationCursor::decode(&cursor.encode()), Ok(cursor));
        let other = PageCursor { rank: None, sku }.encode();
        for bad in ["", "!", "Hw", other.as_str()] {
            assert_eq!(ReservationCursor::decode(bad), Err(CursorError), "{bad}");
        }
    }
}
