//! An import that is interrupted is run again and goes on where it stopped: no movement is missing,
//! none is there twice.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::world::process::Output;
use tests::world::{Process, World, until};

use crate::support::{create_items, skus};

const SKUS: usize = 10;
const OPENING: u64 = 100;
/// Movements of the file; a tenth for each SKU, one unit in for each.
const LINES: usize = 120_000;
const DEADLINE: Duration = Duration::from_mins(1);

/// A file of movements in the world.
fn movements(world: &World) -> Result<String> {
    let mut text = "sku,op,quantity,reference\n".to_owned();
    for line in 0..LINES {
        let _ = writeln!(text, "SKU-{},receive,1,delivery-{line}", line % SKUS);
    }
    let path = world.path().join("movements.csv");
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// Starts an import that somebody will interrupt.
fn begin_import(world: &World, arguments: &[&str]) -> Result<Process> {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let log = world.path().join("logs/import.log");
    Process::start(&world.binaries().store_node(), &arguments, &[], &log)
}

fn report_of(output: &Output) -> Result<Value> {
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
    let report: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!((&report["refused"], &report["errors"]), (&0.into(), &0.into()), "{report}");
    Ok(report)
}

/// The highest seq on disk, of a directory that anybody may be writing to.
fn last_seq(world: &World, directory: &str) -> Option<u64> {
    let output = world.store_node(&["replay", "--data-dir", directory, "--json"]).ok()?;
    serde_json::from_str::<Value>(&output.stdout).ok()?["lastSeq"].as_u64()
}

/// Fails unless every line of the file happened once.
async fn expect_every_line_once(client: &tests::http::Client) -> Result<()> {
    let each = OPENING + (LINES / SKUS) as u64;
    for row in client.list_all("/api/inventory").await? {
        let versions = (LINES / SKUS) as u64 + 1;
        assert_eq!((&row["stock"], &row["version"]), (&each.into(), &versions.into()), "{row}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_a_node_survives_kills_of_both() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    create_items(node.client(), &skus("SKU", SKUS), OPENING).await?;
    let file = movements(&world)?;
    let base = node.client().base().to_owned();
    let begun = |client: tests::http::Client, lines: u64| async move {
        let item = client.get("/api/inventory/SKU-0").await.ok()?.json().ok()?;
        (item["version"].as_u64()? > lines).then_some(())
    };

    let mut importer = begin_import(&world, &["import", &file, "--url", &base])?;
    until("the import to begin", DEADLINE, || begun(node.client().clone(), 1)).await?;
    importer.kill()?;
    let before = crate::support::item(node.client(), "SKU-0").await?["stock"].clone();
    assert!(
        before.as_u64() < Some(OPENING + (LINES / SKUS) as u64),
        "it was too fast to interrupt"
    );

    // Again, and this time the node dies under it; the importer waits for it to come back.
    let mut importer = begin_import(&world, &["import", &file, "--url", &base, "--json"])?;
    let further = before.as_u64().context("a stock")? - OPENING + 100;
    until("the import to go on", DEADLINE, || begun(node.client().clone(), further)).await?;
    node.kill()?;
    assert!(importer.exited()?.is_none(), "it was too fast to interrupt");
    node.restart().await?;
    let status = importer.wait(DEADLINE).await?;
    assert_eq!(status.code(), Some(0), "{}", importer.log_tail());
    expect_every_line_once(node.client()).await?;

    let again = report_of(&world.store_node(&["import", &file, "--url", &base, "--json"])?)?;
    assert_eq!((&again["applied"], &again["replayed"]), (&0.into(), &LINES.into()), "{again}");
    expect_every_line_once(node.client()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_import_that_was_killed_goes_on_where_it_stopped() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    create_items(node.client(), &skus("SKU", SKUS), OPENING).await?;
    node.stop().await?;
    let file = movements(&world)?;
    let directory = world.data_dir("store-a").display().to_string();
    let before = last_seq(&world, &directory).context("a log")?;

    let mut importer = begin_import(&world, &["import", &file, "--data-dir", &directory])?;
    until("the import to begin", DEADLINE, || async {
        (last_seq(&world, &directory)? > before).then_some(())
    })
    .await?;
    importer.kill()?;
    let arguments = ["import", &file, "--data-dir", &directory, "--json"];
    let report = report_of(&world.store_node(&arguments)?)?;
    let (applied, replayed) = (report["applied"].as_u64(), report["replayed"].as_u64());
    assert!(applied > Some(0), "it was too fast to interrupt: {report}");
    assert!(replayed > Some(0), "it began anew: {report}");
    assert_eq!(applied.unwrap_or(0) + replayed.unwrap_or(0), LINES as u64, "{report}");
    node.restart().await?;
    expect_every_line_once(node.client()).await?;
    let locked = world.store_node(&["import", &file, "--data-dir", &directory])?;
    assert_eq!(locked.code, Some(4), "{}{}", locked.stdout, locked.stderr);
    expect_every_line_once(node.client()).await
}
