//! P4 and P5: the log alone and the replay alone, measured by the examples of their own crates.
//! Nothing here may interpret more of their JSON than the ratios and the bars, nor pass over one
//! that failed.

use std::path::Path;
use std::process::Command;

use serde::Serialize;
use serde_json::Value;

/// A measuring program of another crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// P4.
    Log,
    /// P5.
    Replay,
}

/// What it measured.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The bar's name.
    pub bar: &'static str,
    /// The command, for the report.
    pub command: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What it printed; of a failed one the end of what it complained about.
    pub printed: String,
    /// Its JSON; null of a failed one.
    pub result: Value,
}

/// How a measurement came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every bar was met.
    Met,
    /// At least one wasn't.
    Missed,
    /// There is no measurement.
    Failed,
}

impl Verdict {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Failed => "FAILED",
        }
    }
}

/// The most characters of a failed program's complaint.
const COMPLAINT_CHARS_MAX: usize = 3_000;

impl Part {
    /// The bar's name.
    pub fn bar(self) -> &'static str {
        match self {
            Self::Log => "P4",
            Self::Replay => "P5",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Self::Log => "cargo run --release -p event-log --example log_bench -- DIR --json FILE",
            Self::Replay => {
                "cargo run --release -p store-node --example replay_bench -- --dir DIR --json FILE"
            }
        }
    }

    /// Builds and runs it over an empty directory.
    pub fn measure(self, repository: &Path, directory: &Path) -> Measured {
        let json = directory.with_extension("json");
        let words = self.command().split(' ').map(|word| match word {
            "DIR" => directory.as_os_str(),
            "FILE" => json.as_os_str(),
            word => word.as_ref(),
        });
        let mut words = words.collect::<Vec<_>>().into_iter();
        let program = words.next().unwrap_or("cargo".as_ref());
        let output = std::fs::create_dir_all(directory)
            .and_then(|()| Command::new(program).args(words).current_dir(repository).output());
        let (printed, complaint) = match output {
            Ok(output) => (output.stdout, output.stderr),
            Err(error) => (Vec::new(), error.to_string().into_bytes()),
        };
        // It may end with 1 to say that it missed a bar: what counts is what it wrote.
        let result: Value = std::fs::read(&json)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let text = if result.is_null() { complaint } else { printed };
        let text = String::from_utf8_lossy(&text).into_owned();
        let start = text.chars().count().saturating_sub(COMPLAINT_CHARS_MAX);
        Measured {
            bar: self.bar(),
            command: self.command().to_owned(),
            verdict: verdict(&result),
            printed: text.chars().skip(start).collect(),
            result,
        }
    }
}

fn verdict(result: &Value) -> Verdict {
    let met = match (result["bars_met"].as_bool(), result["cases"].as_array()) {
        (Some(met), _) => met,
        (None, Some(cases)) => cases.iter().all(|case| {
            let number = |field: &str| case[field].as_f64();
            number("ratio") >= number("bar") && number("ratio").is_some()
        }),
        (None, None) => return Verdict::Failed,
    };
    if met { Verdict::Met } else { Verdict::Missed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_missed_bar_and_a_missing_measurement_are_told_apart() {
        let cases = [
            (json!({"bars_met": true}), Verdict::Met),
            (json!({"bars_met": false}), Verdict::Missed),
            (json!({"cases": [{"ratio": 0.8, "bar": 0.7}]}), Verdict::Met),
            (
                json!({"cases": [{"ratio": 0.8, "bar": 0.7}, {"ratio": 0.6, "bar": 0.7}]}),
                Verdict::Missed,
            ),
            (json!({"cases": [{"bar": 0.7}]}), Verdict::Missed),
            (Value::Null, Verdict::Failed),
        ];
        for (result, expected) in cases {
            assert_eq!(verdict(&result), expected, "{result}");
        }
    }
}
