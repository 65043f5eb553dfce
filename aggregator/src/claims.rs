//! Which URL follows which store, so that no store is ever counted twice: two nodes that call
//! themselves the same, or one node under two URLs, are a mistake that only an operator can mend.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::StoreId;

/// The bindings of all stores. Clones are handles to the same table.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    bindings: Arc<Mutex<BTreeMap<StoreId, Binding>>>,
}

#[derive(Debug)]
struct Binding {
    url: String,
    /// Whether a worker follows it, or only a file of an earlier run says so.
    is_followed: bool,
}

impl Claims {
    /// A file of an earlier run binds the store to `url`.
    pub fn remember(&self, store_id: &StoreId, url: &str) {
        let binding = Binding { url: url.to_owned(), is_followed: false };
        self.bindings.lock().entry(store_id.clone()).or_insert(binding);
    }

    /// Binds the store to `url`; if it is bound elsewhere, only `by_force`, and never while it is
    /// followed there. The error is the reason, in words.
    pub fn claim(&self, store_id: &StoreId, url: &str, by_force: bool) -> Result<(), String> {
        let mut bindings = self.bindings.lock();
        match bindings.get_mut(store_id) {
            Some(binding) if binding.url != url && binding.is_followed => {
                Err(format!("{store_id} is followed at {} already", binding.url))
            }
            Some(binding) if binding.url != url && !by_force => {
                Err(format!("{store_id} is bound to {}: rebind it to follow it here", binding.url))
            }
            Some(binding) => {
                *binding = Binding { url: url.to_owned(), is_followed: true };
                Ok(())
            }
            None => {
                let binding = Binding { url: url.to_owned(), is_followed: true };
                bindings.insert(store_id.clone(), binding);
                Ok(())
            }
        }
    }

    /// The store is no longer followed at `url`, nor bound to it.
    pub fn release(&self, store_id: &StoreId, url: &str) {
        let mut bindings = self.bindings.lock();
        if bindings.get(store_id).is_some_and(|binding| binding.url == url) {
            bindings.remove(store_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_followed_at_one_url_only() {
        let claims = Claims::default();
        let store = StoreId::new("store-a").unwrap();
        claims.remember(&store, "http://old");
        assert!(claims.claim(&store, "http://new", false).unwrap_err().contains("rebind"));
        assert_eq!(claims.claim(&store, "http://new", true), Ok(()));
        assert_eq!(claims.claim(&store, "http://new", false), Ok(()), "its own is no other's");
        assert!(claims.claim(&store, "http://old", true).unwrap_err().contains("already"));
        claims.release(&store, "http://old");
        claims.release(&store, "http://new");
        assert_eq!(claims.claim(&store, "http://old", false), Ok(()));
    }
}
