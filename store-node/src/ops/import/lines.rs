//! One line of an import: from named fields to a command, and to the JSON of the batch endpoint.
//! It must report everything that is wrong with a line, not just the first thing.

use std::fmt;

use compact_str::CompactString;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::command::{Action, AdjustReason, NewItem};
use shared::wire::text::{NAME_BYTES_MAX, REFERENCE_BYTES_MAX, UNIT_BYTES_MAX, check_line};
use shared::{Command, Context, QUANTITY_MAX, Quantity, Sku, Timestamp};

const ITEM_FIELDS: [&str; 8] =
    ["sku", "name", "category", "location", "unit", "stock", "reorderPoint", "safetyStock"];
const MOVEMENT_FIELDS: [&str; 6] = ["sku", "op", "quantity", "reason", "reference", "occurredAt"];

/// The named values of a line, in order.
pub(super) type Fields = Vec<(String, Value)>;

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// New items with opening stock.
    Items,
    /// Goods that come and go.
    Movements,
}

/// A valid line.
#[derive(Debug, Clone)]
pub struct ImportLine {
    /// Its number in the file, from 1.
    pub number: u64,
    /// What it asks.
    pub command: Command,
    /// Why and when.
    pub context: Context,
    /// The same as an operation of `POST /api/batch`.
    pub operation: Value,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineError {
    /// The line's number in the file, from 1.
    pub line: u64,
    /// The field; empty when it is the line itself.
    pub field: String,
    /// What is wrong, as the rest of a sentence.
    pub message: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, field, message } = self;
        if field.is_empty() {
            write!(f, "line {line} {message}")
        } else {
            write!(f, "line {line}: {field} {message}")
        }
    }
}

/// Parses one line; the error holds everything that is wrong with it.
pub(super) fn parse_line(
    kind: Kind,
    number: u64,
    fields: &Fields,
) -> Result<ImportLine, Vec<LineError>> {
    let mut line = LineParser { number, fields, errors: Vec::new() };
    line.check_names(match kind {
        Kind::Items => &ITEM_FIELDS,
        Kind::Movements => &MOVEMENT_FIELDS,
    });
    let parsed = match kind {
        Kind::Items => line.item(),
        Kind::Movements => line.movement(),
    };
    match parsed {
        Some(parsed) if line.errors.is_empty() => Ok(parsed),
        _ => Err(line.errors),
    }
}

struct LineParser<'a> {
    number: u64,
    fields: &'a Fields,
    errors: Vec<LineError>,
}

impl LineParser<'_> {
    fn item(&mut self) -> Option<ImportLine> {
        let sku = self.sku();
        let texts = ["name", "category", "location"].map(|name| self.text(name, NAME_BYTES_MAX));
        let [name, category, location] = texts.map(Option::unwrap_or_default);
        let unit = self.text("unit", UNIT_BYTES_MAX).unwrap_or_default();
        let stock = self.number("stock", 0);
        let reorder_point = self.number("reorderPoint", 0);
        let safety_stock = self.number("safetyStock", 0);
        let mut operation = Operation::new("create", sku.as_ref()?);
        operation.put("stock", stock.unwrap_or_default());
        for (name, text) in
            [("name", &name), ("category", &category), ("location", &location), ("unit", &unit)]
        {
            operation.put_text(name, text);
        }
        operation.put_some("reorderPoint", reorder_point);
        operation.put_some("safetyStock", safety_stock);
        let new = NewItem {
            stock: quantity(stock.unwrap_or_default()),
            name,
            category,
            location,
            unit,
            reorder_point: reorder_point.map(quantity),
            safety_stock: quantity(safety_stock.unwrap_or_default()),
        };
        self.line(sku?, Action::create(new), Context::default(), operation)
    }

    fn movement(&mut self) -> Option<ImportLine> {
        let sku = self.sku();
        let op = self.required("op").and_then(|value| value.as_str().map(str::to_owned));
        let reason = self.text("reason", REFERENCE_BYTES_MAX);
        let reference = self.text("reference", REFERENCE_BYTES_MAX);
        let occurred_at = self.time("occurredAt");
        let op = op?;
        let units = if op == "adjust" { self.delta() } else { self.positive() };
        let mut context =
            Context { reference: reference.clone(), occurred_at, ..Context::default() };
        let action = match op.as_str() {
            "receive" => Action::Receive { quantity: quantity(units.unwrap_or_default()) },
            "sell" => Action::Sell { quantity: quantity(units.unwrap_or_default()) },
            "return" => {
                Action::Return { quantity: quantity(units.unwrap_or_default()), restock: true }
            }
            "adjust" => {
                let reason = self.adjust_reason(reason.as_deref());
                Action::Adjust { delta: units.unwrap_or_default(), reason }
            }
            other => {
                self.error("op", format!("must be receive, sell, return or adjust, is {other:?}"));
                return None;
            }
        };
        if op != "adjust" {
            context.reason.clone_from(&reason);
        }
        let mut operation = Operation::new(&op, sku.as_ref()?);
        operation.put("quantity", units?);
        operation.put_text("reason", reason.as_deref().unwrap_or_default());
        operation.put_text("reference", reference.as_deref().unwrap_or_default());
        operation.put_text("occurredAt", &occurred_at.map(|at| at.to_string()).unwrap_or_default());
        if op == "adjust" && reason.is_none() {
            operation.put_text("reason", "correction");
        }
        self.line(sku?, action, context, operation)
    }

    #[expect(clippy::unnecessary_wraps, reason = "so that callers end with it")]
    fn line(
        &self,
        sku: Sku,
        action: Action,
        context: Context,
        operation: Operation,
    ) -> Option<ImportLine> {
        let command = Command { sku, action, expected_version: None };
        Some(ImportLine {
            number: self.number,
            command,
            context,
            operation: Value::Object(operation.0),
        })
    }

    fn check_names(&mut self, known: &[&str]) {
        for (index, (name, _)) in self.fields.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                self.error(name, format!("is not a field; known are {}", known.join(", ")));
            } else if self.fields[..index].iter().any(|(earlier, _)| earlier == name) {
                self.error(name, "is there twice".to_owned());
            }
        }
    }

    fn sku(&mut self) -> Option<Sku> {
        let value = self.required("sku")?;
        let Some(text) = value.as_str() else {
            self.error("sku", "must be a text".to_owned());
            return None;
        };
        match Sku::new(text) {
            Ok(sku) => Some(sku),
            Err(error) => {
                self.error("sku", error.to_string());
                None
            }
        }
    }

    /// A text by the rules of the API, but that an empty one is none, as it is in CSV.
    fn text(&mut self, name: &str, bytes_max: usize) -> Option<CompactString> {
        let value = self.find(name)?;
        let Some(text) = value.as_str() else {
            self.error(name, "must be a text".to_owned());
            return None;
        };
        if text.is_empty() {
            return None;
        }
        if text.len() > bytes_max {
            let length = text.len();
            self.error(name, format!("must be at most {bytes_max} bytes, is {length}"));
        }
        if let Err(error) = check_line(text) {
            self.error(name, error.to_string());
        }
        Some(text.into())
    }

    fn time(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name, REFERENCE_BYTES_MAX)?;
        let parsed = Timestamp::parse(&text);
        parsed.map_err(|error| self.error(name, error.to_string())).ok()
    }

    fn positive(&mut self) -> Option<i64> {
        self.required("quantity")?;
        self.number("quantity", 1)
    }

    fn delta(&mut self) -> Option<i64> {
        self.required("quantity")?;
        let units = self.number("quantity", -(QUANTITY_MAX as i64))?;
        if units == 0 {
            self.error("quantity", "must not be 0".to_owned());
        }
        Some(units)
    }

    /// A whole number of at least `min`; in CSV it comes as text.
    fn number(&mut self, name: &str, min: i64) -> Option<i64> {
        let value = self.find(name)?;
        let parsed = match &value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_i64(),
        };
        let Some(number) = parsed else {
            self.error(name, format!("must be a whole number, is {value}"));
            return None;
        };
        if number < min || number > QUANTITY_MAX as i64 {
            self.error(name, format!("must be {min} to {QUANTITY_MAX}, is {number}"));
            return None;
        }
        Some(number)
    }

    fn adjust_reason(&mut self, reason: Option<&str>) -> AdjustReason {
        let Some(reason) = reason else {
            return AdjustReason::Correction;
        };
        serde_json::from_value(Value::from(reason)).unwrap_or_else(|_| {
            let known = "damage, theft, found, correction, expired or other";
            self.error("reason", format!("must be {known}, is {reason:?}"));
            AdjustReason::Other
        })
    }

    fn required(&mut self, name: &str) -> Option<Value> {
        let value = self.find(name);
        if value.is_none() {
            self.error(name, "is missing".to_owned());
        }
        value
    }

    fn find(&self, name: &str) -> Option<Value> {
        let found = self.fields.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_null())
    }

    fn error(&mut self, field: &str, message: String) {
        let error = LineError { line: self.number, field: field.to_owned(), message };
        // A field that is looked at twice is still wrong only once.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

/// An operation of `POST /api/batch` in the making.
struct Operation(Map<String, Value>);

impl Operation {
    fn new(op: &str, sku: &Sku) -> Self {
        let mut map = Map::new();
        map.insert("op".to_owned(), Value::from(op));
        map.insert("sku".to_owned(), Value::from(sku.as_str()));
        Self(map)
    }

    fn put(&mut self, name: &str, number: i64) {
        self.0.insert(name.to_owned(), Value::from(number));
    }

    fn put_some(&mut self, name: &str, number: Option<i64>) {
        if let Some(number) = number {
            self.put(name, number);
        }
    }

    fn put_text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.0.insert(name.to_owned(), Value::from(text));
        }
    }
}

/// A quantity that was checked to be in range.
fn quantity(units: i64) -> Quantity {
    Quantity::new(units.unsigned_abs()).unwrap_or_default()
}
