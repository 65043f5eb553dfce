//! A disk that fails, and a process that dies, at a chosen call: the promise is withheld, the log
//! latches, nothing acknowledged is lost.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tests::audit::{History, Outcome};
use tests::load::Street;
use tests::till::Till;
use tests::world::{Service, ServiceSpec, World, strace, until};

use crate::audited::{expect_sound, open_items, sell_one, till_at};
use crate::support::{item, leave_out, skus};

const OPENING: u64 = 1_000;
/// How long a failing disk may stay unsaid.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Sells until the first sale that isn't acknowledged: how many were, and what that one was told.
async fn sell_until_trouble(till: &mut Till<Street>) -> Result<(u64, Outcome)> {
    for acknowledged in 0..OPENING {
        let outcome = sell_one(till, "SKU-0").await;
        if !outcome.is_acknowledged() {
            return Ok((acknowledged, outcome));
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
async fn stopped_store(history: &History) -> Result<(World, Service)> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    open_items(&mut till_at(&node, "opening", history)?, &skus("SKU", 2), OPENING).await?;
    node.stop().await?;
    Ok((world, node))
}

/// How the store is started so that this happens to its calls.
fn injected(world: &World, injection: &str) -> Result<ServiceSpec> {
    let told = world.path().join("logs/strace.txt");
    Ok(strace::injected(world.node_spec("store-a")?, injection, &told))
}

/// From its twenty-fourth on, this call fails in every thread: the committer's is met first, by a sale.
async fn expect_poisoned(call: &str) -> Result<()> {
    let history = History::default();
    let (world, mut plain) = stopped_store(&history).await?;
    let injection = format!("{call}:error=EIO:when=24+");
    let mut node = Service::start(injected(&world, &injection)?).await?;
    let mut till = till_at(&node, "till", &history)?;
    let (acknowledged, last) = sell_until_trouble(&mut till).await?;
    assert_eq!(last, Outcome::Unknown, "the sale in flight can't be promised either way");
    assert!(acknowledged > 0, "no sale was acknowledged before the fault");
    let next = sell_one(&mut till, "SKU-0").await;
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
    expect_sound(&world, &mut [&mut plain], None, &history).await
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

/// A disk that fails while a node starts: an opening that can't write ends at once and says why; a
/// node that only can't prepare room serves, and its log and health say so at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_the_start_is_told_at_once() -> Result<()> {
    if !can_trace("a_disk_that_fails_at_the_start_is_told_at_once") {
        return Ok(());
    }
    let history = History::default();
    let (world, mut plain) = stopped_store(&history).await?;
    for when in ["1+", "2+"] {
        let injection = format!("pwrite64:error=EIO:when={when}");
        plain.restart().await?;
        plain.kill()?;
        let mut node = Service::stopped(injected(&world, &injection)?)?;
        node.begin()?;
        let process = node.process().context("it was started")?;
        let status = process.wait(TOLD_WITHIN).await.with_context(|| injection.clone())?;
        assert_eq!(status.code(), Some(1), "{injection}");
        let told = process.log_tail();
        assert!(told.contains("Input/output error"), "{injection}: {told}");
    }
    // The fourth write of a thread: opening makes fewer, a spare segment takes as many.
    let mut node = Service::start(injected(&world, "pwrite64:error=EIO:when=4+")?).await?;
    let is_told = || async {
        let health = node.client().get("/api/health/log").await.ok()?.json().ok()?;
        (health["status"] == "degraded").then_some(health)
    };
    let health = until("a health that says so", TOLD_WITHIN, is_told).await?;
    let reason = health["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("no segment can be made ready: Input/output error"), "{health}");
    let process = node.process().context("it runs")?;
    let is_logged = || async { process.log_tail().contains("can be made ready").then_some(()) };
    until("a log that says so", TOLD_WITHIN, is_logged).await?;
    node.kill()?;
    plain.restart().await?;
    expect_sound(&world, &mut [&mut plain], None, &history).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_a_chosen_write_or_sync_it_keeps_every_promise() -> Result<()> {
    if !can_trace("killed_at_a_chosen_write_or_sync_it_keeps_every_promise") {
        return Ok(());
    }
    let history = History::default();
    let (world, mut plain) = stopped_store(&history).await?;
    for call in ["pwrite64", "fdatasync"] {
        // Beyond what opening and two spares take, which are zeroed in pieces.
        for when in [24, 25, 28] {
            let injection = format!("{call}:signal=KILL:when={when}");
            let spec = injected(&world, &injection)?;
            let node = Service::start(spec).await.with_context(|| injection.clone())?;
            let mut till = till_at(&node, &injection, &history)?;
            let (_, last) = sell_until_trouble(&mut till).await?;
            assert_eq!(last, Outcome::Unknown, "{injection}");
            plain.restart().await?;
            let sound = expect_sound(&world, &mut [&mut plain], None, &history).await;
            sound.context(injection)?;
        }
    }
    Ok(())
}
