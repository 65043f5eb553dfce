//! What operators said of stores through the API, durable in one file, and what it comes to
//! together with the configuration. It must never be half written, and no word of an operator may
//! be lost by a restart.
//!
//! ```text
//! stores.json  {"format":1,"stores":[{"id","url","formerUrls","name","timezone","removed"}]}
//! ```
//! An operator's word stands above the configuration's about the same store: the one that names its
//! id, or, without an id, one of the URLs that it is or was known at. A removal stands as long as
//! the configuration goes on naming the store; taken out of it and put in again, it is followed.

use std::io;

use event_log::storage::{Storage, read_small_file, replace_file};
use serde::{Deserialize, Serialize};
use shared::StoreId;

use crate::address::URL_BYTES_MAX;
use crate::hub::{STORES_MAX, StoreSpec};
use crate::timezone::TimeZoneName;

/// The file, in the data directory.
pub const REGISTRY_FILE: &str = "stores.json";
/// The longest name of a store, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// URLs that are remembered of a store that moved; the oldest are forgotten.
const FORMER_URLS_MAX: usize = 8;
/// Bytes of the file at most.
const FILE_BYTES_MAX: u64 =
    (2 * STORES_MAX * ((FORMER_URLS_MAX + 2) * URL_BYTES_MAX + NAME_BYTES_MAX)) as u64;
const FORMAT: u32 = 1;

/// Why the file can't be read. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The disk failed.
    #[error("reading {REGISTRY_FILE}: {0}")]
    Io(#[from] io::Error),
    /// Mend it, or remove it and say again which stores are followed.
    #[error("{REGISTRY_FILE} can't be used: {0}")]
    Content(String),
}

/// What operators said of stores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    entries: Vec<Entry>,
}

/// An operator's word on one store.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: StoreId,
    /// Where its node is, then where it was.
    urls: Vec<String>,
    name: Option<String>,
    timezone: Option<TimeZoneName>,
    is_removed: bool,
}

impl Registry {
    /// What a data directory holds; nothing where there is no file.
    pub fn load<S: Storage>(storage: &S) -> Result<Self, RegistryError> {
        let bytes = match read_small_file(storage, REGISTRY_FILE, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let content = |what: &dyn ToString| RegistryError::Content(what.to_string());
        let file: File = serde_json::from_slice(&bytes).map_err(|error| content(&error))?;
        if file.format != FORMAT {
            return Err(content(&format!("format {} is not known here", file.format)));
        }
        let entries: Result<Vec<Entry>, String> =
            file.stores.into_iter().map(Entry::read).collect();
        Ok(Self { entries: entries.map_err(|error| content(&error))? })
    }

    /// Makes it durable.
    pub fn save<S: Storage>(&self, storage: &S) -> io::Result<()> {
        let stores = self.entries.iter().map(Entry::to_line).collect();
        let mut bytes = serde_json::to_vec_pretty(&File { format: FORMAT, stores })?;
        bytes.push(b'\n');
        storage.create_dir("")?;
        replace_file(storage, "", REGISTRY_FILE, &bytes)
    }

    /// A store is to be followed so; `known_at` is where it is followed now.
    pub fn put(&mut self, id: &StoreId, spec: StoreSpec, known_at: Option<&str>) {
        let urls = self.urls_of(id, [Some(spec.url.as_str()), known_at]);
        let StoreSpec { name, timezone, .. } = spec;
        self.entries.push(Entry { id: id.clone(), urls, name, timezone, is_removed: false });
    }

    /// A store, known at `url`, is no longer to be followed, whatever `configured` says.
    pub fn remove(&mut self, id: &StoreId, url: &str, configured: &[StoreSpec]) {
        let urls = self.urls_of(id, [Some(url), None]);
        let (name, timezone) = (None, None);
        self.entries.push(Entry { id: id.clone(), urls, name, timezone, is_removed: true });
        self.forget_unnamed(configured);
    }

    /// Forgets removals of stores that the configuration doesn't name (any more); says whether
    /// there were any.
    pub fn forget_unnamed(&mut self, configured: &[StoreSpec]) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| {
            !entry.is_removed || configured.iter().any(|spec| entry.is_about(spec))
        });
        self.entries.len() < before
    }

    /// The stores to follow: those that operators put, then what the configuration adds to them.
    pub fn with_configured(&self, configured: &[StoreSpec]) -> Vec<StoreSpec> {
        let followed = self.entries.iter().filter(|entry| !entry.is_removed);
        let mut specs: Vec<StoreSpec> = followed.map(Entry::spec).collect();
        for spec in configured {
            match self.entries.iter().find(|entry| entry.is_about(spec)) {
                None => specs.push(spec.clone()),
                Some(entry) if entry.is_removed => {
                    tracing::info!(store = %entry.id, url = spec.url, "configured, but removed by an operator");
                }
                Some(_) => {}
            }
        }
        specs
    }

    /// Takes the store's entry out; these URLs, then those that it was known at.
    fn urls_of(&mut self, id: &StoreId, newest: [Option<&str>; 2]) -> Vec<String> {
        let place = self.entries.iter().position(|entry| entry.id == *id);
        let former = place.map(|place| self.entries.remove(place).urls).unwrap_or_default();
        let mut urls: Vec<String> = Vec::new();
        for url in newest.into_iter().flatten().chain(former.iter().map(String::as_str)) {
            if urls.len() <= FORMER_URLS_MAX && !urls.iter().any(|known| known == url) {
                urls.push(url.to_owned());
            }
        }
        urls
    }
}

impl Entry {
    /// Whether a line of the configuration means this store.
    fn is_about(&self, spec: &StoreSpec) -> bool {
        match &spec.store_id {
            Some(id) => *id == self.id,
            None => self.urls.contains(&spec.url),
        }
    }

    fn spec(&self) -> StoreSpec {
        StoreSpec {
            url: self.urls.first().cloned().unwrap_or_default(),
            store_id: Some(self.id.clone()),
            name: self.name.clone(),
            timezone: self.timezone.clone(),
        }
    }

    fn read(line: Line) -> Result<Self, String> {
        let id = StoreId::new(&line.id).map_err(|error| format!("id {:?} {error}", line.id))?;
        let timezone = line.timezone.as_deref().map(TimeZoneName::parse).transpose();
        let timezone = timezone.map_err(|error| format!("the time zone of {id} {error}"))?;
        let mut urls = vec![line.url];
        urls.extend(line.former_urls);
        Ok(Self { id, urls, name: line.name, timezone, is_removed: line.removed })
    }

    fn to_line(&self) -> Line {
        Line {
            id: self.id.to_string(),
            url: self.urls.first().cloned().unwrap_or_default(),
            former_urls: self.urls.iter().skip(1).cloned().collect(),
            name: self.name.clone(),
            timezone: self.timezone.as_ref().map(ToString::to_string),
            removed: self.is_removed,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    stores: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Line {
    id: String,
    url: String,
    former_urls: Vec<String>,
    name: Option<String>,
    timezone: Option<String>,
    removed: bool,
}

#[cfg(test)]
mod tests {
    use event_log::storage::sim::SimStorage;

    use super::*;

    fn id(text: &str) -> StoreId {
        StoreId::new(text).unwrap()
    }

    fn spec(url: &str, store: Option<&str>) -> StoreSpec {
        StoreSpec { store_id: store.map(id), ..StoreSpec::at(url) }
    }

    fn check(registry: &Registry, configured: &[StoreSpec], expected: &[(&str, Option<&str>)]) {
        let specs = registry.with_configured(configured);
        let found: Vec<_> = specs
            .iter()
            .map(|spec| (spec.url.as_str(), spec.store_id.as_ref().map(StoreId::as_str)))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_operators_word_stands_above_the_configuration() {
        let mut registry = Registry::default();
        let configured = [spec("http://a", None), spec("http://b", Some("b"))];
        check(&registry, &configured, &[("http://a", None), ("http://b", Some("b"))]);
        // Known at the URL of a flag, moved elsewhere; the flag means the same store.
        registry.put(&id("a"), spec("http://a2", Some("a")), Some("http://a"));
        registry.put(&id("b"), spec("http://b2", Some("b")), None);
        check(&registry, &configured, &[("http://a2", Some("a")), ("http://b2", Some("b"))]);
        // Another store may move in where it was, if that is said.
        let other = [spec("http://a", Some("c"))];
        let all = [("http://a2", Some("a")), ("http://b2", Some("b")), ("http://a", Some("c"))];
        check(&registry, &other, &all);
    }

    #[test]
    fn a_removal_stands_as_long_as_the_configuration_names_the_store() {
        let mut registry = Registry::default();
        let configured = [spec("http://a", None), spec("http://b", Some("b"))];
        registry.remove(&id("a"), "http://a", &configured);
        registry.remove(&id("b"), "http://b2", &configured);
        check(&registry, &configured, &[]);
        assert!(!registry.forget_unnamed(&configured));
        assert!(registry.forget_unnamed(&configured[1..]), "it was taken out");
        check(&registry, &configured, &[("http://a", None)]);
        registry.put(&id("b"), spec("http://b", Some("b")), None);
        check(&registry, &[], &[("http://b", Some("b"))]);
        registry.remove(&id("b"), "http://b", &[]);
        assert_eq!(registry, Registry::default(), "nothing is left to hide");
    }

    #[test]
    fn what_was_said_outlives_a_power_cut() {
        let storage = SimStorage::new(1);
        assert_eq!(Registry::load(&storage).unwrap(), Registry::default());
        let mut registry = Registry::default();
        let berlin = TimeZoneName::parse("Europe/Berlin").ok();
        let named = StoreSpec {
            name: Some("Mitte".to_owned()),
            timezone: berlin,
            ..spec("http://a2", Some("a"))
        };
        registry.put(&id("a"), named, Some("http://a"));
        registry.remove(&id("b"), "http://b", &[spec("http://b", None)]);
        registry.save(&storage).unwrap();
        assert_eq!(Registry::load(&storage.crashed(1)).unwrap(), registry);
        for number in 0..20 {
            registry.put(&id("a"), spec(&format!("http://{number}"), None), None);
        }
        assert_eq!(registry.entries.last().unwrap().urls.len(), FORMER_URLS_MAX + 1);
        let told = "{\"format\":9,\"stores\":[]}";
        replace_file(&storage, "", REGISTRY_FILE, told.as_bytes()).unwrap();
        assert!(Registry::load(&storage).unwrap_err().to_string().contains("format 9"));
    }
}
