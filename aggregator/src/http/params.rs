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
        Some(text) => Some(page_cursor(&text, rank)?),
    };
    Ok(PageRequest { filter, rank, descending, after, limit })
}

fn page_cursor(text: &str, rank: Rank) -> Result<PageCursor, ApiError> {
    let invalid = |detail: String| ApiError::new(ErrorCode::InvalidCursor, detail);
    let cursor = PageCursor::decode(text).map_err(|error| invalid(format!("cursor {error}")))?;
    if cursor.rank.is_some() == (rank == Rank::Sku) {
        return Err(invalid("the cursor is of a list that was sorted otherwise".to_owned()));
    }
    Ok(cursor)
}

fn parse_sort(text: &str) -> Result<(Rank, bool), String> {
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let rank = match name {
        "sku" => Rank::Sku,
        "stock" => Rank::Stock,
        "reserved" => Rank::Reserved,
        "sold" => Rank::Sold,
        "availableStock" => Rank::Available,
        _ => return Err(
            "must be sku, stock, reserved, sold or availableStock, with - for the greatest first"
                .to_owned(),
        ),
    };
    Ok((rank, descending))
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
        let request = check(&[("sku", "A"), ("sku", "B"), ("sort", "-availableStock")]).unwrap();
        assert_eq!(
            (request.filter.skus.len(), request.rank, request.descending),
            (2, Rank::Available, true)
        );
        assert!(check(&[("cursor", "UFJPRC0wMDE")]).is_ok());
        for query in
            [[("cursor", "UFJPRC0wMDE"), ("sort", "stock")], [("cursor", "!"), ("sort", "sku")]]
        {
            assert_eq!(check(&query).unwrap_err(), "InvalidCursor");
        }
    }
}
