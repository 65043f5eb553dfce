//! A disk that fails to sync: the promise is withheld, the log latches, nothing acknowledged is lost.

use std::path::PathBuf;

use anyhow::{Result, bail};
use tests::checker::{Attempt, Outcome, check, found};
use tests::workload::{create_items, sell};
use tests::world::{Service, ServiceSpec, World};

use crate::support::{item, leave_out, skus, succeeds};

const OPENING: u64 = 1_000;

/// Runs the spec's program under strace with these injections; the program keeps its own id.
fn under_strace(mut spec: ServiceSpec, injections: &[&str]) -> ServiceSpec {
    let mut arguments: Vec<String> =
        ["-D", "-f", "-qq", "-o", "/dev/null"].map(str::to_owned).to_vec();
    for injection in injections {
        arguments.extend(["-e".to_owned(), format!("inject={injection}")]);
    }
    arguments.push(spec.program.display().to_string());
    arguments.append(&mut spec.arguments);
    spec.program = PathBuf::from("strace");
    spec.arguments = arguments;
    spec
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_poisons_the_log_and_loses_nothing_acknowledged() -> Result<()> {
    const TEST: &str = "a_failed_sync_poisons_the_log_and_loses_nothing_acknowledged";
    if !succeeds("strace", &["-qq", "-o", "/dev/null", "true"]) {
        leave_out(TEST, "strace isn't installed or may not trace here");
        return Ok(());
    }
    let world = World::new()?;
    let mut plain = world.node("store-a").await?;
    create_items(plain.client(), &skus("SKU", 2), OPENING).await?;
    plain.stop().await?;

    // From its eighth on, every sync of every thread fails: the committer meets it first.
    let spec = under_strace(world.node_spec("store-a")?, &["fdatasync:error=EIO:when=8+"]);
    let mut node = Service::start(spec).await?;
    let attempts = sell_until_trouble(&node).await?;
    let last = attempts.last().map(|attempt| attempt.outcome.clone());
    assert_eq!(last, Some(Outcome::Unknown), "the sale in flight can't be promised either way");
    assert!(attempts.len() > 1, "no sale was acknowledged before the fault");
    let next = sell(node.client(), "SKU-0", None).await?;
    let poisoned = Outcome::Refused { status: 503, error: "LogPoisoned".to_owned() };
    assert_eq!(next, poisoned, "the fault latches");
    assert_eq!(
        item(node.client(), "SKU-1").await?["stock"],
        OPENING,
        "settled items stay readable"
    );
    let unsettled = node.client().get("/api/inventory/SKU-0").await?;
    assert_eq!((unsettled.status, unsettled.error_code().as_str()), (503, "Unsettled"));
    let ready = node.client().get("/api/health/ready").await?;
    assert_eq!(ready.status, 503, "{}", ready.text());
    node.kill()?;

    plain.restart().await?;
    check(&attempts, OPENING, &found(plain.client()).await?)
}
