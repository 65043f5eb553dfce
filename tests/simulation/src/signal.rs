//! A value that many tasks wait for, woken in the order in which they began to wait: the channels of
//! the runtime wake in an order of their own, and a run must repeat.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A shared value with news. Clones are the same.
#[derive(Debug, Clone)]
pub struct Signal<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    value: Mutex<T>,
    news: Notify,
}

impl<T: Copy> Signal<T> {
    /// Begins with a value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Inner { value: Mutex::new(value), news: Notify::new() }))
    }

    /// The value now.
    pub fn get(&self) -> T {
        *self.0.value.lock()
    }

    /// Changes the value and wakes whoever waits.
    pub fn set(&self, value: T) {
        *self.0.value.lock() = value;
        self.0.news.notify_waiters();
    }

    /// Resolves once the value is so.
    pub async fn until(&self, is_so: impl Fn(T) -> bool) {
        loop {
            let mut news = std::pin::pin!(self.0.news.notified());
            news.as_mut().enable();
            if is_so(self.get()) {
                return;
            }
            news.await;
        }
    }
}
