//! A disk that fails, and a process that dies, at a chosen call: the promise is withheld, the log
//! latches, nothing acknowledged is lost.

use anyhow::{Context, Result, bail};
use tests::checker::{Attempt, Outcome, check, found};
use tests::workload::{create_items, sell};
use tests::world::{Service, ServiceSpec, World, strace};

use crate::support::{item, leave_out, skus};

const OPENING: u64 = 1_000;

/// Sells until the first sale that isn't acknowledged (included).
async fn sell_until_trouble(node: &Service) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for _ in 0..OPENING {
        let outcome = sell(node.client(), "SKU-0", None).await?;
        let trouble = !matches!(outcome, Outcome::Acknowledged { .. });
        attempts.push(Attempt { sku: "SKU-0".to_owned(), key: None, outcome });
        if trouble {
            return Ok(attempts);
        }
    }
    bail!("{OPENING} sales and no sync failed")
}

/// Whether programs may be traced here.
fn can_trace(test: &str) -> bool {
    let can = strace::can_trace();
    if let Err(reason) = &can {
        leave_out(test, reason);
    }
    can.is_ok()
}

/// A world with a stopped node that has two items.
async fn stopped_store() -> Result<(World, Service)> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    create_items(node.client(), &skus("SKU", 2), OPENING).await?;
    node.stop().await?;
    Ok((world, node))
}

/// How the store is started so that this happens to its calls.
fn injected(world: &World, injection: &str) -> Result<ServiceSpec> {
    let told = world.path().join("logs/strace.txt");
    Ok(strace::injected(world.node_spec("store-a")?, injection, &told))
}

/// From its eighth on, this call fails in every thread: the committer's is met first, by a sale.
async fn expect_poisoned(call: &str) -> Result<()> {
    let (world, mut plain) = stopped_store().await?;
    let injection = format!("{call}:error=EIO:when=8+");
    let mut node = Service::start(injected(&world, &injection)?).await?;
    let attempts = sell_until_trouble(&node).await?;
    let last = attempts.last().map(|attempt| attempt.outcome.clone());
    assert_eq!(last, Some(Outcome::Unknown), "the sale in flight can't be promised either way");
    assert!(attempts.len() > 1, "no sale was acknowledged before the fault");
    let next = sell(node.client(), "SKU-0", None).await?;
    let poisoned = Outcome::Refused { status: 503, error: "LogPoisoned".to_owned() };
    assert_eq!(next, poisoned, "the fault latches");
    let settled = item(node.client(), "SKU-1").await?;
    assert_eq!(settled["stock"], OPENING, "settled items stay readable");
    let unsettled = node.client().get("/api/inventory/SKU-0").await?;
    assert_eq!((unsettled.status, unsettled.error_code().as_str()), (503, "Unsettled"));
    let ready = node.client().get("/api/health/ready").await?;
    assert_eq!(ready.status, 503, "{}", ready.text());
    node.kill()?;
    plain.restart().await?;
    check(&attempts, OPENING, &found(plain.client()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_poisons_the_log_and_loses_nothing_acknowledged() -> Result<()> {
    if can_trace("a_failed_sync_poisons_the_log_and_loses_nothing_acknowledged") {
        expect_poisoned("fdatasync").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_poisons_the_log_and_loses_nothing_acknowledged() -> Result<()> {
    if can_trace("a_failed_write_poisons_the_log_and_loses_nothing_acknowledged") {
        expect_poisoned("pwrite64").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_a_chosen_write_or_sync_it_keeps_every_promise() -> Result<()> {
    if !can_trace("killed_at_a_chosen_write_or_sync_it_keeps_every_promise") {
        return Ok(());
    }
    let (world, mut plain) = stopped_store().await?;
    let mut attempts = Vec::new();
    for call in ["pwrite64", "fdatasync"] {
        for when in [7, 8, 11] {
            let injection = format!("{call}:signal=KILL:when={when}");
            let spec = injected(&world, &injection)?;
            let node = Service::start(spec).await.with_context(|| injection.clone())?;
            let told = sell_until_trouble(&node).await?;
            let last = told.last().map(|attempt| attempt.outcome.clone());
            assert_eq!(last, Some(Outcome::Unknown), "{injection}");
            attempts.extend(told);
            plain.restart().await?;
            check(&attempts, OPENING, &found(plain.client()).await?).context(injection)?;
            plain.kill()?;
        }
    }
    Ok(())
}
