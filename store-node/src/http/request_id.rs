//! Request ids: the caller's own `x-request-id` if it is sane, else a short one of ours. Ids must
//! never be secret or say anything: they only tell requests apart.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName};
use compact_str::CompactString;

/// The longest id that is taken over from a caller, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// The header, in both directions.
pub(super) const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids that repeat neither in this process nor, practically, after a restart.
#[derive(Debug)]
pub(super) struct RequestIds {
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that begin anywhere.
    pub(super) fn new(seed: u64) -> Self {
        Self { next: AtomicU64::new(seed) }
    }

    /// The id of a request with these headers.
    pub(super) fn of(&self, headers: &HeaderMap) -> CompactString {
        let theirs = headers.get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
        match theirs.filter(|id| is_sane(id)) {
            Some(id) => CompactString::new(id),
            None => self.next(),
        }
    }

    /// 16 hexadecimal digits: a counter, scattered by the finaliser of splitmix64 (one to one).
    fn next(&self) -> CompactString {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut mixed = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let digits: [u8; 16] =
            std::array::from_fn(|index| HEX[(mixed >> ((15 - index) * 4)) as usize & 15]);
        CompactString::from_utf8_lossy(&digits)
    }
}

fn is_sane(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_sane_ids_over_and_makes_others() {
        let ids = RequestIds::new(7);
        let mut headers = HeaderMap::new();
        for (sent, taken) in
            [("req-1", true), ("a b", false), ("", false), (&*"x".repeat(65), false)]
        {
            headers.insert(REQUEST_ID_HEADER, sent.parse().unwrap());
            let id = ids.of(&headers);
            assert_eq!(id == sent, taken, "{sent:?}");
            assert!(taken || (id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        }
    }

    #[test]
    fn ids_differ() {
        let ids = RequestIds::new(1);
        let mut seen: Vec<CompactString> = (0..1000).map(|_| ids.next()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }
}
