//! The reference's table of latencies (non-functional requirements), p95 of each operation on a
//! store of ten million SKUs, by one client and, where that holds, by sixteen. It must never count a
//! put-off answer (503) as an answer, nor hide the first search for a text after a start: that one
//! makes what the others ask, so it is measured by itself and told beside them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::latency::post;
use crate::bench::example;
use crate::bench::large::sku;
use crate::bench::node;
use crate::bench::pace::{self, Latencies, Pace};
use crate::bench::part::{Criterion, Setup};
use crate::bench::table::table;
use crate::bench::usage::Usage;
use crate::world::Service;

/// Makes the store.
pub const GENERATE: &str = "cargo run --release --quiet -p store-node --example generate_store -- --data-dir DIR --skus SKUS";
/// Clients, each with a connection, one request after the other.
const CLIENTS: [usize; 2] = [1, 16];
/// How long each operation is measured at each number of clients.
const SECONDS: f64 = 1.5;
/// Lines of a bulk check.
const BULK_LINES: u64 = 50;

/// An operation of the table.
struct Operation {
    name: &'static str,
    /// p95, in milliseconds.
    bar_ms: f64,
    /// Writes a request: client, number, how many SKUs there are.
    request: fn(usize, u64, u64, &mut Vec<u8>),
}

/// The table but for its last row, its bars those of the reference.
const OPERATIONS: [Operation; 8] = [
    Operation { name: "read an item", bar_ms: 50.0, request: read },
    Operation { name: "list of 100", bar_ms: 100.0, request: list },
    Operation { name: "availability of one item", bar_ms: 30.0, request: available_one },
    Operation { name: "availability of 50 items", bar_ms: 200.0, request: available_many },
    Operation { name: "reserve", bar_ms: 150.0, request: reserve },
    Operation { name: "create an item", bar_ms: 100.0, request: create },
    Operation { name: "search: category, low stock", bar_ms: 250.0, request: search_low },
    Operation {
        name: "search: category, most available first",
        bar_ms: 250.0,
        request: search_sorted,
    },
];
/// The last row of the table: its first request after a start is measured apart.
const TEXT_SEARCH: Operation =
    Operation { name: "search: text in the name", bar_ms: 250.0, request: search_text };

/// What one operation took.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    operation: &'static str,
    bar_ms: f64,
    /// By one client.
    one: Latencies,
    /// By sixteen; none where one client alone missed the bar already.
    many: Option<Latencies>,
}

/// The table and what the node used.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// SKUs in the store.
    pub skus: u64,
    /// From the node's start to readiness.
    pub start_seconds: f64,
    /// Of the first search for a text after the start, which no row counts.
    pub first_text_seconds: f64,
    /// Of the node, at the end.
    pub usage: Usage,
    /// One for each operation.
    pub rows: Vec<Row>,
}

impl Row {
    /// Judged by the worse of both.
    pub fn criterion(&self) -> Criterion {
        let one = self.one.p95_us / 1e3;
        let many = self.many.map(|seen| seen.p95_us / 1e3);
        let told = many.map_or("left out".to_owned(), |many| format!("{many:.2} ms"));
        let result = format!("1 client {one:.2} ms, 16 clients {told}");
        let what = format!("p95: {}", self.operation);
        let worse = many.map_or(one, |many| one.max(many));
        Criterion::at_most(&what, result, (worse, "ms"), self.bar_ms)
    }
}

/// Makes the store, starts a node over it and measures every operation.
pub async fn measure(setup: &Setup) -> Result<Table> {
    let data = setup.directory.join("large");
    let skus = setup.skus.to_string();
    let place = data.display().to_string();
    let began = Instant::now();
    let made = example::run(setup, GENERATE, &[("DIR", &place), ("SKUS", &skus)])?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut node = node::stopped(setup, "large")?;
    let start_seconds = node.restart().await?.as_secs_f64();
    println!("  a store of {skus} SKUs, made and opened in {:.0} s", began.elapsed().as_secs_f64());
    let mut rows = Vec::new();
    for operation in &OPERATIONS {
        rows.push(row(setup, &node, operation).await?);
    }
    let first_text_seconds = first_seconds(setup, &node, &TEXT_SEARCH).await?;
    println!("  {}", first_text(first_text_seconds));
    rows.push(row(setup, &node, &TEXT_SEARCH).await?);
    let usage = Usage::of(node.id().unwrap_or_default())?;
    node.stop().await?;
    std::fs::remove_dir_all(&data)?;
    Ok(Table { skus: setup.skus, start_seconds, first_text_seconds, usage, rows })
}

/// How long one request alone takes.
async fn first_seconds(setup: &Setup, node: &Service, operation: &Operation) -> Result<f64> {
    // The second would fall due after the end.
    let pace = Pace { connections: 1, per_second: Some(1.0), seconds: 0.5 };
    let seen = run(setup, node, operation, pace, 0).await?;
    ensure!((seen.requests, seen.put_off) == (1, 0), "one request, answered: {seen:?}");
    Ok(seen.max_us / 1e6)
}

fn first_text(seconds: f64) -> String {
    format!("the first search for a text after a start: {seconds:.2} s")
}

async fn row(setup: &Setup, node: &Service, operation: &Operation) -> Result<Row> {
    let mut seen = Vec::new();
    for clients in CLIENTS {
        let pace = Pace { connections: clients, per_second: None, seconds: SECONDS };
        // Clients of different runs ask for different SKUs and orders.
        let latencies = run(setup, node, operation, pace, clients * 100).await?;
        seen.push(latencies);
        // Sixteen would only wait for each other.
        if latencies.p95_us / 1e3 > operation.bar_ms {
            break;
        }
    }
    let mut seen = seen.into_iter();
    let one = seen.next().context("one client was measured")?;
    let row = Row { operation: operation.name, bar_ms: operation.bar_ms, one, many: seen.next() };
    println!("  {}: {}", row.operation, row.criterion().result);
    Ok(row)
}

/// Runs an operation; its clients have numbers from `first_client` on.
async fn run(
    setup: &Setup,
    node: &Service,
    operation: &Operation,
    pace: Pace,
    first_client: usize,
) -> Result<Latencies> {
    let (address, skus, request) = (node.spec().address, setup.skus, operation.request);
    let ask = move |client: usize, number: u64, bytes: &mut Vec<u8>| {
        request(first_client + client, number, skus, bytes);
    };
    tokio::task::spawn_blocking(move || pace::run(address, pace, &ask)).await?
}

impl Table {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let seen = [Some(row.one), row.many].map(|seen| {
                let Some(seen) = seen else { return " |  |  | ".to_owned() };
                let [p50, p95, p99] = [seen.p50_us, seen.p95_us, seen.p99_us].map(|us| us / 1e3);
                format!("{p50:.2} | {p95:.2} | {p99:.2} | {:.0}", seen.per_second)
            });
            let put_off = row.one.put_off + row.many.map_or(0, |seen| seen.put_off);
            format!("{} | {} | {} | {put_off}", row.operation, row.bar_ms, seen.join(" | "))
        });
        let headings = "operation | p95 asked ms | 1 client: p50 | p95 | p99 | /s | 16 clients: p50 | p95 | p99 | /s | put off";
        format!(
            "\nThe reference's table, {} SKUs (ready {:.1} s after the start; user {:.1} s, system {:.1} s, peak RSS {:.0} MiB):\n\n\
             {}\nNot counted in any row, {}.\n",
            self.skus,
            self.start_seconds,
            self.usage.user_seconds,
            self.usage.system_seconds,
            self.usage.peak_rss_mib(),
            table(headings, rows),
            first_text(self.first_text_seconds)
        )
    }
}

/// An item's number, scattered over all of them by a step of the golden ratio's.
fn place(client: usize, number: u64, skus: u64) -> u64 {
    let order = (client as u64) << 40 | number;
    (order.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16) % skus
}

/// The same for a number whose item has at least ten units.
fn in_stock(client: usize, number: u64, skus: u64) -> String {
    let first = place(client, number, skus);
    let enough = |place: &u64| !place.is_multiple_of(50) && place * 7_919 % 1_001 >= 10;
    sku((first..skus).find(enough).unwrap_or(1))
}

fn get(request: &mut Vec<u8>, path: &str) {
    request.extend_from_slice(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes());
}

fn read(client: usize, number: u64, skus: u64, request: &mut Vec<u8>) {
    get(request, &format!("/api/inventory/{}", sku(place(client, number, skus))));
}

fn list(_client: usize, _number: u64, _skus: u64, request: &mut Vec<u8>) {
    get(request, "/api/inventory?limit=100");
}

fn available_one(client: usize, number: u64, skus: u64, request: &mut Vec<u8>) {
    availability(request, client, skus, number..number + 1);
}

fn available_many(client: usize, number: u64, skus: u64, request: &mut Vec<u8>) {
    let first = number * BULK_LINES;
    availability(request, client, skus, first..first + BULK_LINES);
}

fn availability(request: &mut Vec<u8>, client: usize, skus: u64, numbers: std::ops::Range<u64>) {
    let line = |number| {
        let sku = sku(place(client, number, skus));
        format!(r#"{{"sku":"{sku}","quantity":1}}"#)
    };
    let lines: Vec<String> = numbers.map(line).collect();
    post(request, "/api/availability", &format!(r#"{{"items":[{}]}}"#, lines.join(",")));
}

fn reserve(client: usize, number: u64, skus: u64, request: &mut Vec<u8>) {
    let path = format!("/api/inventory/{}/reserve", in_stock(client, number, skus));
    post(request, &path, &format!(r#"{{"orderId":"t-{client}-{number}","quantity":1}}"#));
}

fn create(client: usize, number: u64, _skus: u64, request: &mut Vec<u8>) {
    let body = format!(r#"{{"sku":"NEW-{client}-{number}","stock":5,"category":"garden"}}"#);
    post(request, "/api/inventory", &body);
}

fn search_low(_client: usize, number: u64, _skus: u64, request: &mut Vec<u8>) {
    let category = ["kitchen", "garden", "toys"][(number % 3) as usize];
    get(request, &format!("/api/inventory?category={category}&lowStock=true&limit=100"));
}

fn search_sorted(_client: usize, number: u64, _skus: u64, request: &mut Vec<u8>) {
    let category = ["kitchen", "garden", "toys"][(number % 3) as usize];
    get(request, &format!("/api/inventory?category={category}&sort=-availableStock&limit=100"));
}

fn search_text(client: usize, number: u64, skus: u64, request: &mut Vec<u8>) {
    get(
        request,
        &format!("/api/inventory?q=number%20{:012}&limit=100", place(client, number, skus)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::part::Verdict;

    fn row(one: f64, many: Option<f64>) -> Row {
        let seen = Latencies::with_p95_us;
        Row { operation: "read", bar_ms: 50.0, one: seen(one), many: many.map(seen) }
    }

    #[test]
    fn the_worse_number_of_clients_is_judged() {
        assert_eq!(row(50e3, Some(49e3)).criterion().verdict(), Verdict::Met);
        assert_eq!(row(1e3, Some(50.1e3)).criterion().verdict(), Verdict::Missed);
        assert_eq!(row(51e3, None).criterion().verdict(), Verdict::Missed);
        assert_eq!(row(1e3, Some(f64::INFINITY)).criterion().verdict(), Verdict::Missed);
    }

    #[test]
    fn the_first_search_for_a_text_is_told_beside_the_rows() {
        let usage = Usage::default();
        let (start_seconds, first_text_seconds) = (1.0, 1.5);
        let rows = vec![row(1e3, Some(2e3))];
        let text = Table { skus: 7, start_seconds, first_text_seconds, usage, rows }.markdown();
        let told = "the first search for a text after a start: 1.50 s.";
        assert!(text.trim_end().ends_with(told), "{text}");
    }

    #[test]
    fn asks_for_items_that_the_generator_made() {
        assert_eq!([sku(0), sku(1), sku(20_000)], ["S00000000000", "S00007368787", "S47375740000"]);
        assert!((0..1_000).all(|number| place(3, number, 10_000) < 10_000));
        let mut request = Vec::new();
        available_many(1, 0, 10_000, &mut request);
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["items"].as_array().unwrap().len(), 50);
    }
}
