//! `POST /api/batch`: up to 10,000 lines, each with the fields of its own endpoint. A line that
//! breaks rules must never hide the errors of another one.

use std::borrow::Cow;
use std::fmt;

use garde::Validate;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::CommandBody;
use super::items::{CreateBody, DeactivateBody, UpdateBody};
use super::movements::{AdjustBody, ReceiveBody, ReturnBody, SellBody};
use super::reservations::{DeductBody, ExtendBody, ReleaseBody, ReserveBody};
use super::rules;
use crate::command::Command;
use crate::event::Context;
use crate::sku::Sku;
use crate::wire::body::{
    BodyError, Collector, Entries, FIELD_ERRORS_MAX, Node, checked_syntax, collect_value,
    or_unexplained,
};
use crate::wire::problem::FieldError;

/// The most lines of one batch.
pub const BATCH_LINES_MAX: usize = 10_000;

/// A batch whose frame is fine; single lines may not be.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<'a> {
    /// All lines or none, or each for itself.
    pub atomic: bool,
    /// The lines in request order.
    pub lines: Vec<Result<Operation<'a>, InvalidLine>>,
}

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidLine {
    /// Its SKU, where that much could be read.
    pub sku: Option<Sku>,
    /// All of its errors; pointers begin at the body's root.
    pub errors: Vec<FieldError>,
}

/// A line about an existing item.
#[derive(Debug, Clone, PartialEq)]
pub struct OnSku<'a, B> {
    /// The item.
    pub sku: Cow<'a, str>,
    /// The fields of the endpoint.
    pub body: B,
}

macro_rules! operations {
    ($($variant:ident as $name:literal ($body:ty);)*) => {
        /// One line.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "each is the operation of its name, with its endpoint's body")]
        pub enum Operation<'a> {
            Create(CreateBody<'a>),
            $($variant(OnSku<'a, $body>),)*
        }

        /// The values of `op`.
        pub const OPERATION_NAMES: &[&str] = &["create", $($name,)*];

        impl<'a> Operation<'a> {
            /// The operation's name, as `op` says it.
            pub fn name(&self) -> &'static str {
                match self {
                    Self::Create(_) => "create",
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// The item, parsed.
            pub fn sku(&self) -> Sku {
                match self {
                    Self::Create(body) => body.sku(),
                    $(Self::$variant(line) => rules::parsed_sku(&line.sku),)*
                }
            }

            fn body(&self) -> &dyn CommandBody {
                match self {
                    Self::Create(body) => body,
                    $(Self::$variant(line) => &line.body,)*
                }
            }

            pub(super) fn is_valid(&self) -> bool {
                match self {
                    Self::Create(body) => body.validate().is_ok(),
                    $(Self::$variant(line) => {
                        rules::sku(&line.sku, &()).is_ok() && line.body.validate().is_ok()
                    })*
                }
            }

            fn read<A: MapAccess<'a>>(name: &str, map: A) -> Result<Self, A::Error> {
                match name {
                    "create" => {
                        CreateBody::deserialize(MapAccessDeserializer::new(map)).map(Self::Create)
                    }
                    $($name => read_on_sku(map).map(Self::$variant),)*
                    _ => Err(A::Error::custom("unknown op")),
                }
            }

            fn collect(
                name: &str,
                sku: Option<Cow<'a, str>>,
                rest: Node<'_, 'a>,
            ) -> Option<Self> {
                match name {
                    "create" => collect_value(rest).map(Self::Create),
                    $($name => {
                        let body = collect_value(rest)?;
                        Some(Self::$variant(OnSku { sku: sku?, body }))
                    })*
                    _ => None,
                }
            }
        }
    };
}

operations! {
    Update as "update" (UpdateBody<'a>);
    Deactivate as "deactivate" (DeactivateBody);
    Receive as "receive" (ReceiveBody<'a>);
    Sell as "sell" (SellBody<'a>);
    Return as "return" (ReturnBody<'a>);
    Adjust as "adjust" (AdjustBody<'a>);
    Reserve as "reserve" (ReserveBody<'a>);
    Extend as "extend" (ExtendBody<'a>);
    Release as "release" (ReleaseBody<'a>);
    Deduct as "deduct" (DeductBody<'a>);
}

impl Operation<'_> {
    /// The line as a command.
    pub fn command(&self) -> Command {
        let body = self.body();
        Command {
            sku: self.sku(),
            action: body.action(),
            expected_version: body.expected_version(),
        }
    }

    /// Who, why and when, as far as the line says so.
    pub fn context(&self) -> Context {
        self.body().context()
    }
}

/// Parses a batch. The error is about the body as a whole; invalid lines are in [`Batch::lines`].
pub fn parse_batch(bytes: &[u8]) -> Result<Batch<'_>, BodyError> {
    if let Ok(fast) = serde_json::from_slice::<FastBatch<'_>>(bytes)
        && (1..=BATCH_LINES_MAX).contains(&fast.operations.0.len())
        && fast.operations.0.iter().all(Operation::is_valid)
    {
        let lines = fast.operations.0.into_iter().map(Ok).collect();
        return Ok(Batch { atomic: fast.atomic, lines });
    }
    let raw = checked_syntax(bytes)?;
    let collector = Collector::default();
    let batch = collect_value::<SlowBatch<'_>>(Node::present(raw, "#".to_owned(), &collector));
    let errors = collector.finish()?;
    let Some(batch) = batch.filter(|_| errors.is_empty()) else {
        return Err(BodyError::Invalid(or_unexplained(errors)));
    };
    let mut lines = Vec::with_capacity(batch.operations.len());
    for (index, raw) in batch.operations.iter().enumerate() {
        lines.push(parse_line(raw.0, format!("#/operations/{index}"))?);
    }
    Ok(Batch { atomic: batch.atomic, lines })
}

impl Batch<'_> {
    /// The errors of all lines, at most [`FIELD_ERRORS_MAX`].
    pub fn errors(&self) -> Vec<FieldError> {
        let invalid = self.lines.iter().filter_map(|line| line.as_ref().err());
        invalid.flat_map(|line| line.errors.iter().cloned()).take(FIELD_ERRORS_MAX).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FastBatch<'a> {
    atomic: bool,
    #[serde(borrow)]
    operations: FastLines<'a>,
}

/// Stops reading one line after the bound.
struct FastLines<'a>(Vec<Operation<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for FastLines<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LinesVisitor;
        impl<'de> Visitor<'de> for LinesVisitor {
            type Value = Vec<Operation<'de>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of operations")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut lines = Vec::new();
                while let Some(FastLine(line)) = list.next_element()? {
                    if lines.len() == BATCH_LINES_MAX {
                        return Err(A::Error::custom("too many operations"));
                    }
                    lines.push(line);
                }
                Ok(lines)
            }
        }
        deserializer.deserialize_seq(LinesVisitor).map(Self)
    }
}

/// A line whose first member is `op`; others take the second look.
pub(super) struct FastLine<'a>(pub(super) Operation<'a>);

impl<'de> Deserialize<'de> for FastLine<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LineVisitor;
        impl<'de> Visitor<'de> for LineVisitor {
            type Value = Operation<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                if map.next_key::<&'de str>()? != Some("op") {
                    return Err(A::Error::custom("op does not come first"));
                }
                let name: &'de str = map.next_value()?;
                Operation::read(name, map)
            }
        }
        deserializer.deserialize_map(LineVisitor).map(Self)
    }
}

fn read_on_sku<'de, A, B>(map: A) -> Result<OnSku<'de, B>, A::Error>
where
    A: MapAccess<'de>,
    B: Deserialize<'de>,
{
    let mut sku = None;
    let rest = WithoutSku { map, sku: &mut sku };
    let body = B::deserialize(MapAccessDeserializer::new(rest))?;
    let sku = sku.ok_or_else(|| A::Error::missing_field("sku"))?;
    Ok(OnSku { sku, body })
}

#[derive(Deserialize)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of a line except `sku`, which is put aside on the way.
struct WithoutSku<'s, 'de, A> {
    map: A,
    sku: &'s mut Option<Cow<'de, str>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutSku<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        loop {
            let Some(key) = self.map.next_key::<&'de str>()? else {
                return Ok(None);
            };
            if key != "sku" {
                return seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some);
            }
            let BorrowedText(text) = self.map.next_value()?;
            if self.sku.replace(text).is_some() {
                return Err(A::Error::duplicate_field("sku"));
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[derive(Deserialize, Validate)]
#[serde(rename = "batch", deny_unknown_fields)]
struct SlowBatch<'a> {
    #[garde(skip)]
    atomic: bool,
    #[serde(borrow)]
    #[garde(custom(rules::list_length(1, BATCH_LINES_MAX)))]
    operations: Vec<RawValueText<'a>>,
}

/// The JSON text of a value: the name tells [`Node`] to hand it over unread.
#[derive(Deserialize)]
struct RawValueText<'a>(&'a str);

#[derive(Deserialize, Validate)]
#[serde(rename = "a batch line", deny_unknown_fields)]
struct OpField<'a> {
    #[serde(borrow)]
    #[garde(skip)]
    op: Cow<'a, str>,
}

#[derive(Deserialize, Validate)]
#[serde(rename = "a batch line", deny_unknown_fields)]
struct SkuField<'a> {
    #[serde(borrow)]
    #[garde(custom(rules::sku))]
    sku: Cow<'a, str>,
}

/// The second look at one line.
pub(super) fn parse_line(
    raw: &str,
    pointer: String,
) -> Result<Result<Operation<'_>, InvalidLine>, BodyError> {
    let collector = Collector::default();
    let Some(entries) = Node::present(raw, pointer.clone(), &collector).entries() else {
        return Ok(Err(InvalidLine { sku: None, errors: or_unexplained(collector.finish()?) }));
    };
    parse_fields(entries, pointer, collector)
}

/// The second look at the members of a line.
pub(super) fn parse_fields(
    entries: Entries<'_>,
    pointer: String,
    collector: Collector,
) -> Result<Result<Operation<'_>, InvalidLine>, BodyError> {
    let (ops, rest) = split_off(entries, "op");
    let op = collect_value::<OpField<'_>>(Node::object(ops, pointer.clone(), &collector));
    let op = op.map(|field| field.op).unwrap_or_default();
    let (skus, others) = split_off(rest.clone(), "sku");
    let (line, sku) = if op == "create" {
        let line = Operation::collect("create", None, Node::object(rest, pointer, &collector));
        let text = match &line {
            Some(Operation::Create(body)) => Some(body.sku.clone()),
            _ => None,
        };
        (line, text)
    } else {
        let sku = collect_value::<SkuField<'_>>(Node::object(skus, pointer.clone(), &collector));
        let sku = sku.map(|field| field.sku);
        if !op.is_empty() && !OPERATION_NAMES.contains(&op.as_ref()) {
            let message = format!("must be one of {}", OPERATION_NAMES.join(", "));
            collector.value_error(&format!("{pointer}/op"), "one_of", message);
        }
        (Operation::collect(&op, sku.clone(), Node::object(others, pointer, &collector)), sku)
    };
    let errors = collector.finish()?;
    Ok(match line {
        Some(line) if errors.is_empty() => Ok(line),
        Some(_) | None => {
            let sku = sku.and_then(|text| Sku::new(&text).ok());
            Err(InvalidLine { sku, errors: or_unexplained(errors) })
        }
    })
}

/// The members of this name, and the others.
pub(super) fn split_off<'a>(entries: Entries<'a>, name: &str) -> (Entries<'a>, Entries<'a>) {
    let (named, others) = entries.0.into_iter().partition(|(key, _)| key == name);
    (Entries(named), Entries(others))
}
