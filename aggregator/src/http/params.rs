//! Query strings into validated questions. All broken rules of a request are answered at once, and
//! unknown parameters are errors: a misspelt filter must never list everything.

use std::str::FromStr;

use shared::wire::cursor::PageCursor;
use shared::wire::problem::{ErrorCode, FieldError};
use shared::{QUANTITY_MAX, Sku, StoreId};

use super::answer::ApiError;
use crate::view::query::{ItemFilter, PageRequest, Rank};

/// Rows of a page unless `limit` says otherwise.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// Rows of a page at most.
pub(super) const LIMIT_MAX: usize = 1000;
/// SKUs of a bulk read at most.
const SKUS_MAX: usize = 1000;

/// A query string's parameters, and what is wrong with them so far.
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Params {
    /// Of these pairs only the `known` names are allowed, and only `repeated` ones more than once.
    pub(super) fn new(pairs: Vec<(String, String)>, known: &[&str], repeated: &[&str]) -> Self {
        let mut params = Self { pairs: Vec::new(), errors: Vec::new() };
        for (name, value) in pairs {
            let is_double = params.pairs.iter().any(|(other, _)| *other == name);
            if !known.contains(&name.as_str()) {
                params.error(&name, "unknown_field", "is no parameter of this request");
            } else if is_double && !repeated.contains(&name.as_str()) {
                params.error(&name, "duplicate_field", "is given twice");
            } else {
                params.pairs.push((name, value));
            }
        }
        params
    }

    /// A parameter's text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.all(name).next().map(str::to_owned)
    }

    /// A parameter, parsed.
    pub(super) fn parse<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.error(name, "invalid", &message);
                None
            }
        }
    }

    /// `limit`, within bounds.
    pub(super) fn limit(&mut self) -> usize {
        let limit = self.parse("limit", |text| {
            let limit = usize::from_str(text).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
            limit.ok_or_else(|| format!("must be a number from 1 to {LIMIT_MAX}"))
        });
        limit.unwrap_or(LIMIT_DEFAULT)
    }

    /// Notes a broken rule.
    pub(super) fn error(&mut self, name: &str, code: &'static str, message: &str) {
        let pointer = format!("query:{name}");
        self.errors.push(FieldError { pointer, code, message: message.to_owned().into() });
    }

    /// Ends the reading.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::validation(&self.errors)) }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        self.parse(name, |text| text.parse().map_err(|_| "must be true or false".to_owned()))
    }

    fn quantity(&mut self, name: &str) -> Option<u64> {
        self.parse(name, |text| {
            let number = text.parse().ok().filter(|number| *number <= QUANTITY_MAX);
            number.ok_or_else(|| format!("must be a number from 0 to {QUANTITY_MAX}"))
        })
    }

    fn skus(&mut self) -> Vec<Sku> {
        let texts: Vec<String> = self.all("sku").map(str::to_owned).collect();
        if texts.len() > SKUS_MAX {
            self.error("sku", "max_items", &format!("at most {SKUS_MAX} at once"));
        }
        let mut skus = Vec::with_capacity(texts.len());
        for text in texts {
            match Sku::new(&text) {
                Ok(sku) => skus.push(sku),
                Err(error) => self.error("sku", error.code(), &error.to_string()),
            }
        }
        skus
    }
}

const LIST_PARAMS: &[&str] = &[
    "sku",
    "prefix",
    "category",
    "location",
    "active",
    "lowStock",
    "outOfStock",
    "minAvailable",
    "maxAvailable",
    "q",
    "storeId",
    "limit",
    "cursor",
    "sort",
];

/// The page that a list request asks for.
pub(super) fn page_request(pairs: Vec<(String, String)>) -> Result<PageRequest, ApiError> {
    let mut params = Params::new(pairs, LIST_PARAMS, &["sku"]);
    let filter = ItemFilter {
        skus: params.skus(),
        prefix: params.text("prefix"),
        category: params.text("category"),
        location: params.text("location"),
        active: params.boolean("active"),
        low_stock: params.boolean("lowStock"),
        out_of_stock: params.boolean("outOfStock"),
        min_available: params.quantity("minAvailable"),
        max_available: params.quantity("maxAvailable"),
        text: params.text("q").map(|text| text.to_lowercase()),
        store_id: params
            .parse("storeId", |text| StoreId::new(text).map_err(|error| error.to_string())),
    };
    let limit = params.limit();
    let sort = params.parse("sort", parse_sort);
    let (rank, descending) = sort.unwrap_or((Rank::Sku, false));
    let cursor = params.text("cursor");
    params.finish()?;
    let after = match cursor {
        None => None,
        Some(text) => Some(decode_cursor(&text, rank, descending)?),
    };
    Ok(PageRequest { filter, rank, descending, after, limit })
}

/// The cursor of the page behind `place`: the place, and after a dot the order that it is a place
/// of; lists by SKU alone need none.
pub(super) fn encode_cursor(place: &PageCursor, request: &PageRequest) -> String {
    let place = place.encode();
    match sort_text(request.rank, request.descending) {
        sort if sort == sort_text(Rank::Sku, false) => place,
        sort => format!("{place}.{sort}"),
    }
}

/// A cursor belongs to the order of its list.
fn decode_cursor(text: &str, rank: Rank, descending: bool) -> Result<PageCursor, ApiError> {
    let invalid = |detail: String| ApiError::new(ErrorCode::InvalidCursor, detail);
    let (place, sort) = match text.split_once('.') {
        Some((place, sort)) => (place, sort.to_owned()),
        None => (text, sort_text(Rank::Sku, false)),
    };
    let cursor =
        PageCursor::decode(place).map_err(|error| invalid(format!("the cursor {error}")))?;
    if sort != sort_text(rank, descending) || cursor.rank.is_some() == (rank == Rank::Sku) {
        return Err(invalid("the cursor is of a list with another sort".to_owned()));
    }
    Ok(cursor)
}

/// What a list can be sorted by, as `sort` says it.
const RANKS: [(&str, Rank); 5] = [
    ("sku", Rank::Sku),
    ("stock", Rank::Stock),
    ("reserved", Rank::Reserved),
    ("sold", Rank::Sold),
    ("availableStock", Rank::Available),
];

fn sort_text(rank: Rank, descending: bool) -> String {
    let name = RANKS.iter().find(|(_, known)| *known == rank).map_or("", |(name, _)| name);
    format!("{}{name}", if descending { "-" } else { "" })
}

fn parse_sort(text: &str) -> Result<(Rank, bool), String> {
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let known = RANKS.iter().find(|(known, _)| *known == name);
    known.map(|(_, rank)| (*rank, descending)).ok_or_else(|| {
        let names = RANKS.map(|(name, _)| name).join(", ");
        format!("must be one of {names}, with - before it for the greatest first")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &[(&str, &str)]) -> Result<PageRequest, String> {
        let pairs = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        page_request(pairs.collect()).map_err(|error| match error.0.extra.get("errors") {
            None => error.0.error.to_owned(),
            Some(errors) => {
                let errors = errors.as_array().unwrap().iter();
                let words: Vec<_> = errors
                    .map(|error| {
                        format!(
                            "{} {}",
                            error["pointer"].as_str().unwrap(),
                            error["code"].as_str().unwrap()
                        )
                    })
                    .collect();
                words.join(", ")
            }
        })
    }

    #[test]
    fn all_errors_of_a_query_are_told_at_once() {
        let bad = [
            ("limit", "0"),
            ("lowStok", "true"),
            ("active", "yes"),
            ("sku", " a"),
            ("sort", "price"),
            ("prefix", "a"),
            ("prefix", "b"),
        ];
        let errors = "query:lowStok unknown_field, query:prefix duplicate_field, query:sku outer_white_space, \
                      query:active invalid, query:limit invalid, query:sort invalid";
        assert_eq!(check(&bad).unwrap_err(), errors);
    }

    #[test]
    fn a_cursor_belongs_to_its_sort() {
        let sorts = ["sku", "-sku", "stock", "-stock", "-availableStock", "reserved", "-sold"];
        for sort in sorts {
            let request = check(&[("sku", "A"), ("sku", "B"), ("sort", sort)]).unwrap();
            assert_eq!(request.filter.skus.len(), 2);
            let rank = (request.rank != Rank::Sku).then_some(7);
            let place = PageCursor { rank, sku: Sku::new("PROD-001").unwrap() };
            let cursor = encode_cursor(&place, &request);
            for other in sorts {
                let answer = check(&[("cursor", &cursor), ("sort", other)]);
                if other == sort {
                    assert_eq!(answer.unwrap().after.as_ref(), Some(&place));
                } else {
                    assert_eq!(answer.unwrap_err(), "InvalidCursor", "{sort} used for {other}");
                }
            }
        }
        assert!(check(&[("cursor", "UFJPRC0wMDE")]).is_ok(), "lists by SKU need no order");
        for cursor in ["!", "UFJPRC0wMDE.", "UFJPRC0wMDE.price", ".sku", "."] {
            assert_eq!(check(&[("cursor", cursor)]).unwrap_err(), "InvalidCursor", "{cursor}");
        }
    }
}
