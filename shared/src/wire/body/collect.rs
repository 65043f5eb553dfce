//! A serde deserializer that goes on after an error: it notes what is wrong with a value, hands the
//! visitor a harmless stand-in and looks at the next one. Only the second look at a refused body
//! uses it; it must never be on the way of a good request.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use hashbrown::HashMap;
use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::{BodyError, FIELD_ERRORS_MAX};
use crate::FixedHasher;
use crate::wire::problem::FieldError;

/// The newtype whose text is handed over unread, for its owner to look at later.
const RAW_NEWTYPE: &str = "RawValueText";
/// The newtype that tells a decoder to keep an absent field apart from `null`.
pub(super) const PATCH_NEWTYPE: &str = "Patch";

/// Where all errors of one body land.
#[derive(Debug, Default)]
pub(crate) struct Collector(RefCell<Collected>);

#[derive(Debug, Default)]
struct Collected {
    /// Wrong values.
    values: Vec<FieldError>,
    /// Broken rules; a value may break several.
    rules: Vec<FieldError>,
    /// The place of each value in the body; absent ones come last.
    places: HashMap<String, usize, FixedHasher>,
    /// Wrong names: unknown and repeated fields.
    names: Vec<FieldError>,
    /// A text that isn't one (half of a surrogate pair).
    malformed: Option<String>,
}

impl Collector {
    /// Notes a wrong value.
    pub(crate) fn value_error(
        &self,
        pointer: &str,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) {
        let mut collected = self.0.borrow_mut();
        if collected.values.len() < FIELD_ERRORS_MAX {
            let (pointer, message) = (pointer.to_owned(), message.into());
            collected.values.push(FieldError { pointer, code, message });
        }
    }

    /// Notes a broken rule, unless the value is only the stand-in for a wrong one.
    pub(crate) fn rule_error(&self, pointer: &str, code: &'static str, message: String) {
        let covered = |known: &FieldError| {
            pointer
                .strip_prefix(&known.pointer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut collected = self.0.borrow_mut();
        if collected.rules.len() < FIELD_ERRORS_MAX && !collected.values.iter().any(covered) {
            let pointer = pointer.to_owned();
            collected.rules.push(FieldError { pointer, code, message: message.into() });
        }
    }

    fn name_error(&self, pointer: String, code: &'static str, message: Cow<'static, str>) {
        let mut collected = self.0.borrow_mut();
        if collected.names.len() < FIELD_ERRORS_MAX {
            collected.names.push(FieldError { pointer, code, message });
        }
    }

    fn malformed(&self, error: &serde_json::Error) {
        self.0.borrow_mut().malformed.get_or_insert_with(|| error.to_string());
    }

    /// Notes that the next value in the body is this one.
    fn seen(&self, pointer: &str) {
        let places = &mut self.0.borrow_mut().places;
        let next = places.len();
        places.entry_ref(pointer).or_insert(next);
    }

    /// All errors: wrong values first, in the order of the body, then wrong names.
    pub(crate) fn finish(self) -> Result<Vec<FieldError>, BodyError> {
        let Collected { mut values, mut rules, places, mut names, malformed } = self.0.into_inner();
        if let Some(detail) = malformed {
            return Err(BodyError::Malformed(detail));
        }
        values.append(&mut rules);
        values.sort_by_key(|error| places.get(&error.pointer).copied());
        values.append(&mut names);
        values.truncate(FIELD_ERRORS_MAX);
        Ok(values)
    }
}

/// The members of an object in their order, repeated ones included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries<'de>(pub(crate) Vec<(Cow<'de, str>, &'de str)>);

impl<'de> de::Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value: &'de RawValue = map.next_value()?;
                    entries.push((Cow::Owned(key), value.get()));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[derive(Debug)]
enum Source<'de> {
    /// The JSON text of the value.
    Raw(&'de str),
    /// An object whose members were read already.
    Object(Entries<'de>),
    /// The field is absent.
    Missing,
    /// Inside a stand-in: nothing more is noted.
    StandIn,
}

/// One value of the body.
#[derive(Debug)]
pub(crate) struct Node<'c, 'de> {
    source: Source<'de>,
    pointer: String,
    collector: &'c Collector,
}

/// What stops a visitor although every value was a right one or a stand-in.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stopped(String);

impl de::Error for Stopped {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl<'c, 'de> Node<'c, 'de> {
    /// A value by its JSON text.
    pub(crate) fn present(raw: &'de str, pointer: String, collector: &'c Collector) -> Self {
        Self { source: Source::Raw(raw), pointer, collector }
    }

    /// An object by its members.
    pub(crate) fn object(entries: Entries<'de>, pointer: String, collector: &'c Collector) -> Self {
        Self { source: Source::Object(entries), pointer, collector }
    }

    /// Where its errors land.
    pub(crate) fn collector(&self) -> &'c Collector {
        self.collector
    }

    /// Its JSON pointer.
    pub(crate) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The members of an object; an error is noted and `None` returned for anything else.
    pub(crate) fn entries(&mut self) -> Option<Entries<'de>> {
        match std::mem::replace(&mut self.source, Source::StandIn) {
            Source::Object(entries) => Some(entries),
            Source::Raw(raw) if raw.starts_with('{') => self.parsed(raw),
            other => {
                self.source = other;
                self.wrong("must be an object");
                None
            }
        }
    }

    fn parsed<T: de::Deserialize<'de>>(&self, raw: &'de str) -> Option<T> {
        serde_json::from_str(raw).map_err(|error| self.collector.malformed(&error)).ok()
    }

    /// Notes that the value is absent or of another type.
    fn wrong(&self, message: &'static str) {
        match self.source {
            Source::Raw(_) | Source::Object(_) => {
                self.collector.value_error(&self.pointer, "type", message);
            }
            Source::Missing => self.collector.value_error(&self.pointer, "required", "is required"),
            Source::StandIn => {}
        }
    }

    fn text(&self) -> Option<String> {
        match self.source {
            Source::Raw(raw) if raw.starts_with('"') => self.parsed(raw),
            Source::Raw(_) | Source::Object(_) | Source::Missing | Source::StandIn => {
                self.wrong("must be a text");
                None
            }
        }
    }

    /// A whole number; one beyond i64 becomes the nearest end of it, for the rules to refuse.
    fn integer(&self) -> Option<i64> {
        if let Source::Raw(raw) = self.source {
            let digits = raw.strip_prefix('-').unwrap_or(raw);
            if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                let nearest = if digits.len() == raw.len() { i64::MAX } else { i64::MIN };
                return Some(raw.parse().unwrap_or(nearest));
            }
        }
        self.wrong("must be an integer");
        None
    }

    fn is_absent(&self) -> bool {
        matches!(self.source, Source::Raw("null") | Source::Missing | Source::StandIn)
    }

    fn child_pointer(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"))
    }
}

impl<'de> Deserializer<'de> for Node<'_, 'de> {
    type Error = Stopped;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stopped> {
        Err(Stopped("fields without a type of their own are not supported".to_owned()))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        match self.source {
            Source::Raw("true") => visitor.visit_bool(true),
            Source::Raw("false") => visitor.visit_bool(false),
            Source::Raw(_) | Source::Object(_) | Source::Missing | Source::StandIn => {
                self.wrong("must be true or false");
                visitor.visit_bool(false)
            }
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        visitor.visit_i64(self.integer().unwrap_or(0))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        visitor.visit_string(self.text().unwrap_or_default())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        if self.is_absent() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        if name == PATCH_NEWTYPE && matches!(self.source, Source::Missing | Source::StandIn) {
            return visitor.visit_unit();
        }
        if let (RAW_NEWTYPE, Source::Raw(raw)) = (name, &self.source) {
            return visitor.visit_newtype_struct(BorrowedStrDeserializer::new(raw));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        let items = match self.source {
            Source::Raw(raw) if raw.starts_with('[') => self.parsed::<Vec<&'de RawValue>>(raw),
            Source::Raw(_) | Source::Object(_) | Source::Missing | Source::StandIn => {
                self.wrong("must be a list");
                None
            }
        };
        let items = items.unwrap_or_default().into_iter();
        visitor.visit_seq(ListItems { items, next: 0, list: &self })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        let entries = self.entries();
        let absent_is_error = entries.is_some();
        let mut found: Vec<(&'static str, Source<'de>)> = Vec::new();
        for (key, raw) in entries.unwrap_or_default().0 {
            let pointer = self.child_pointer(&key);
            match fields.iter().find(|field| **field == key) {
                None => {
                    let message = format!("is not a field of {name}").into();
                    self.collector.name_error(pointer, "unknown_field", message);
                }
                Some(field) if found.iter().any(|(known, _)| known == field) => {
                    let message = "is given more than once".into();
                    self.collector.name_error(pointer, "duplicate_field", message);
                }
                Some(field) => found.push((field, Source::Raw(raw))),
            }
        }
        for field in fields {
            if !found.iter().any(|(known, _)| known == field) {
                let absent = if absent_is_error { Source::Missing } else { Source::StandIn };
                found.push((field, absent));
            }
        }
        visitor.visit_map(Fields { rest: found.into_iter(), value: None, object: &self })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        let text = self.text();
        let known = text.as_deref().and_then(|text| variants.iter().find(|known| **known == text));
        if known.is_none() && text.is_some() {
            let message = format!("must be one of {}", variants.join(", "));
            self.collector.value_error(&self.pointer, "one_of", message);
        }
        let stand_in: &str = known.or(variants.first()).copied().unwrap_or_default();
        let variant: StrDeserializer<'_, Stopped> = stand_in.into_deserializer();
        visitor.visit_enum(variant)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct map identifier ignored_any
    }
}

struct Fields<'n, 'c, 'de> {
    rest: std::vec::IntoIter<(&'static str, Source<'de>)>,
    value: Option<(&'static str, Source<'de>)>,
    object: &'n Node<'c, 'de>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_, 'de> {
    type Error = Stopped;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stopped> {
        self.value = self.rest.next();
        let Some((name, _)) = &self.value else {
            return Ok(None);
        };
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stopped> {
        let (name, source) = self.value.take().ok_or(Stopped("a value has no key".to_owned()))?;
        let pointer = self.object.child_pointer(name);
        self.object.collector.seen(&pointer);
        seed.deserialize(Node { source, pointer, collector: self.object.collector })
    }
}

struct ListItems<'n, 'c, 'de> {
    items: std::vec::IntoIter<&'de RawValue>,
    next: usize,
    list: &'n Node<'c, 'de>,
}

impl<'de> SeqAccess<'de> for ListItems<'_, '_, 'de> {
    type Error = Stopped;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stopped> {
        let Some(raw) = self.items.next() else {
            return Ok(None);
        };
        let pointer = format!("{}/{}", self.list.pointer, self.next);
        self.next += 1;
        self.list.collector.seen(&pointer);
        seed.deserialize(Node::present(raw.get(), pointer, self.list.collector)).map(Some)
    }
}
