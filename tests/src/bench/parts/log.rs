//! P4: the log alone, in process, by the example of its own crate. It must never leave out a case.

use serde_json::Value;

use crate::bench::example;
use crate::bench::part::{Criterion, Part};
use crate::bench::series::Series;

const COMMAND: &str =
    "cargo run --release --quiet -p event-log --example log_bench -- DIR --json FILE";

/// P4.
pub const PART: Part = Part {
    name: "P4",
    title: "the log alone, in process, 96-byte records",
    measure: |setup| Box::pin(async move { example::measure(setup, COMMAND, criteria) }),
};

fn criteria(figures: &Value) -> Vec<Criterion> {
    let cases = figures["cases"].as_array().map(Vec::as_slice).unwrap_or_default();
    cases.iter().map(criterion).collect()
}

fn criterion(case: &Value) -> Criterion {
    let number = |field: &str| example::figure(case, field);
    let what = format!("{} in flight beside one thread that seals and syncs", number("/in_flight"));
    let result =
        format!("{:.0}/s beside {:.0}/s", rate(case, "ours_per_s"), rate(case, "ceiling_per_s"));
    Criterion::ratio(&what, result, number("/ratio"), number("/bar"))
}

fn rate(case: &Value, rounds: &str) -> f64 {
    let rounds = case[rounds].as_array().map(Vec::as_slice).unwrap_or_default();
    Series::of(rounds.iter().filter_map(Value::as_f64)).median
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::part::Verdict;
    use serde_json::json;

    #[test]
    fn each_case_is_judged_by_its_own_bar() {
        let case = |ratio: f64| {
            json!({"in_flight": 1, "ratio": ratio, "bar": 0.7,
                   "ours_per_s": [3.0, 1.0, 2.0], "ceiling_per_s": [4.0]})
        };
        let verdict = |cases: Value| Verdict::of(&criteria(&json!({"cases": cases})));
        assert_eq!(verdict(json!([case(0.8), case(0.7)])), Verdict::Met);
        assert_eq!(verdict(json!([case(0.8), case(0.6)])), Verdict::Missed);
        assert_eq!(verdict(json!([case(0.8), {"bar": 0.7}])), Verdict::Missed);
        assert_eq!(verdict(json!([{"ratio": 0.7}])), Verdict::Missed);
        assert_eq!(criteria(&Value::Null), []);
        let told = criteria(&json!({"cases": [case(0.8)]}));
        assert_eq!(told[0].result, "2/s beside 4/s");
    }
}
