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
use crate::world::{Service, run_job};

/// Starts of the large node: memory is the same each time, the time isn't.
const STARTS_MAX: usize = 2;
/// Starts of the small ones, of which the median counts: what an allocator keeps of what was given
/// back is different each time.
const SMALL_STARTS: usize = 5;
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
    let size = Size { skus: setup.skus, keys: 0 };
    let large = looks(&mut large::stopped(setup, "large", size)?, size, starts).await?;
    let size = Size { skus: KEYED_SKUS, keys: 0 };
    let without = looks(&mut large::stopped(setup, "without", size)?, size, SMALL_STARTS).await?;
    let size = Size { skus: KEYED_SKUS, keys: KEYS };
    let mut keyed = large::stopped(setup, "keyed", size)?;
    let replayed = looks(&mut keyed, size, SMALL_STARTS).await?;
    take_snapshot(&mut keyed).await?;
    let from_snapshot = looks(&mut keyed, size, SMALL_STARTS).await?;
    let sku_bytes =
        Series::of(large.iter().map(|look| look.resident_bytes as f64 / setup.skus as f64));
    let start_seconds = Series::of(large.iter().map(|look| look.start_seconds));
    let base = Series::of(without.iter().map(|look| look.resident_bytes as f64)).median;
    let key_bytes = |looks: &[Look]| {
        Series::of(looks.iter().map(|look| (look.resident_bytes as f64 - base) / KEYS as f64))
    };
    let (replayed_bytes, snapshot_bytes) = (key_bytes(&replayed), key_bytes(&from_snapshot));
    let told_key_bytes = replayed[0].key_table_bytes as f64 / KEYS as f64;
    let criteria = vec![
        Criterion::at_most(
            "VmRSS of a node for each SKU",
            format!("{} SKUs; {:.1} – {:.1}", setup.skus, sku_bytes.min, sku_bytes.max),
            (sku_bytes.median, "bytes"),
            SKU_BYTES_BAR,
        ),
        Criterion::at_most(
            "VmRSS that keys add, for each key, after replaying them",
            format!("{}; the table itself {told_key_bytes:.1}", of_keys(&replayed_bytes)),
            (replayed_bytes.median, "bytes"),
            KEY_BYTES_BAR,
        ),
        Criterion::at_most(
            "VmRSS that keys add, for each key, opened from a snapshot",
            of_keys(&snapshot_bytes),
            (snapshot_bytes.median, "bytes"),
            KEY_BYTES_BAR,
        ),
    ];
    Ok(Findings {
        commands: vec![large::GENERATE.to_owned()],
        criteria,
        text: text(&large, [&without, &replayed, &from_snapshot]),
        figures: json!({
            "large": large,
            "withoutKeys": without,
            "keyed": replayed,
            "keyedFromSnapshot": from_snapshot,
            "skuBytes": sku_bytes,
            "startSeconds": start_seconds,
            "keyBytes": replayed_bytes,
            "keyFromSnapshotBytes": snapshot_bytes,
            "keyTableBytes": told_key_bytes,
        }),
    })
}

fn of_keys(bytes: &Series) -> String {
    format!("{KEYS} keys, {SMALL_STARTS} starts; {:.1} – {:.1}", bytes.min, bytes.max)
}

/// What a stopped node looks like, started so many times.
async fn looks(node: &mut Service, size: Size, starts: usize) -> Result<Vec<Look>> {
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
            "  {}: ready in {start_seconds:.1} s, {} bytes resident, {} at most",
            node.spec().name,
            look.resident_bytes,
            look.peak_bytes
        );
        looks.push(look);
        node.stop().await?;
    }
    Ok(looks)
}

/// Lets a stopped node take a snapshot, from which it is opened from then on.
async fn take_snapshot(node: &mut Service) -> Result<()> {
    node.restart().await?;
    let job = run_job(node.client(), "/api/admin/snapshot", JOB_DEADLINE).await?;
    ensure!(job["state"] == "done", "the snapshot came to no good end: {job}");
    node.stop().await?;
    Ok(())
}

fn text(large: &[Look], [without, keyed, from_snapshot]: [&[Look]; 3]) -> String {
    let named = [
        ("all SKUs, no keys", large),
        ("few SKUs, no keys", without),
        ("few SKUs, with keys", keyed),
        ("few SKUs, with keys, from a snapshot", from_snapshot),
    ];
    let looks = named.iter().flat_map(|(name, looks)| looks.iter().map(move |look| (name, look)));
    let rows = looks.map(|(name, look)| {
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
