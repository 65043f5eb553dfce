//! Bars that are measured by an example of another crate: built, run, and its JSON judged. Nothing
//! here may interpret more of that JSON than the part says, nor pass over one that failed.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::part::{Criterion, Findings, Setup};

/// The most characters of what a program printed and of its complaint, that are kept.
const PRINTED_CHARS_MAX: usize = 20_000;
const COMPLAINT_CHARS_MAX: usize = 3_000;

/// Runs `cargo run --release …` with `DIR` and `FILE` in the command replaced: an empty directory
/// and where the JSON goes. It may end with 1 to say that it missed a bar: what counts is what it
/// wrote, judged by `criteria`.
pub fn measure(
    setup: &Setup,
    command: &str,
    criteria: impl FnOnce(&Value) -> Vec<Criterion>,
) -> Result<Findings> {
    let directory = setup.directory.join("example");
    std::fs::create_dir_all(&directory)?;
    let json = setup.directory.join("example.json");
    let places = [("DIR", directory.display().to_string()), ("FILE", json.display().to_string())];
    let places = places.each_ref().map(|(word, place)| (*word, place.as_str()));
    let output = run(setup, command, &places)?;
    let complaint = last(&output.stderr, COMPLAINT_CHARS_MAX);
    let result = std::fs::read(&json).ok();
    let result: Option<Value> = result.and_then(|text| serde_json::from_slice(&text).ok());
    let figures = result.with_context(|| format!("{command} wrote no figures:\n{complaint}"))?;
    let criteria = criteria(&figures);
    ensure!(!criteria.is_empty(), "the figures of {command} have nothing that could be judged");
    let printed = last(&output.stdout, PRINTED_CHARS_MAX);
    let text = format!("```\n{}\n```\n", printed.trim_end());
    print!("{printed}");
    Ok(Findings { commands: vec![command.to_owned()], criteria, text, figures })
}

/// Runs a command to its end with some of its words replaced. The launcher starts it, so that it
/// ends with this program.
pub fn run(setup: &Setup, command: &str, places: &[(&str, &str)]) -> Result<Output> {
    let replaced = |word: &str| {
        let place = places.iter().find(|(name, _)| *name == word);
        place.map_or(word, |(_, place)| *place).to_owned()
    };
    let starter = std::process::id().to_string();
    let mut program = Command::new(setup.binaries.launch());
    program.arg(starter).args(command.split(' ').map(replaced)).current_dir(&setup.repository);
    program.output().with_context(|| format!("running {command}"))
}

/// The figure at a JSON pointer (`/ratio/median`); no number, which meets no bar, if there is none.
pub fn figure(figures: &Value, pointer: &str) -> f64 {
    figures.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn last(bytes: &[u8], chars_max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let start = text.chars().count().saturating_sub(chars_max);
    text.chars().skip(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_figure_that_is_missing_is_no_number() {
        let figures = json!({"ratio": {"median": 0.7}});
        assert!((figure(&figures, "/ratio/median") - 0.7).abs() < 1e-9);
        assert!(figure(&figures, "/ratio/max").is_nan());
        assert!(figure(&Value::Null, "/ratio").is_nan());
    }

    #[test]
    fn the_end_of_a_long_text_is_kept() {
        assert_eq!(last("ab→c".as_bytes(), 2), "→c");
    }
}
