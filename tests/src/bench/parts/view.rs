//! P7, the aggregator: how fast it takes over the logs of several nodes with every digest checked,
//! beside reading those logs and throwing them away; and what it is like with many cells: memory,
//! start, lists. The released programs, from outside. Unless the view is verified, or holds what was
//! made, there is no result.

pub mod ingest;
pub mod size;

use serde_json::json;

use crate::bench::part::{Findings, Part, Setup};
use crate::bench::series::Series;

/// P7.
pub const PART: Part = Part {
    name: "P7",
    title: "the aggregator: events taken over, memory and lists with ten stores of many SKUs",
    measure: |setup| Box::pin(measure(setup)),
};

async fn measure(setup: &Setup) -> anyhow::Result<Findings> {
    let rounds = ingest::measure(setup).await?;
    let sized = size::measure(setup).await?;
    let ratio = Series::of(rounds.iter().map(ingest::Round::ratio));
    let mut criteria = ingest::criteria(&rounds);
    criteria.extend(sized.criteria());
    Ok(Findings {
        commands: vec![
            "aggregator serve --node http://127.0.0.1:… (4 times)".to_owned(),
            ingest::READ_LOGS.to_owned(),
            size::MAKE_VIEW.to_owned(),
            format!("the full size: bench --parts P7 --skus {}", size::SKUS_OF_FULL_SIZE),
        ],
        criteria,
        text: ingest::markdown(&rounds) + &sized.markdown(),
        figures: json!({"rounds": rounds, "ratio": ratio, "size": sized}),
    })
}
