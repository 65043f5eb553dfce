//! The commands that ask a running aggregator: `status`, `rebuild`, `dlq`. They must never touch its
//! data directory.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Client, Method};
use serde_json::Value;

/// Exit code for "no".
const FAILED: u8 = 1;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a job is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Pages of a list that are read at most.
const PAGES_MAX: usize = 1000;

/// Which aggregator, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// Where the aggregator answers.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:4100",
        env = "AGGREGATOR_URL"
    )]
    url: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The options of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    remote: Remote,
    /// Exit with 1 unless every store is live and verified.
    #[arg(long)]
    check: bool,
    /// With --check: and no store's part is older than this (such as 500ms, 60s, 5m).
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "check")]
    max_lag: Option<Duration>,
}

/// The options of `rebuild`.
#[derive(Debug, Clone, Args)]
pub struct RebuildArgs {
    #[command(flatten)]
    remote: Remote,
    /// Don't wait for its end.
    #[arg(long)]
    no_wait: bool,
}

/// What to do with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub enum DlqCommand {
    /// List them.
    List {
        /// Which aggregator.
        #[command(flatten)]
        remote: Remote,
        /// Of this store only.
        #[arg(long)]
        store_id: Option<String>,
        /// Healed ones too.
        #[arg(long)]
        all: bool,
    },
    /// Try one again, or all open ones.
    Retry {
        /// Which aggregator.
        #[command(flatten)]
        remote: Remote,
        /// Its id; all open ones without it.
        id: Option<String>,
    },
    /// Forget one.
    Discard {
        /// Which aggregator.
        #[command(flatten)]
        remote: Remote,
        /// Its id.
        id: String,
    },
}

/// `aggregator status`.
pub fn status(args: &StatusArgs) -> ExitCode {
    run(async {
        let status = read_status(&args.remote).await?;
        if args.remote.json {
            println!("{status:#}");
        } else {
            print_status(&status);
        }
        let problems = problems(&status, args.max_lag);
        if args.check && !problems.is_empty() {
            eprintln!("{}", problems.join("\n"));
            return Ok(false);
        }
        Ok(true)
    })
}

/// `aggregator rebuild`.
pub fn rebuild(args: &RebuildArgs) -> ExitCode {
    run(async {
        let job = call(&args.remote, Method::POST, "/api/sync/rebuild").await?;
        let job = if args.no_wait { job } else { follow_job(&args.remote, job).await? };
        if args.remote.json {
            println!("{job:#}");
        } else {
            print_job(&job);
        }
        Ok(args.no_wait || job["state"] == "done")
    })
}

/// `aggregator dlq …`.
pub fn dlq(command: &DlqCommand) -> ExitCode {
    run(async {
        match command {
            DlqCommand::List { remote, store_id, all } => {
                list_letters(remote, store_id.as_deref(), *all).await
            }
            DlqCommand::Retry { remote, id } => {
                let path = match id {
                    Some(id) => format!("/api/dlq/{id}/retry"),
                    None => "/api/dlq/retry".to_owned(),
                };
                let answer = call(remote, Method::POST, &path).await?;
                println!("{answer:#}");
                let rows = answer["items"].as_array().cloned().unwrap_or_else(|| vec![answer]);
                Ok(rows.iter().all(|row| row["outcome"] == "healed"))
            }
            DlqCommand::Discard { remote, id } => {
                call(remote, Method::DELETE, &format!("/api/dlq/{id}")).await?;
                Ok(true)
            }
        }
    })
}

fn run(work: impl Future<Output = anyhow::Result<bool>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("no runtime").and_then(|runtime| runtime.block_on(work));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("aggregator: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

async fn call(remote: &Remote, method: Method, path: &str) -> anyhow::Result<Value> {
    let url = format!("{}{path}", remote.url.trim_end_matches('/'));
    let client = Client::builder().timeout(PATIENCE).build().context("no client")?;
    let response =
        client.request(method, &url).send().await.with_context(|| format!("ask {url}"))?;
    let status = response.status();
    let body = response.bytes().await.with_context(|| format!("read the answer of {url}"))?;
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        bail!("{url} answered {status}: {}", value["detail"].as_str().unwrap_or("no detail"));
    }
    Ok(value)
}

/// The whole status, all pages in one.
async fn read_status(remote: &Remote) -> anyhow::Result<Value> {
    let mut whole = call(remote, Method::GET, "/api/sync/status?limit=1000").await?;
    for _ in 0..PAGES_MAX {
        let Some(cursor) = whole["nextCursor"].as_str().map(str::to_owned) else {
            break;
        };
        let path = format!("/api/sync/status?limit=1000&cursor={cursor}");
        let mut page = call(remote, Method::GET, &path).await?;
        if let (Some(stores), Some(more)) =
            (whole["stores"].as_array_mut(), page["stores"].as_array_mut())
        {
            stores.append(more);
        }
        whole["nextCursor"] = page["nextCursor"].take();
    }
    Ok(whole)
}

/// Why a status isn't all well; empty when it is.
fn problems(status: &Value, max_lag: Option<Duration>) -> Vec<String> {
    let mut problems = Vec::new();
    for store in status["stores"].as_array().into_iter().flatten() {
        let name = store["storeId"].as_str().or(store["url"].as_str()).unwrap_or("?");
        let state = store["state"].as_str().unwrap_or("?");
        if state != "live" {
            let reason = store["reason"].as_str().unwrap_or("no reason given");
            problems.push(format!("{name} is {state}: {reason}"));
        }
        if store["verified"] != true {
            problems.push(format!("{name} is not verified"));
        }
        let lag_ms = store["lagMs"].as_u64();
        if let Some(max) = max_lag
            && lag_ms.is_none_or(|lag_ms| u128::from(lag_ms) > max.as_millis())
        {
            let lag =
                lag_ms.map_or_else(|| "of unknown age".to_owned(), |ms| format!("{ms} ms old"));
            problems.push(format!("{name} is {lag}"));
        }
    }
    problems
}

fn print_status(status: &Value) {
    let global = &status["global"];
    println!(
        "{} of {} stores live, {} events/s, {} dead letters, {}",
        global["live"],
        global["stores"],
        global["eventsPerSecond"],
        global["deadLetters"],
        if global["allVerified"] == true { "all verified" } else { "NOT all verified" },
    );
    let header = ["store", "state", "seq", "behind", "age ms", "verified", "reason"];
    let mut rows = vec![header.map(str::to_owned)];
    for store in status["stores"].as_array().into_iter().flatten() {
        let text = |key: &str| match &store[key] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let name = if store["storeId"].is_null() { text("url") } else { text("storeId") };
        let verified = if store["verified"] == true { "yes" } else { "no" };
        rows.push([
            name,
            text("state"),
            text("seq"),
            text("lagEvents"),
            text("lagMs"),
            verified.to_owned(),
            text("reason"),
        ]);
    }
    print_table(&rows);
}

fn print_table<const N: usize>(rows: &[[String; N]]) {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// Waits for a job's end; a bar on a terminal, plain lines elsewhere.
async fn follow_job(remote: &Remote, mut job: Value) -> anyhow::Result<Value> {
    let id = job["id"].as_str().context("the answer names no job")?.to_owned();
    let bar = ProgressBar::new(job["total"].as_u64().unwrap_or(0));
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} stores") {
        bar.set_style(style);
    }
    bar.set_message("rebuilding");
    let mut last = None;
    while job["state"] == "running" {
        tokio::time::sleep(POLL_INTERVAL).await;
        job = call(remote, Method::GET, &format!("/api/jobs/{id}")).await?;
        let done = job["done"].as_u64().unwrap_or(0);
        bar.set_position(done);
        if bar.is_hidden() && last != Some(done) {
            eprintln!("{done} of {} stores", job["total"]);
        }
        last = Some(done);
    }
    bar.finish_and_clear();
    Ok(job)
}

fn print_job(job: &Value) {
    println!(
        "{} {}: {} of {} stores",
        job["kind"].as_str().unwrap_or("job"),
        job["state"].as_str().unwrap_or("?"),
        job["done"],
        job["total"]
    );
    if let Some(error) = job["error"].as_str() {
        println!("{error}");
    }
    for report in job["reports"].as_array().into_iter().flatten() {
        println!(
            "{}: {} cells compared up to seq {}, {} differed",
            report["storeId"].as_str().unwrap_or("?"),
            report["compared"],
            report["comparedUpToSeq"],
            report["different"],
        );
        for difference in report["differences"].as_array().into_iter().flatten() {
            println!(
                "  {}: held {}, node {}",
                difference["sku"].as_str().unwrap_or("?"),
                difference["held"],
                difference["node"]
            );
        }
    }
}

async fn list_letters(remote: &Remote, store_id: Option<&str>, all: bool) -> anyhow::Result<bool> {
    let mut path = "/api/dlq?limit=1000".to_owned();
    if let Some(store_id) = store_id {
        path = format!("{path}&storeId={store_id}");
    }
    if !all {
        path.push_str("&state=open");
    }
    let mut items = Vec::new();
    let mut cursor = String::new();
    for _ in 0..PAGES_MAX {
        let mut page = call(remote, Method::GET, &format!("{path}{cursor}")).await?;
        if let Some(more) = page["items"].as_array_mut() {
            items.append(more);
        }
        let Some(next) = page["nextCursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    if remote.json {
        println!("{:#}", Value::Array(items));
        return Ok(true);
    }
    let header = ["id", "sku", "version", "state", "tries", "reason"];
    let mut rows = vec![header.map(str::to_owned)];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.extend(items.iter().map(|letter| {
        ["id", "sku", "version", "state", "tries", "reason"].map(|key| text(&letter[key]))
    }));
    print_table(&rows);
    Ok(true)
}

/// `500ms`, `60s`, `5m`, `1h`, or seconds.
fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let number: u64 =
        digits.parse().map_err(|_| "must be a time such as 500ms, 60s or 5m".to_owned())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        unit => Err(format!("{unit} is no unit: use ms, s, m or h")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_check_names_every_problem() {
        let status = json!({"stores": [
            {"storeId": "a", "state": "live", "verified": true, "lagMs": 10},
            {"storeId": "b", "state": "live", "verified": false, "lagMs": 70_000},
            {"storeId": null, "url": "http://c", "state": "unreachable", "reason": "connection refused",
             "verified": true, "lagMs": null},
        ]});
        assert_eq!(
            problems(&status, Some(Duration::from_mins(1))),
            [
                "b is not verified",
                "b is 70000 ms old",
                "http://c is unreachable: connection refused",
                "http://c is of unknown age"
            ]
        );
        assert_eq!(problems(&json!({"stores": [status["stores"][0]]}), None), Vec::<String>::new());
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("60s"), Ok(Duration::from_mins(1)));
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "s", "1d", "-1s", "1.5s"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
