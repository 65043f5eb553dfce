//! P6: what a node holds in memory for each of ten million SKUs and for each idempotency key, and
//! how long it takes to start. It must never take the program's own word where the kernel's is to
//! be had. That memory stays as it is under a day's load is what `make endurance` shows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use crate::bench::large::{self, Size};
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::series::Series;
use crate::bench::table::table;
use crate::bench::usage::Usage;
use crate::world::run_job;

/// Starts of the large node: memory is the same each time, the time isn't.
const STARTS_MAX: usize = 2;
/// What the start itself needed is given back meanwhile.
const SETTLING: Duration = Duration::from_secs(2);
/// How long a snapshot of the keys may take.
const JOB_DEADLINE: Duration = Duration::from_mins(1);
/// Items of the store that holds the keys.
const KEYED_SKUS: u64 = 10_000;
const KEYS: u64 = 1_000_000;
const SKU_BYTES_BAR: f64 = 160.0;
const KEY_BYTES_BAR: f64 = 64.0;

/// P6.
pub const PART: Part = Part {
    name: "P6",
    title: "memory of a node, for each of ten million SKUs and for each idempotency key",
    measure: |setup| Box::pin(measure(setup)),
};

/// A node that has started and settled.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Look {
    /// From the start to readiness.
    start_seconds: f64,
    resident_bytes: u64,
    peak_bytes: u64,
    /// By the node's own count.
    key_table_bytes: u64,
}

async fn measure(setup: &Setup) -> Result<Findings> {
    let starts = setup.rounds.clamp(1, STARTS_MAX);
    let large = looks(setup, "large", Size { skus: setup.skus, keys: 0 }, starts).await?;
    let without = looks(setup, "without", Size { skus: KEYED_SKUS, keys: 0 }, 1).await?;
    // The keys are read from the log first, and then from the snapshot that is taken.
    let keyed = looks(setup, "keyed", Size { skus: KEYED_SKUS, keys: KEYS }, 2).await?;
    let (without, keyed, from_snapshot) = (without[0], keyed[0], keyed[1]);
    let sku_bytes =
        Series::of(large.iter().map(|look| look.resident_bytes as f64 / setup.skus as f64));
    let start_seconds = Series::of(large.iter().map(|look| look.start_seconds));
    let key_bytes = |look: Look| {
        let grown = look.resident_bytes.saturating_sub(without.resident_bytes);
        grown as f64 / KEYS as f64
    };
    let told_key_bytes = keyed.key_table_bytes as f64 / KEYS as f64;
    let criteria = vec![
        Criterion::at_most(
            "VmRSS of a node for each SKU",
            format!("{} SKUs; {:.1} – {:.1}", setup.skus, sku_bytes.min, sku_bytes.max),
            (sku_bytes.median, "bytes"),
            SKU_BYTES_BAR,
        ),
        Criterion::at_most(
            "VmRSS that keys add, for each key, after replaying them",
            format!("{KEYS} keys; the table itself {told_key_bytes:.1}"),
            (key_bytes(keyed), "bytes"),
            KEY_BYTES_BAR,
        ),
        Criterion::at_most(
            "VmRSS that keys add, for each key, opened from a snapshot",
            format!("{KEYS} keys"),
            (key_bytes(from_snapshot), "bytes"),
            KEY_BYTES_BAR,
        ),
    ];
    Ok(Findings {
        commands: vec![large::GENERATE.to_owned()],
        criteria,
        text: text(&large, [without, keyed, from_snapshot]),
        figures: json!({
            "large": large,
            "withoutKeys": without,
            "keyed": keyed,
            "keyedFromSnapshot": from_snapshot,
            "skuBytes": sku_bytes,
            "startSeconds": start_seconds,
            "keyBytes": key_bytes(keyed),
            "keyFromSnapshotBytes": key_bytes(from_snapshot),
            "keyTableBytes": told_key_bytes,
        }),
    })
}

/// A node over a copy of the store, started so many times; one with keys takes a snapshot before
/// it is started again.
async fn looks(setup: &Setup, name: &str, size: Size, starts: usize) -> Result<Vec<Look>> {
    let mut node = large::stopped(setup, name, size)?;
    let mut looks = Vec::new();
    for _ in 0..starts {
        let start_seconds = node.restart().await?.as_secs_f64();
        tokio::time::sleep(SETTLING).await;
        let id = node.id().context("it runs")?;
        let details = node.client().get("/api/admin/log").await?.ok()?.json()?;
        let count = |name: &str| details[name].as_u64().with_context(|| format!("no {name}"));
        let found = Size { skus: count("items")?, keys: count("idempotencyKeys")? };
        ensure!(found == size, "the node has {found:?} instead of {size:?}");
        let look = Look {
            start_seconds,
            resident_bytes: Usage::resident_bytes(id)?,
            peak_bytes: Usage::of(id)?.peak_rss_bytes,
            key_table_bytes: count("idempotencyKeyBytes")?,
        };
        println!(
            "  {name}: ready in {start_seconds:.1} s, {} bytes resident, {} at most",
            look.resident_bytes, look.peak_bytes
        );
        looks.push(look);
        if size.keys > 0 && looks.len() < starts {
            let job = run_job(node.client(), "/api/admin/snapshot", JOB_DEADLINE).await?;
            ensure!(job["state"] == "done", "the snapshot came to no good end: {job}");
        }
        node.stop().await?;
    }
    std::fs::remove_dir_all(&node.spec().data_dir)?;
    Ok(looks)
}

fn text(large: &[Look], [without, keyed, from_snapshot]: [Look; 3]) -> String {
    let named = large.iter().map(|look| ("all SKUs, no keys", *look));
    let few = [
        ("few SKUs, no keys", without),
        ("few SKUs, with keys", keyed),
        ("few SKUs, with keys, from a snapshot", from_snapshot),
    ];
    let rows = named.chain(few).map(|(name, look)| {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        format!(
            "{name} | {:.2} | {:.0} | {:.0} | {:.1}",
            look.start_seconds,
            mib(look.resident_bytes),
            mib(look.peak_bytes),
            mib(look.key_table_bytes)
        )
    });
    let table = table("node | ready after s | VmRSS MiB | VmHWM MiB | key table MiB", rows);
    format!(
        "{table}\nFlat under a day's load: `make endurance` (docs/performance.md, Endurance).\n"
    )
}
