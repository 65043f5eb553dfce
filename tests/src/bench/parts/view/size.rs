//! The aggregator with ten stores of many SKUs, started from its saved state: how long that takes,
//! what a cell takes of memory, and how long lists and searches take. It must never count a put-off
//! answer (503) as an answer, nor cells that aren't there.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::bench::example;
use crate::bench::large;
use crate::bench::pace::{self, Latencies, Pace};
use crate::bench::part::{Criterion, Setup};
use crate::bench::table::table;
use crate::bench::usage::Usage;
use crate::world::{Service, ServiceSpec, free_address};

/// Makes the saved state.
pub const MAKE_VIEW: &str = "cargo run --release --quiet -p aggregator --example make_view -- --data-dir DIR --stores 10 --skus SKUS";
/// Stores.
const STORES: u64 = 10;
/// Each has this part of a large store's SKUs: the whole would take `make bench` ten minutes.
const SKUS_SHARE: u64 = 5;
/// `--skus` for the size of the contract, ten million in each store.
pub const SKUS_OF_FULL_SIZE: u64 = 10_000_000 * SKUS_SHARE;
/// Bytes for each SKU and store.
const BYTES_BAR: f64 = 96.0;
/// How long each question is asked.
const SECONDS: f64 = 2.0;

/// Something that is asked again and again.
struct Question {
    what: &'static str,
    /// p95, in milliseconds.
    bar_ms: f64,
    /// The path of a number's question.
    path: fn(u64) -> String,
}

/// The bars are those of the reference's table: read < 50, list of 100 < 100, filtered search < 250.
const QUESTIONS: [Question; 14] = [
    Question { what: "one item", bar_ms: 50.0, path: |n| format!("/api/inventory/{}", sku(n)) },
    Question { what: "summary", bar_ms: 50.0, path: |_| "/api/summary".to_owned() },
    Question { what: "list of 100", bar_ms: 100.0, path: |_| list("") },
    Question {
        what: "list of 100, prefix",
        bar_ms: 100.0,
        path: |n| list(&format!("prefix=S{:03}", n * 37 % 1_000)),
    },
    Question { what: "list of 100, one store", bar_ms: 100.0, path: |_| list("storeId=store-7") },
    Question {
        what: "category, low stock",
        bar_ms: 250.0,
        path: |n| list(&format!("category={}&lowStock=true", category(n))),
    },
    Question {
        what: "category, most available first",
        bar_ms: 250.0,
        path: |n| list(&format!("category={}&sort=-availableStock", category(n))),
    },
    Question {
        what: "most available first",
        bar_ms: 250.0,
        path: |_| list("sort=-availableStock"),
    },
    Question {
        what: "at least so many available: nothing",
        bar_ms: 250.0,
        path: |_| list("minAvailable=9000000"),
    },
    Question {
        what: "location, least available first",
        bar_ms: 250.0,
        path: |n| list(&format!("location=W-{}&sort=availableStock", n % 500)),
    },
    Question {
        what: "text in the name",
        bar_ms: 250.0,
        path: |n| list(&format!("q=number%20{:012}", n * 7_919 % 1_000_000)),
    },
    Question { what: "text that is nowhere", bar_ms: 250.0, path: |_| list("q=zzzz") },
    Question {
        what: "one store, low stock, least first",
        bar_ms: 250.0,
        path: |_| list("storeId=store-7&lowStock=true&sort=stock"),
    },
    Question {
        what: "one store, text in the name",
        bar_ms: 250.0,
        path: |n| list(&format!("storeId=store-7&q=number%20{:012}", n * 7_919 % 1_000_000)),
    },
];

/// What one question took.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    question: &'static str,
    bar_ms: f64,
    seen: Latencies,
}

/// What an aggregator of so many cells is like.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sized {
    /// SKUs, of which every store has each.
    skus: u64,
    /// From the start until it answers, everything read from its files.
    start_seconds: f64,
    /// Resident memory for each SKU and store, once started, at its peak so far.
    bytes_a_cell: f64,
    /// The same after all questions.
    bytes_a_cell_in_the_end: f64,
    /// Of the process, its start included.
    usage: Usage,
    rows: Vec<Row>,
}

/// Makes the state, starts the aggregator over it and asks.
pub async fn measure(setup: &Setup) -> Result<Sized> {
    let data = setup.directory.join("many");
    let skus = (setup.skus / SKUS_SHARE).max(1);
    let (place, count) = (data.display().to_string(), skus.to_string());
    let began = Instant::now();
    let made = example::run(setup, MAKE_VIEW, &[("DIR", &place), ("SKUS", &count)])?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    println!("  {STORES} stores of {skus} SKUs made in {:.0} s", began.elapsed().as_secs_f64());
    // Nobody answers there: what is measured is what the aggregator holds.
    let urls: Vec<String> = (0..STORES).map(|store| format!("http://127.0.1.{store}:9")).collect();
    let spec = ServiceSpec::aggregator(&setup.binaries, &data, free_address()?, &urls)
        .with_options(&["--log-level", "error"].map(str::to_owned))
        .ends_with_its_starter(&setup.binaries);
    let mut office = Service::stopped(spec)?;
    let start_seconds = office.restart().await?.as_secs_f64();
    let usage = |office: &Service| Usage::of(office.id().unwrap_or_default());
    let bytes = |usage: Usage| usage.peak_rss_bytes as f64 / (skus * STORES) as f64;
    let bytes_a_cell = bytes(usage(&office)?);
    check(&office, skus).await?;
    println!("  started in {start_seconds:.1} s, {bytes_a_cell:.1} bytes a cell");
    let mut rows = Vec::new();
    for question in &QUESTIONS {
        let row = ask(&office, question).await?;
        println!("  {}: p95 {:.2} ms", row.question, row.seen.p95_us / 1e3);
        rows.push(row);
    }
    let usage = usage(&office)?;
    office.stop().await?;
    std::fs::remove_dir_all(&data)?;
    let bytes_a_cell_in_the_end = bytes(usage);
    Ok(Sized { skus, start_seconds, bytes_a_cell, bytes_a_cell_in_the_end, usage, rows })
}

/// Whether everything that was made is there.
async fn check(office: &Service, skus: u64) -> Result<()> {
    let summary = office.client().get("/api/summary").await?.ok()?.json()?;
    let stores = summary["stores"].as_array().map_or(&[][..], Vec::as_slice);
    let is_whole = |row: &serde_json::Value| row["items"].as_u64() == Some(skus);
    ensure!(
        stores.len() as u64 == STORES && stores.iter().all(is_whole) && is_whole(&summary["total"]),
        "the view hasn't got {STORES} stores of {skus} SKUs: {summary}"
    );
    Ok(())
}

async fn ask(office: &Service, question: &Question) -> Result<Row> {
    let (address, path) = (office.spec().address, question.path);
    let pace = Pace { connections: 1, per_second: None, seconds: SECONDS };
    let request = move |_client: usize, number: u64, bytes: &mut Vec<u8>| {
        let head = format!("GET {} HTTP/1.1\r\nHost: bench\r\n\r\n", path(number));
        bytes.extend_from_slice(head.as_bytes());
    };
    let run = tokio::task::spawn_blocking(move || pace::run(address, pace, &request));
    Ok(Row { question: question.what, bar_ms: question.bar_ms, seen: run.await?? })
}

impl Sized {
    /// The bars.
    pub fn criteria(&self) -> Vec<Criterion> {
        let cells = self.skus * STORES;
        let result = format!("{cells} cells; started in {:.1} s", self.start_seconds);
        let memory = (self.bytes_a_cell_in_the_end, "bytes");
        let mut criteria =
            vec![Criterion::at_most("memory for each SKU and store", result, memory, BYTES_BAR)];
        criteria.extend(self.rows.iter().map(|row| {
            let [p50, max] = [row.seen.p50_us, row.seen.max_us].map(|us| us / 1e3);
            let result = format!("p50 {p50:.2} ms, worst {max:.2} ms of {}", row.seen.requests);
            let what = format!("p95: {}", row.question);
            Criterion::at_most(&what, result, (row.seen.p95_us / 1e3, "ms"), row.bar_ms)
        }));
        criteria
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let Latencies { p50_us, p95_us, p99_us, max_us, requests, .. } = row.seen;
            let [p50, p95, p99, max] = [p50_us, p95_us, p99_us, max_us].map(|us| us / 1e3);
            format!(
                "{} | {} | {p50:.2} | {p95:.2} | {p99:.2} | {max:.2} | {requests}",
                row.question, row.bar_ms
            )
        });
        format!(
            "\n{STORES} stores of {} SKUs each (the contract's size: `bench --parts P7 --skus {SKUS_OF_FULL_SIZE}`), \
             read from the saved state in {:.1} s; {:.1} bytes a cell then, {:.1} after all questions (VmHWM); \
             one client, one question after the other:\n\n{}",
            self.skus,
            self.start_seconds,
            self.bytes_a_cell,
            self.bytes_a_cell_in_the_end,
            table("question | p95 asked ms | p50 | p95 | p99 | worst | asked", rows)
        )
    }
}

/// The SKU of a number that is in every store, as aggregator/examples/make_view.rs makes it.
fn sku(number: u64) -> String {
    large::sku(number % 1_000)
}

fn category(number: u64) -> &'static str {
    ["kitchen", "garden", "toys"][(number % 3) as usize]
}

fn list(filter: &str) -> String {
    let glue = if filter.is_empty() { "" } else { "&" };
    format!("/api/inventory?{filter}{glue}limit=100")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::part::Verdict;

    #[test]
    fn memory_and_each_question_can_miss() {
        let verdict = |bytes: f64, p95_us: f64| {
            let seen = Latencies::with_p95_us(p95_us);
            let row = Row { question: "list", bar_ms: 100.0, seen };
            let sized = Sized {
                skus: 1,
                start_seconds: 1.0,
                bytes_a_cell: 1.0,
                bytes_a_cell_in_the_end: bytes,
                usage: Usage::default(),
                rows: vec![row],
            };
            Verdict::of(&sized.criteria())
        };
        assert_eq!(verdict(96.0, 100e3), Verdict::Met);
        assert_eq!(verdict(96.1, 100e3), Verdict::Missed);
        assert_eq!(verdict(96.0, 101e3), Verdict::Missed);
        assert_eq!(verdict(96.0, f64::INFINITY), Verdict::Missed);
    }

    #[test]
    fn questions_are_those_of_items_that_were_made() {
        assert_eq!([sku(0), sku(1), sku(1_001)], ["S00000000000", "S00007368787", "S00007368787"]);
        assert_eq!(list(""), "/api/inventory?limit=100");
        assert_eq!(
            (QUESTIONS[9].path)(501),
            "/api/inventory?location=W-1&sort=availableStock&limit=100"
        );
    }
}
