//! The command line: JSON where asked, exit codes as documented.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::world::World;
use tests::world::binaries::repository;

use crate::support::{create, item};

fn json_of(output: &tests::world::process::Output) -> Result<Value> {
    serde_json::from_str(&output.stdout)
        .with_context(|| format!("not one JSON value: {}{}", output.stdout, output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_print_json_and_exit_as_documented() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    create(node.client(), "mug", 5).await?;
    let sale = serde_json::json!({"quantity": 2});
    node.client().post("/api/inventory/mug/sell", &sale).await?.ok()?;
    let shown = world.data_dir("store-a").display().to_string();

    // Reading needs no lock; writing while the node runs does.
    for command in ["verify", "replay"] {
        let output = world.store_node(&[command, "--data-dir", &shown, "--json"])?;
        assert_eq!(output.code, Some(0), "{command}: {}{}", output.stdout, output.stderr);
        json_of(&output)?;
    }
    for command in ["snapshot", "compact"] {
        let output = world.store_node(&[command, "--data-dir", &shown])?;
        assert_eq!(output.code, Some(4), "{command}: {}{}", output.stdout, output.stderr);
        let base = node.client().base().to_owned();
        let output = world.store_node(&[command, "--url", &base, "--wait", "--json"])?;
        assert_eq!(output.code, Some(0), "{command}: {}{}", output.stdout, output.stderr);
        json_of(&output)?;
    }
    node.stop().await?;
    for command in ["verify", "replay", "snapshot", "compact"] {
        let output = world.store_node(&[command, "--data-dir", &shown, "--json"])?;
        assert_eq!(output.code, Some(0), "{command}: {}{}", output.stdout, output.stderr);
        json_of(&output)?;
    }
    let usages: [&[&str]; 4] = [&[], &["serve"], &["verify"], &["no-such-command"]];
    for arguments in usages {
        let output = world.store_node(arguments)?;
        let code = output.code;
        assert!(
            matches!(code, Some(1 | 2)) && !output.stderr.is_empty(),
            "{arguments:?}: {code:?}"
        );
    }
    assert_eq!(world.store_node(&["no-such-command"])?.code, Some(2));
    let nowhere = world.path().join("nowhere").display().to_string();
    assert_eq!(world.store_node(&["verify", "--data-dir", &nowhere])?.code, Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_rebuilds_what_the_node_showed() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    for number in 0..30 {
        create(node.client(), &format!("mug-{number}"), 5).await?;
    }
    let status = node.client().get("/api/sync/status").await?.ok()?.json()?;
    node.stop().await?;
    let shown = world.data_dir("store-a").display().to_string();
    let report = json_of(&world.store_node(&["replay", "--data-dir", &shown, "--json"])?)?;
    let digest = status["digest"].as_str().context("the node shows its digest")?;
    assert!(report.to_string().contains(digest), "digest {digest} isn't in {report}");
    let history =
        world.store_node(&["history", "--data-dir", &shown, "--json", "--sku", "mug-3"])?;
    assert_eq!(history.code, Some(0), "{}{}", history.stdout, history.stderr);
    assert!(
        history.stdout.contains("mug-3") && !history.stdout.contains("mug-4"),
        "{}",
        history.stdout
    );
    let dump = world.store_node(&["dump", "--data-dir", &shown, "--json"])?;
    assert_eq!(dump.code, Some(0), "{}", dump.stderr);
    assert!(dump.stdout.lines().count() >= 30, "{}", dump.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn import_reads_the_sample_items() -> Result<()> {
    let world = World::new()?;
    let node = world.node("store-a").await?;
    let file = repository().join("fixtures/sample-items.csv").display().to_string();
    let base = node.client().base();
    let dry = world.store_node(&["import", &file, "--url", base, "--dry-run", "--json"])?;
    assert_eq!(dry.code, Some(0), "{}{}", dry.stdout, dry.stderr);
    let created = node.client().list_all("/api/inventory").await?;
    assert!(created.is_empty(), "a dry run changes nothing");
    let output = world.store_node(&["import", &file, "--url", base, "--json"])?;
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
    let items = tests::sample::items()?;
    assert_eq!(node.client().list_all("/api/inventory").await?.len(), items.len());
    assert_eq!(item(node.client(), &items[0].sku).await?["name"], items[0].name.as_str());
    Ok(())
}
