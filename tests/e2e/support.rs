//! What several end-to-end tests need. Nothing here may hide a failure.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tests::http::Client;
pub(crate) use tests::skip::{leave_out, succeeds};
use tests::world::{Service, until};

/// How long the view may take to show what a node has.
pub(crate) const VIEW_DEADLINE: Duration = Duration::from_mins(1);

/// SKUs `prefix-0…`.
pub(crate) fn skus(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

/// Creates one item.
pub(crate) async fn create(client: &Client, sku: &str, stock: u64) -> Result<()> {
    let body = json!({"sku": sku, "stock": stock});
    let reply = client.post("/api/inventory", &body).await?;
    if reply.status != 201 {
        bail!("creating {sku}: {} {}", reply.status, reply.text());
    }
    Ok(())
}

/// Creates items with the same stock each, in one atomic batch.
pub(crate) async fn create_items(client: &Client, skus: &[String], stock: u64) -> Result<()> {
    let operations: Vec<Value> =
        skus.iter().map(|sku| json!({"op": "create", "sku": sku, "stock": stock})).collect();
    let body = json!({"atomic": true, "operations": operations});
    client.post("/api/batch", &body).await?.ok()?;
    Ok(())
}

/// The item as the service shows it.
pub(crate) async fn item(client: &Client, sku: &str) -> Result<Value> {
    client.get(&format!("/api/inventory/{sku}")).await?.ok()?.json()
}

/// Every file of a directory with its bytes, but the lock file (which holds a process id).
pub(crate) fn contents(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![directory.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("LOCK") {
                let name = path.strip_prefix(directory)?.display().to_string();
                files.insert(name, std::fs::read(&path)?);
            }
        }
    }
    Ok(files)
}

/// Fails unless the directory holds exactly what it held.
pub(crate) fn expect_untouched(directory: &Path, before: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let after = contents(directory)?;
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(&after), "files came or went");
    for (name, bytes) in before {
        assert!(after[name] == *bytes, "{name} was changed");
    }
    Ok(())
}

/// The aggregator's word about one store.
pub(crate) async fn store_sync(aggregator: &Client, store: &str) -> Option<Value> {
    let status = aggregator.get("/api/sync/status").await.ok()?.json().ok()?;
    let stores = status["stores"].as_array()?;
    stores.iter().find(|row| row["storeId"] == store).cloned()
}

/// Waits until a store is in this state in the view.
pub(crate) async fn wait_for_state(aggregator: &Client, store: &str, state: &str) -> Result<Value> {
    let what = format!("{store} to be {state}");
    let waited = until(&what, VIEW_DEADLINE, || async {
        store_sync(aggregator, store).await.filter(|row| row["state"] == state)
    });
    match waited.await {
        Ok(row) => Ok(row),
        Err(error) => {
            let last = store_sync(aggregator, store).await;
            Err(error).context(format!("the last status: {last:?}"))
        }
    }
}

/// Waits until the view has all that the nodes have, verified, and compares every item.
pub(crate) async fn expect_equal(aggregator: &Client, nodes: &[&Service]) -> Result<()> {
    let clients: Vec<Client> = nodes.iter().map(|node| node.client().clone()).collect();
    tests::retail::incidents::caught_up(aggregator, &clients).await?;
    for node in nodes {
        let held = tests::retail::compare::node_holdings(node.client(), node.name()).await?;
        let view = tests::retail::compare::view_holdings(aggregator, node.name()).await?;
        assert_eq!(held, view, "{}: the node (left) and the view (right)", node.name());
        assert!(!held.is_empty(), "{} holds nothing to compare", node.name());
    }
    Ok(())
}

/// POSTs to an operator's endpoint and follows the job to its end.
pub(crate) async fn run_job(client: &Client, path: &str) -> Result<Value> {
    tests::world::run_job(client, path, VIEW_DEADLINE).await
}
