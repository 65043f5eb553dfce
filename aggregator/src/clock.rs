//! The wall clock, read here and nowhere else, and passed on as a value.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use shared::Timestamp;

/// Where the async edges get their time from; tests bring their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The system's wall clock.
pub fn system() -> Clock {
    Arc::new(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    })
}
