//! The types of a settings file. The layer below turns `1.5` into 2 and `5` into a text; here every
//! value of the file must be what its key asks for, and nothing is turned into anything.

use config::{Map, Value, ValueKind};

use super::ConfigError;

/// Refuses the first key of a file whose value is of another type than its default; keys without a
/// default are texts. Keys that aren't ours are left to whoever refuses them by name.
pub(super) fn check(
    file: &Map<String, Value>,
    defaults: &Map<String, Value>,
    keys: &[&str],
) -> Result<(), ConfigError> {
    for key in keys {
        let Some(found) = file.get(*key) else {
            continue;
        };
        let wanted = defaults.get(*key).map_or("a text", |value| type_name(&value.kind));
        if type_name(&found.kind) != wanted {
            return Err(refused(key, wanted, &found.kind));
        }
    }
    check_stores(file.get("store"))
}

/// `[[store]]`: tables of texts.
fn check_stores(stores: Option<&Value>) -> Result<(), ConfigError> {
    let Some(stores) = stores else {
        return Ok(());
    };
    let ValueKind::Array(stores) = &stores.kind else {
        return Err(refused("store", "a list of tables ([[store]])", &stores.kind));
    };
    for store in stores {
        let ValueKind::Table(members) = &store.kind else {
            return Err(refused("store", "a list of tables ([[store]])", &store.kind));
        };
        for (name, value) in members {
            if !matches!(value.kind, ValueKind::String(_)) {
                return Err(refused(&format!("store.{name}"), "a text", &value.kind));
            }
        }
    }
    Ok(())
}

fn refused(key: &str, wanted: &str, found: &ValueKind) -> ConfigError {
    let problem = format!("must be {wanted}, is {}", shown(found));
    ConfigError::Value { key: key.to_owned(), problem }
}

fn type_name(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            "a whole number"
        }
        ValueKind::Float(_) => "a number with a fraction",
        ValueKind::String(_) => "a text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

fn shown(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Float(_) => format!("{} ({kind})", type_name(kind)),
        ValueKind::String(text) => format!("the text {text:?}"),
        ValueKind::Nil | ValueKind::Table(_) | ValueKind::Array(_) => type_name(kind).to_owned(),
        ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_) => kind.to_string(),
    }
}
