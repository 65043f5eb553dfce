//! Atomic batches through kill -9: each is wholly there or wholly not, every acknowledged one is
//! there, and a repetition has one effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::http::{Client, Reply};
use tests::world::{Service, World, until};

use crate::support::{create, item};

const TILLS: usize = 8;
const KILLS: usize = 3;
const BATCHES_BEFORE_KILL: usize = 80;
/// New items of a batch; a sale from the pool comes after them.
const ITEMS: usize = 40;
/// A till gives up after so many: the kill never came.
const BATCHES_MAX: usize = 20_000;
const KILL_DEADLINE: Duration = Duration::from_mins(1);

/// A batch that was sent.
struct Sent {
    name: String,
    acknowledged: bool,
}

fn batch(name: &str) -> Value {
    let create = |number| json!({"op": "create", "sku": format!("{name}-{number}"), "stock": 1});
    let mut operations: Vec<Value> = (0..ITEMS).map(create).collect();
    operations.push(json!({"op": "sell", "sku": "pool", "quantity": 1}));
    json!({"atomic": true, "operations": operations})
}

/// Sends the batch of this name; the name is its key.
async fn send(client: &Client, name: &str) -> Result<Reply> {
    client.post_keyed("/api/batch", name, &batch(name)).await
}

/// Sends one batch after the other until one isn't answered.
async fn sell_until_killed(
    client: Client,
    prefix: String,
    acknowledged: Arc<AtomicUsize>,
) -> Result<Vec<Sent>> {
    let mut sent = Vec::new();
    for number in 0..BATCHES_MAX {
        let name = format!("{prefix}.{number}");
        let outcome = send(&client, &name).await;
        let is_answered = outcome.is_ok();
        if let Ok(reply) = outcome {
            ensure!(reply.status == 200, "{name}: {} {}", reply.status, reply.text());
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        sent.push(Sent { name, acknowledged: is_answered });
        if !is_answered {
            return Ok(sent);
        }
    }
    bail!("{prefix} was never interrupted")
}

/// All tills at work until the node is killed in the middle of it.
async fn sell_through_a_kill(node: &mut Service, round: usize) -> Result<Vec<Sent>> {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let tills: Vec<_> = (0..TILLS)
        .map(|till| {
            let work = sell_until_killed(
                node.client().clone(),
                format!("B{round}.{till}"),
                Arc::clone(&acknowledged),
            );
            tokio::spawn(work)
        })
        .collect();
    until("the tills to be busy", KILL_DEADLINE, || async {
        (acknowledged.load(Ordering::SeqCst) >= BATCHES_BEFORE_KILL).then_some(())
    })
    .await?;
    node.kill()?;
    let mut sent = Vec::new();
    for till in tills {
        sent.extend(till.await??);
    }
    Ok(sent)
}

/// How many items of each batch there are.
async fn lines_there(client: &Client) -> Result<BTreeMap<String, usize>> {
    let mut lines = BTreeMap::new();
    for row in client.list_all("/api/inventory?prefix=B").await? {
        let sku = row["sku"].as_str().context("a SKU")?;
        let (name, _) = sku.rsplit_once('-').context("an item of a batch")?;
        *lines.entry(name.to_owned()).or_default() += 1;
    }
    Ok(lines)
}

/// Fails unless every batch is wholly there or wholly not, those acknowledged are, and the pool
/// was sold from once for each; how many are there.
async fn expect_whole(client: &Client, sent: &[Sent]) -> Result<BTreeMap<String, usize>> {
    let there = lines_there(client).await?;
    for (name, lines) in &there {
        assert_eq!(*lines, ITEMS, "{name} is there in part");
        assert!(sent.iter().any(|batch| batch.name == *name), "{name} was never sent");
    }
    for batch in sent.iter().filter(|batch| batch.acknowledged) {
        assert!(there.contains_key(&batch.name), "{} was acknowledged and is gone", batch.name);
    }
    assert_eq!(item(client, "pool").await?["sold"], there.len(), "one sale for each batch");
    Ok(there)
}

#[tokio::test(flavor = "multi_thread")]
async fn atomic_batches_are_wholly_there_or_not_at_all_after_kills() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    create(node.client(), "pool", 1_000_000).await?;
    let mut sent: Vec<Sent> = Vec::new();
    for round in 0..KILLS {
        sent.extend(sell_through_a_kill(&mut node, round).await?);
        node.restart().await?;
        let there = expect_whole(node.client(), &sent).await?;
        for batch in sent.iter_mut().filter(|batch| !batch.acknowledged) {
            let reply = send(node.client(), &batch.name).await?;
            assert_eq!(reply.status, 200, "{}: {}", batch.name, reply.text());
            let replayed = reply.header("idempotent-replayed") == Some("true");
            assert_eq!(replayed, there.contains_key(&batch.name), "{}", batch.name);
            batch.acknowledged = true;
        }
        let there = expect_whole(node.client(), &sent).await?;
        assert_eq!(there.len(), sent.len(), "after the repetitions every batch is there");
    }
    for batch in sent.iter().step_by(7) {
        let again = send(node.client(), &batch.name).await?.ok()?;
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", batch.name);
        assert_eq!(again.json()?["applied"], ITEMS + 1);
    }
    expect_whole(node.client(), &sent).await?;
    assert!(node.stop().await?.success());
    Ok(())
}
