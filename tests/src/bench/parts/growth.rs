//! P11, the SKUs: what an event costs a node of ten thousand, a hundred thousand, a million and ten
//! million SKUs, the load spread over all of them, so that the largest finds little in the caches.
//! It must never compare sizes that weren't measured in the same round, nor count an event that
//! isn't there after kill -9.

mod bodies;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use crate::bench::large::{self, Size};
use crate::bench::node::{self, Side};
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::series::Series;
use crate::bench::table::table;
use crate::bench::wrk::{CONNECTIONS, Plan};
use crate::world::Service;
use bodies::{Bodies, LINES};

/// The sizes below the largest (`Setup::skus`).
const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];
/// Connections that post batches: as many are on their way.
const BATCH_CONNECTIONS: usize = 4;
const SALES_SECONDS: u64 = 2;
const BATCHES_SECONDS: u64 = 1;
/// What an event may cost more with more SKUs.
const BAR: f64 = 1.1;

/// P11, the SKUs.
pub const PART: Part = Part {
    name: "P11-skus",
    title: "cost of an event from ten thousand to ten million SKUs",
    measure: |setup| Box::pin(measure(setup)),
};

/// A node of one size.
struct Shop {
    skus: u64,
    node: Service,
    bodies: Bodies,
    /// Events that are known to be durable.
    events: u64,
}

/// What events cost a node of one size in one round.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    skus: u64,
    sales: Side,
    batches: Side,
}

impl Cost {
    /// Microseconds of processor time of a sale in a request of its own.
    fn sale_us(&self) -> f64 {
        self.sales.cpu_us()
    }

    /// The same of a movement in a batch.
    fn movement_us(&self) -> f64 {
        self.batches.cpu_us() / LINES as f64
    }
}

async fn measure(setup: &Setup) -> Result<Findings> {
    let sizes = SIZES.into_iter().filter(|size| *size < setup.skus).chain([setup.skus]);
    let mut shops = Vec::new();
    for skus in sizes {
        shops.push(Shop::open(setup, skus).await?);
    }
    let mut rounds = Vec::new();
    for number in 0..setup.rounds {
        let mut costs = Vec::new();
        for shop in &mut shops {
            let cost = shop.load(setup).await?;
            println!(
                "  round {}: {} SKUs: a sale {:.2} µs ({:.0}/s), a movement in a batch {:.3} µs ({:.0}/s)",
                number + 1,
                cost.skus,
                cost.sale_us(),
                cost.sales.per_second(),
                cost.movement_us(),
                cost.batches.per_second() * LINES as f64
            );
            costs.push(cost);
        }
        rounds.push(costs);
    }
    for shop in &mut shops {
        shop.kill_and_count().await?;
    }
    Ok(findings(setup, &rounds))
}

impl Shop {
    async fn open(setup: &Setup, skus: u64) -> Result<Self> {
        let mut node = large::stopped(setup, &format!("skus-{skus}"), Size { skus, keys: 0 })?;
        node.restart().await?;
        let bodies = Bodies::write(&setup.directory.join(format!("bodies-{skus}")), skus)?;
        let events = durable(&node).await?;
        Ok(Self { skus, node, bodies, events })
    }

    async fn load(&mut self, setup: &Setup) -> Result<Cost> {
        let sales = node::load(&self.node, sales(setup, self.skus)).await?;
        let batches = node::load(&self.node, batches(setup, &self.bodies)).await?;
        self.events += sales.load.acknowledged() + batches.load.acknowledged() * LINES as u64;
        Ok(Cost { skus: self.skus, sales, batches })
    }

    /// An error unless every acknowledged event is there after kill -9.
    async fn kill_and_count(&mut self) -> Result<()> {
        self.node.kill()?;
        self.node.restart().await.context("restarting the killed node")?;
        let found = durable(&self.node).await?;
        let all = found >= self.events;
        ensure!(all, "{} SKUs: {found} events found, {} acknowledged", self.skus, self.events);
        self.node.stop().await?;
        Ok(())
    }
}

/// How many events the node's log holds.
async fn durable(node: &Service) -> Result<u64> {
    let details = node.client().get("/api/admin/log").await?.ok()?.json()?;
    details["durableSeq"].as_u64().context("a log has a durable seq")
}

fn sales(setup: &Setup, skus: u64) -> Plan {
    Plan {
        script: setup.repository.join("tests/bench/sell.lua"),
        connections: CONNECTIONS,
        seconds: SALES_SECONDS,
        arguments: vec![skus.to_string()],
    }
}

fn batches(setup: &Setup, bodies: &Bodies) -> Plan {
    let mut arguments = vec!["/api/batch".to_owned(), bodies::MEDIA_TYPE.to_owned()];
    arguments.extend(bodies.files());
    Plan {
        script: setup.repository.join("tests/bench/post.lua"),
        connections: BATCH_CONNECTIONS,
        seconds: BATCHES_SECONDS,
        arguments,
    }
}

/// What it costs at one size beside the smallest, as the median of the rounds' ratios.
fn growth(rounds: &[Vec<Cost>], size: usize, us: fn(&Cost) -> f64) -> Series {
    Series::of(rounds.iter().map(|costs| us(&costs[size]) / us(&costs[0])))
}

/// Judged by the size at which it is dearest.
fn criterion(what: &str, rounds: &[Vec<Cost>], us: fn(&Cost) -> f64) -> Criterion {
    let sizes = rounds.first().map_or(0, Vec::len);
    let growths: Vec<Series> = (1..sizes).map(|size| growth(rounds, size, us)).collect();
    let most = growths.iter().map(|growth| growth.median).fold(f64::NAN, f64::max);
    let told = growths.iter().map(|growth| format!("{:.2}", growth.median));
    let first = Series::of(rounds.iter().map(|costs| us(&costs[0]))).median;
    let told: Vec<String> = told.collect();
    let result = format!("{first:.2} µs with the fewest SKUs; × {} with more", told.join(", "));
    Criterion::at_most(what, result, (most, "×"), BAR)
}

fn findings(setup: &Setup, rounds: &[Vec<Cost>]) -> Findings {
    let criteria = vec![
        criterion("processor time of a sale over HTTP", rounds, Cost::sale_us),
        criterion("processor time of a movement in a batch", rounds, Cost::movement_us),
        Criterion::holds("every acknowledged event there after kill -9", String::new(), true),
    ];
    let example = sales(setup, setup.skus).command("http://127.0.0.1:4101").join(" ");
    let relative = example.replace(&format!("{}/", setup.repository.display()), "");
    Findings {
        commands: vec![
            large::GENERATE.to_owned(),
            relative,
            format!(
                "wrk -t2 -c{BATCH_CONNECTIONS} -d{BATCHES_SECONDS}s -s tests/bench/post.lua http://127.0.0.1:4101 -- /api/batch {} BODIES",
                bodies::MEDIA_TYPE
            ),
        ],
        criteria,
        text: text(rounds),
        figures: json!({ "rounds": rounds }),
    }
}

fn text(rounds: &[Vec<Cost>]) -> String {
    let sizes = rounds.first().into_iter().flatten().enumerate();
    let rows = sizes.map(|(size, first)| {
        let median = |figure: &dyn Fn(&Cost) -> f64| {
            Series::of(rounds.iter().map(|costs| figure(&costs[size]))).median
        };
        format!(
            "{} | {:.2} | {:.3} | {:.0} | {:.3} | {:.3} | {:.0}",
            first.skus,
            median(&Cost::sale_us),
            growth(rounds, size, Cost::sale_us).median,
            median(&|cost| cost.sales.per_second()),
            median(&Cost::movement_us),
            growth(rounds, size, Cost::movement_us).median,
            median(&|cost| cost.batches.per_second() * LINES as f64)
        )
    });
    let headings = "SKUs | a sale µs | × | sales /s | a movement in a batch µs | × | movements /s";
    let words =
        "Medians of all rounds; the ratios are medians of the rounds' ratios to the fewest SKUs.";
    format!("{words}\n\n{}", table(headings, rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::part::Verdict;
    use crate::bench::usage::Usage;
    use crate::bench::wrk::Load;

    #[test]
    fn the_dearest_size_is_judged_within_its_round() {
        let side = |cpu_seconds: f64| Side {
            load: Load {
                requests: 1_000_000,
                refused: 0,
                broken: 0,
                microseconds: 1,
                p50_us: 1,
                p99_us: 1,
                max_us: 1,
            },
            usage: Usage { user_seconds: cpu_seconds, ..Usage::default() },
        };
        let costs = |seconds: [f64; 3]| -> Vec<Cost> {
            let cost = |seconds| Cost { skus: 1, sales: side(seconds), batches: side(1.0) };
            seconds.into_iter().map(cost).collect()
        };
        let judged = |rounds: &[Vec<Cost>]| criterion("a sale", rounds, Cost::sale_us);
        // The machine was twice as slow in the second round: no growth.
        let even = [costs([10.0, 10.0, 11.0]), costs([20.0, 20.0, 22.0])];
        assert_eq!(judged(&even).verdict(), Verdict::Met);
        let grown = [costs([10.0, 11.2, 10.0]), costs([10.0, 11.2, 10.0])];
        assert_eq!(judged(&grown).verdict(), Verdict::Missed);
        assert_eq!(judged(&[]).verdict(), Verdict::Missed);
    }
}
