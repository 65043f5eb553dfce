//! What was acknowledged survives kill -9, exactly once; what was refused has no effect.

use anyhow::Result;
use serde_json::json;
use tests::audit::{History, LineAnswer, Outcome};
use tests::findings::held_by_node;
use tests::load::Crew;
use tests::world::World;

use crate::audited::{expect_sound, open_items, sell_one, till_at, tills_at};
use crate::support::{create, item, skus};

const KILLS: usize = 3;
const OPERATIONS_BETWEEN_KILLS: usize = 300;

/// Tills work while the node is killed again and again.
async fn work_through_kills(may_key: bool) -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    let history = History::default();
    let crew = Crew { tills: 12, may_key, pause_ms: 5 };
    let load = tills_at(&[&node], crew, &history)?;
    for _ in 0..KILLS {
        load.acknowledge_more(OPERATIONS_BETWEEN_KILLS).await?;
        node.kill()?;
        node.restart().await?;
    }
    load.acknowledge_more(OPERATIONS_BETWEEN_KILLS).await?;
    load.finish().await?;
    node.kill()?;
    node.restart().await?;
    let keyed = history.count(|operation| operation.key.is_some());
    let unanswered =
        history.count(|operation| operation.key.is_some() && operation.outcome == Outcome::Unknown);
    assert_eq!((keyed > 0, unanswered), (may_key, 0), "with a key it is asked until it is told");
    expect_sound(&world, &mut [&mut node], None, &history).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unkeyed_operations_survive_kills_under_load() -> Result<()> {
    work_through_kills(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_operations_happen_exactly_once_through_kills_under_load() -> Result<()> {
    work_through_kills(true).await
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
    let history = History::default();
    open_items(&mut till_at(&node, "opening", &history)?, &skus("last", 2), 40).await?;
    let mut tills = Vec::new();
    for number in 0..16 {
        let mut till = till_at(&node, &format!("till-{number}"), &history)?;
        tills.push(tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for sale in 0..10 {
                outcomes.push(sell_one(&mut till, &format!("last-{}", (number + sale) % 2)).await);
            }
            outcomes
        }));
    }
    let mut outcomes = Vec::new();
    for till in tills {
        outcomes.extend(till.await?);
    }
    let sold = outcomes.iter().filter(|outcome| outcome.is_acknowledged());
    assert_eq!(sold.count(), 80, "160 tried, 80 units were there");
    let insufficient = LineAnswer::Rejected("InsufficientStockError".to_owned());
    let refusals = outcomes.iter().filter(|outcome| match outcome {
        Outcome::Answered(answer) => answer.lines.contains(&insufficient),
        Outcome::Refused { .. } | Outcome::Unknown => false,
    });
    assert_eq!(refusals.count(), 80);
    node.kill()?;
    node.restart().await?;
    for item in held_by_node(node.client()).await?.values() {
        assert_eq!((item.stock, item.sold, item.version), (0, 40, 41));
    }
    expect_sound(&world, &mut [&mut node], None, &history).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_cleanly_and_keeps_every_promise() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    let history = History::default();
    let crew = Crew { tills: 8, may_key: false, pause_ms: 5 };
    let load = tills_at(&[&node], crew, &history)?;
    load.acknowledge_more(200).await?;
    let status = node.stop().await?;
    load.finish().await?;
    assert_eq!(status.code(), Some(0), "exit code after SIGTERM");
    let directory = world.data_dir("store-a").display().to_string();
    let verified = world.store_node(&["verify", "--data-dir", &directory, "--json"])?;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let report: serde_json::Value = serde_json::from_str(&verified.stdout)?;
    assert_eq!(report["sound"], true, "{report}");
    node.restart().await?;
    expect_sound(&world, &mut [&mut node], None, &history).await
}
