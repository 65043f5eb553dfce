//! What was acknowledged survives kill -9, exactly once; what was refused has no effect.

use anyhow::{Context, Result};
use serde_json::json;
use tests::checker::{Outcome, check, found};
use tests::workload::{Tills, create_items, sell};
use tests::world::World;

use crate::support::{create, item, skus};

const OPENING: u64 = 1_000_000;
const KILLS: usize = 3;
const SALES_BETWEEN_KILLS: usize = 300;

/// Tills sell while the node is killed again and again.
async fn sell_through_kills(keyed: bool) -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    let skus = skus("SKU", 6);
    create_items(node.client(), &skus, OPENING).await?;
    let tills = Tills::start(node.client(), &skus, keyed, 12);
    for _ in 0..KILLS {
        tills.sell_more(SALES_BETWEEN_KILLS).await?;
        node.kill()?;
        node.restart().await?;
    }
    tills.sell_more(SALES_BETWEEN_KILLS).await?;
    let attempts = tills.finish().await?;
    node.kill()?;
    node.restart().await?;
    check(&attempts, OPENING, &found(node.client()).await?)?;
    if keyed {
        let unknown = attempts.iter().filter(|attempt| attempt.outcome == Outcome::Unknown);
        assert_eq!(unknown.count(), 0, "a keyed sale is repeated until it is answered");
    }
    node.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unkeyed_sales_survive_kills_under_load() -> Result<()> {
    sell_through_kills(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_sales_happen_exactly_once_through_kills_under_load() -> Result<()> {
    sell_through_kills(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_gets_the_first_answer_also_after_restarts() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    create(node.client(), "mug", 10).await?;
    let sale = json!({"quantity": 2, "reference": "basket-77"});
    let too_much = json!({"quantity": 500});
    let batch = json!({"atomic": true, "operations": [
        {"op": "sell", "sku": "mug", "quantity": 1},
        {"op": "sell", "sku": "mug", "quantity": 1}]});
    let refused = json!({"atomic": true, "operations": [
        {"op": "sell", "sku": "mug", "quantity": 1},
        {"op": "sell", "sku": "mug", "quantity": 99}]});
    let requests = [
        ("/api/inventory/mug/sell", "sale", &sale, 200),
        ("/api/inventory/mug/sell", "too-much", &too_much, 409),
        ("/api/batch", "batch", &batch, 200),
        ("/api/batch", "refused", &refused, 409),
    ];
    let mut first = Vec::new();
    for (path, key, body, status) in requests {
        let reply = node.client().post_keyed(path, key, body).await?;
        assert_eq!(reply.status, status, "{}", reply.text());
        assert_eq!(reply.header("idempotent-replayed"), None);
        first.push(reply.json()?);
    }
    // Something later, so that a repeated answer can't come from the present state.
    node.client().post("/api/inventory/mug/receive", &json!({"quantity": 600})).await?.ok()?;
    let now = item(node.client(), "mug").await?;
    for round in 0..3 {
        for ((path, key, body, status), first) in requests.iter().zip(&first) {
            let reply = node.client().post_keyed(path, key, body).await?;
            assert_eq!(reply.status, *status, "{key}, round {round}: {}", reply.text());
            assert_eq!(reply.header("idempotent-replayed"), Some("true"), "{key}");
            let mut again = reply.json()?;
            // The request's own id is the only thing that may differ.
            if again["instance"] != first["instance"] {
                again["instance"] = first["instance"].clone();
            }
            assert_eq!(again, *first, "{key}, round {round}");
        }
        let other =
            node.client().post_keyed(requests[0].0, "sale", &json!({"quantity": 3})).await?;
        assert_eq!((other.status, other.error_code().as_str()), (422, "IdempotencyKeyReused"));
        match round {
            0 => node.kill()?,
            _ => assert!(node.stop().await?.success()),
        }
        node.restart().await?;
        assert_eq!(item(node.client(), "mug").await?, now, "nothing happened twice");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_units_are_sold_once() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    create_items(node.client(), &skus("last", 2), 40).await?;
    let tills: Vec<_> = (0..16)
        .map(|till| {
            let client = node.client().clone();
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                for sale in 0..10 {
                    let sku = format!("last-{}", (till + sale) % 2);
                    outcomes.push(sell(&client, &sku, None).await?);
                }
                anyhow::Ok(outcomes)
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for till in tills {
        outcomes.extend(till.await??);
    }
    let sold = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Acknowledged { .. }));
    assert_eq!(sold.count(), 80, "160 tried, 80 units were there");
    let refusals = outcomes.iter().filter(|outcome| match outcome {
        Outcome::Refused { status, error } => {
            (*status, error.as_str()) == (409, "InsufficientStockError")
        }
        Outcome::Acknowledged { .. } | Outcome::Unknown => false,
    });
    assert_eq!(refusals.count(), 80);
    node.kill()?;
    node.restart().await?;
    for item in found(node.client()).await?.values() {
        assert_eq!((item.stock, item.sold, item.version), (0, 40, 41));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_cleanly_and_keeps_every_promise() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    let skus = skus("SKU", 4);
    create_items(node.client(), &skus, OPENING).await?;
    let tills = Tills::start(node.client(), &skus, false, 8);
    tills.sell_more(200).await?;
    let status = node.stop().await?;
    let attempts = tills.finish().await?;
    assert_eq!(status.code(), Some(0), "exit code after SIGTERM");
    let directory = world.data_dir("store-a").display().to_string();
    let verified = world.store_node(&["verify", "--data-dir", &directory, "--json"])?;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let report: serde_json::Value = serde_json::from_str(&verified.stdout)?;
    assert_eq!(report["sound"], true, "{report}");
    node.restart().await?;
    check(&attempts, OPENING, &found(node.client()).await?).context("after SIGTERM")
}
