//! The types of a settings file. The layer below turns `1.5` into 2 and `5` into a text; here every
//! value of the file must be what its key asks for, and nothing is turned into anything.

use config::{Map, Value, ValueKind};

use super::ConfigError;

/// Refuses the first key of a file whose value is of another type than its default; keys without a
/// default are texts. Keys that aren't ours are left to whoever refuses them by name.
pub(super) fn check(
    file: &Map<String, Value>,
    defaults: &Map<String, Value>,
    keys: &[&'static str],
) -> Result<(), ConfigError> {
    for key in keys {
        let Some(found) = file.get(*key) else {
            continue;
        };
        let wanted = defaults.get(*key).map_or("a text", |value| type_name(&value.kind));
        if type_name(&found.kind) != wanted {
            let shown = shown(&found.kind);
            let problem = format!("must be {wanted}, is {shown}");
            return Err(ConfigError::Value { key, problem });
        }
    }
    Ok(())
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
