//! P5: the replay alone and the opening of a big snapshot, by the example of their own crate. It
//! must never judge anything but what recovery does.

use serde_json::Value;

use crate::bench::example::{self, figure};
use crate::bench::part::{Criterion, Part};

const COMMAND: &str =
    "cargo run --release --quiet -p store-node --example replay_bench -- --dir DIR --json FILE";
const EVENTS_PER_SECOND_BAR: f64 = 4_000_000.0;
const RATIO_BAR: f64 = 0.5;
const SNAPSHOT_SECONDS_BAR: f64 = 5.0;

/// P5.
pub const PART: Part = Part {
    name: "P5",
    title: "replay into item state with the key table, and a snapshot of ten million SKUs",
    measure: |setup| Box::pin(async move { example::measure(setup, COMMAND, criteria) }),
};

fn criteria(figures: &Value) -> Vec<Criterion> {
    let number = |pointer: &str| figure(figures, pointer);
    let replay = number("/replay_events_per_second/median");
    let ceiling = number("/ceiling_events_per_second/median");
    let items = number("/snapshot/items");
    vec![
        Criterion::at_least(
            "events replayed",
            format!("{} events", number("/events")),
            (replay, "/s"),
            EVENTS_PER_SECOND_BAR,
        ),
        Criterion::ratio(
            "replay beside reading, crc and hashing",
            format!("{replay:.0}/s beside {ceiling:.0}/s"),
            number("/ratio/median"),
            RATIO_BAR,
        ),
        Criterion::at_most(
            "a snapshot opens",
            format!("{items} SKUs, {} bytes", number("/snapshot/bytes")),
            (number("/snapshot/open_seconds/median"), "s"),
            SNAPSHOT_SECONDS_BAR,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::part::Verdict;
    use serde_json::json;

    #[test]
    fn each_of_the_three_can_miss() {
        let verdict = |rate: f64, ratio: f64, seconds: f64| {
            Verdict::of(&criteria(&json!({
                "replay_events_per_second": {"median": rate},
                "ratio": {"median": ratio},
                "snapshot": {"open_seconds": {"median": seconds}},
            })))
        };
        assert_eq!(verdict(4e6, 0.5, 5.0), Verdict::Met);
        assert_eq!(verdict(3.9e6, 0.5, 5.0), Verdict::Missed);
        assert_eq!(verdict(4e6, 0.4, 5.0), Verdict::Missed);
        assert_eq!(verdict(4e6, 0.5, 5.1), Verdict::Missed);
        assert_eq!(Verdict::of(&criteria(&Value::Null)), Verdict::Missed);
    }
}
