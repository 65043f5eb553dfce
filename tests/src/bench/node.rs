//! A node with items in it, put under load and asked afterwards what it kept. Nothing here may
//! believe a count that the load generator didn't see acknowledged.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::part::{Criterion, Setup};
use super::series::Series;
use super::table::table;
use super::usage::Usage;
use super::wrk::{Load, Plan};
use crate::http::Client;
use crate::world::{Service, ServiceSpec, free_address};

/// Units of each SKU: enough for any round.
pub const STOCK: u64 = 1_000_000_000;
/// Items created in one request.
const CREATES_MAX: usize = 5_000;

/// One side of a round: what the client saw and what the server used for it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// What wrk saw.
    #[serde(flatten)]
    pub load: Load,
    /// What the server used during the run; the memory is its peak since it started.
    #[serde(flatten)]
    pub usage: Usage,
}

impl Side {
    /// Successful answers a second.
    pub fn per_second(&self) -> f64 {
        self.load.per_second()
    }

    /// Microseconds of processor time for each answer.
    pub fn cpu_us(&self) -> f64 {
        self.usage.cpu_seconds() * 1e6 / self.load.requests.max(1) as f64
    }
}

/// What each process used for an answer, medians over the rounds, as a Markdown table.
pub fn usage_table(processes: &[(&str, Vec<&Side>)]) -> String {
    let rows = processes.iter().map(|(name, sides)| {
        let median = |figure: &dyn Fn(&Side) -> f64| {
            Series::of(sides.iter().map(|side| figure(side))).median
        };
        format!(
            "{name} | {:.1} | {:.2} | {:.2} | {:.1}",
            median(&Side::cpu_us),
            median(&|side| side.usage.user_seconds),
            median(&|side| side.usage.system_seconds),
            median(&|side| side.usage.peak_rss_mib())
        )
    });
    let table = table("process | user+system µs | user s | system s | peak RSS MiB", rows);
    format!("\nProcessor time of an answer and peak memory (medians):\n\n{table}")
}

/// A fresh node that listens on a free port; its data is in `<directory>/<name>`.
pub async fn start(setup: &Setup, name: &str) -> Result<Service> {
    let mut node = stopped(setup, name)?;
    node.restart().await?;
    Ok(node)
}

/// The same before its start, over whatever is in its directory. The store is called `bench`.
pub fn stopped(setup: &Setup, name: &str) -> Result<Service> {
    let data = setup.directory.join(name);
    let spec = ServiceSpec::node(&setup.binaries, "bench", &data, free_address()?)
        .with_options(&setup.node_options)
        .ends_with_its_starter(&setup.binaries);
    Service::stopped(spec)
}

/// The ceiling of docs/performance.md: a handler that parses and answers the same and keeps nothing.
pub async fn start_ceiling(setup: &Setup) -> Result<Service> {
    let address = free_address()?;
    let data = setup.directory.join("ceiling");
    let mut spec = ServiceSpec::node(&setup.binaries, "ceiling", &data, address);
    spec.program = setup.binaries.ceiling();
    spec.arguments = vec!["--listen".to_owned(), address.to_string()];
    Service::start(spec.ends_with_its_starter(&setup.binaries)).await
}

/// Runs wrk against a service; an error if any answer wasn't a good one.
pub async fn load(service: &Service, plan: Plan) -> Result<Side> {
    let id = service.id().context("the service runs")?;
    let base = service.client().base().to_owned();
    let before = Usage::of(id)?;
    let load = tokio::task::spawn_blocking(move || plan.run(&base)).await??;
    let usage = Usage::of(id)?.since(before);
    load.ensure_all_good()?;
    Ok(Side { load, usage })
}

/// One round of ours: a fresh node with `skus` items under the plans in turn, killed with -9,
/// started again, counted, stopped and removed. The sides are in the order of the plans.
pub async fn durable_round(
    setup: &Setup,
    name: &str,
    skus: usize,
    plans: Vec<Plan>,
) -> Result<(Vec<Side>, Kept)> {
    let mut node = start(setup, name).await?;
    create_items(node.client(), skus).await?;
    let in_flight_max: usize = plans.iter().map(|plan| plan.connections).sum();
    let mut sides = Vec::new();
    for plan in plans {
        sides.push(load(&node, plan).await?);
    }
    node.kill()?;
    let acknowledged = sides.iter().map(|side| side.load.acknowledged()).sum();
    let kept = Kept::after_restart(&mut node, skus, acknowledged, in_flight_max as u64).await?;
    node.stop().await?;
    std::fs::remove_dir_all(&node.spec().data_dir).context("removing a round's data")?;
    Ok((sides, kept))
}

/// Creates `SKU-00000` and so on, with [`STOCK`] units of each.
pub async fn create_items(client: &Client, skus: usize) -> Result<()> {
    let numbers: Vec<usize> = (0..skus).collect();
    for chunk in numbers.chunks(CREATES_MAX) {
        let operations: Vec<Value> = chunk
            .iter()
            .map(
                |number| json!({"op": "create", "sku": format!("SKU-{number:05}"), "stock": STOCK}),
            )
            .collect();
        let body = json!({"atomic": true, "operations": operations});
        client.post("/api/batch", &body).await?.ok()?;
    }
    Ok(())
}

/// Units reserved over all of `skus` items.
async fn reserved(client: &Client, skus: usize) -> Result<u64> {
    let rows = client.list_all("/api/inventory").await?;
    if rows.len() != skus {
        bail!("{} items came back, {skus} were created", rows.len());
    }
    rows.iter().map(|row| row["reserved"].as_u64().context("an item says what is reserved")).sum()
}

/// What a killed and restarted node still holds, beside what was acknowledged before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Reservations of one unit that the client saw acknowledged.
    pub acknowledged: u64,
    /// Units reserved after kill -9 and the restart.
    pub durable: u64,
    /// Requests that may have been on their way when a run of the client stopped.
    pub in_flight_max: u64,
    /// From the restart to readiness, in milliseconds.
    pub recovery_ms: f64,
}

impl Kept {
    /// Starts a killed node again and counts; `in_flight_max` is the sum of the connections of all
    /// runs against it.
    async fn after_restart(
        node: &mut Service,
        skus: usize,
        acknowledged: u64,
        in_flight_max: u64,
    ) -> Result<Self> {
        let recovery = node.restart().await.context("restarting the killed node")?;
        let durable = reserved(node.client(), skus).await?;
        Ok(Self { acknowledged, durable, in_flight_max, recovery_ms: recovery.as_secs_f64() * 1e3 })
    }

    /// The criterion that no round lost or invented one.
    pub fn criterion(rounds: &[Self]) -> Criterion {
        let counts: Vec<String> = rounds.iter().map(|kept| kept.durable.to_string()).collect();
        let all = !rounds.is_empty() && rounds.iter().all(|kept| kept.is_durable());
        let what = "every acknowledged reservation there after kill -9";
        Criterion::holds(what, format!("{} found", counts.join(", ")), all)
    }

    /// Nothing acknowledged is missing, and what is there beyond it was on its way.
    pub fn is_durable(self) -> bool {
        (self.acknowledged..=self.acknowledged + self.in_flight_max).contains(&self.durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::part::Verdict;

    #[test]
    fn a_lost_or_invented_reservation_is_seen() {
        let kept =
            |durable| Kept { acknowledged: 10, durable, in_flight_max: 128, recovery_ms: 1.0 };
        assert!(kept(10).is_durable());
        assert!(kept(138).is_durable());
        assert!(!kept(9).is_durable());
        assert!(!kept(139).is_durable());
        let verdict = |rounds: &[Kept]| Kept::criterion(rounds).verdict();
        assert_eq!(verdict(&[kept(10), kept(138)]), Verdict::Met);
        assert_eq!(verdict(&[kept(10), kept(9)]), Verdict::Failed);
        assert_eq!(verdict(&[]), Verdict::Failed);
    }
}
