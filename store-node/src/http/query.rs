//! Query strings: every parameter is known, given once (unless it is a list) and of its type; all
//! errors at once. Nothing sent may be ignored.

use std::borrow::Cow;

use axum::http::Uri;
use shared::wire::problem::{FieldError, Problem};

use super::failure::Failure;
use super::percent;

/// How many parameters a query may have.
const PARAMETERS_MAX: usize = 1100;

/// A parsed query and what is wrong with it so far.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    errors: Vec<FieldError>,
}

/// Refuses any parameter, for endpoints without.
pub(super) fn require_none(uri: &Uri) -> Result<(), Failure> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(_) => Query::parse(uri, &[], &[]).finish(),
    }
}

impl<'a> Query<'a> {
    /// Reads a query whose parameters are these; `lists` may be given more than once.
    pub(super) fn parse(uri: &'a Uri, singles: &[&str], lists: &[&str]) -> Self {
        let mut query = Self::default();
        let parts = uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
        for (count, part) in parts.enumerate() {
            if count == PARAMETERS_MAX {
                query.error("", "max_items", format!("at most {PARAMETERS_MAX} parameters"));
                break;
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decoded = (percent::decode(name, true), percent::decode(value, true));
            let (Some(name), Some(value)) = decoded else {
                query.error(name, "utf8", "must be UTF-8");
                continue;
            };
            if !singles.contains(&&*name) && !lists.contains(&&*name) {
                query.error(&name, "unknown_field", "is not a parameter here");
            } else if singles.contains(&&*name) && query.text(&name).is_some() {
                query.error(&name, "duplicate_field", "is given more than once");
            } else {
                query.pairs.push((name, value));
            }
        }
        query
    }

    /// Notes an error of a parameter.
    pub(super) fn error(
        &mut self,
        name: &str,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) {
        let pointer = format!("query:{name}");
        self.errors.push(FieldError { pointer, code, message: message.into() });
    }

    /// A parameter's value.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// A parameter's value of one's own.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// All values of a list parameter.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let values = self.pairs.iter().filter(|(key, _)| key == name);
        values.map(|(_, value)| value.clone().into_owned()).collect()
    }

    /// A `true` or `false`.
    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.text(name)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.error(name, "type", "must be true or false");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, name: &str, min: u64, max: u64) -> Option<u64> {
        let text = self.text(name)?;
        let negative = text.strip_prefix('-').is_some_and(is_digits);
        let (code, message) = match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) && is_digits(text) => return Some(number),
            Ok(number) if number < min => ("min", format!("must be at least {min}")),
            _ if negative => ("min", format!("must be at least {min}")),
            _ if is_digits(text) => ("max", format!("must be at most {max}")),
            _ => ("type", "must be an integer".to_owned()),
        };
        self.error(name, code, message);
        None
    }

    /// Whether all of it was fine.
    pub(super) fn finish(self) -> Result<(), Failure> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::validation(&self.errors).into()) }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
