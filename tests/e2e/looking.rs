//! `serve --read-only`: a damaged directory, a write-protected one and one that a node writes can be
//! looked at, and not a byte of them changes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Signal, geteuid};
use serde_json::json;
use tests::http::Client;
use tests::world::{Process, ServiceSpec, World, free_address, until};

use crate::directories::{first_segment, flip, in_namespace, stopped_store};
use crate::support::{contents, create, expect_untouched, item, leave_out, succeeds};

const DEADLINE: Duration = Duration::from_secs(30);

/// A node that only looks at a directory, once it answers.
async fn look(world: &World, directory: &Path, script: Option<&str>) -> Result<(Process, Client)> {
    let address = free_address()?;
    let mut spec = ServiceSpec::node(world.binaries(), "store-a", directory, address)
        .with_options(&["--read-only".to_owned()]);
    spec.log = world.path().join("looking.log");
    if let Some(script) = script {
        in_namespace(&mut spec, script);
    }
    let mut process = spec.spawn()?;
    let client = Client::new(format!("http://{address}"))?;
    let live = until("the node to answer", DEADLINE, || async {
        client.get("/api/health/live").await.ok().filter(|reply| reply.status == 200)
    });
    match live.await {
        Ok(_) => Ok((process, client)),
        Err(error) => {
            process.kill()?;
            Err(error).context(process.log_tail())
        }
    }
}

/// Asks it to write, stops it, and compares every byte.
async fn expect_refused_and_untouched(
    (mut process, client): (Process, Client),
    directory: &Path,
    before: &std::collections::BTreeMap<String, Vec<u8>>,
) -> Result<()> {
    let refused = client.post("/api/inventory/mug-0/sell", &json!({"quantity": 1})).await?;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "ReadOnly"));
    assert!(refused.header("retry-after").is_some());
    let ready = client.get("/api/health/ready").await?;
    assert_eq!(ready.status, 503, "{}", ready.text());
    let health = client.get("/api/health").await?.ok()?.json()?;
    assert_eq!((&health["readOnly"], &health["ready"]), (&json!(true), &json!(false)));
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait(DEADLINE).await?.code(), Some(0), "{}", process.log_tail());
    expect_untouched(directory, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_directory_can_be_looked_at() -> Result<()> {
    let world = World::new()?;
    let directory = stopped_store(&world).await?;
    let segment = first_segment(&directory)?;
    // In the eleventh frame: ten items were made before it, nine after it.
    let mut alignment = [0; 4];
    alignment.copy_from_slice(&std::fs::read(&segment)?[12..16]);
    let offset = 4096 + 10 * u64::from(u32::from_le_bytes(alignment));
    flip(&segment, offset + 140)?;
    let before = contents(&directory)?;
    let (process, client) = look(&world, &directory, None).await?;
    assert_eq!(item(&client, "mug-9").await?["stock"], 10);
    assert_eq!(client.get("/api/inventory/mug-10").await?.status, 404);
    let log = client.get("/api/health/log").await?.ok()?.json()?;
    let damage = &log["damages"][0];
    let name = segment.file_name().context("it has a name")?.display().to_string();
    assert_eq!((&damage["file"], &damage["offset"]), (&json!(name), &json!(offset)), "{log}");
    assert_eq!(damage["firstSeq"], 11, "{log}");
    expect_refused_and_untouched((process, client), &directory, &before).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_protected_directory_can_be_looked_at() -> Result<()> {
    const TEST: &str = "a_write_protected_directory_can_be_looked_at";
    let world = World::new()?;
    let directory = stopped_store(&world).await?;
    let before = contents(&directory)?;
    let shown = directory.display().to_string();
    let mut script = None;
    if geteuid().is_root() {
        let mount =
            format!("mount --bind '{shown}' '{shown}' && mount -o remount,ro,bind '{shown}'");
        if !succeeds("unshare", &["-m", "sh", "-c", &mount]) {
            leave_out(TEST, "no mount namespace may be made here");
            return Ok(());
        }
        script = Some(mount);
    } else {
        succeeds("chmod", &["-R", "a-w", &shown]);
    }
    let outcome = async {
        let (process, client) = look(&world, &directory, script.as_deref()).await?;
        assert_eq!(item(&client, "mug-19").await?["stock"], 10);
        expect_refused_and_untouched((process, client), &directory, &before).await
    }
    .await;
    succeeds("chmod", &["-R", "u+w", &shown]);
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_a_node_writes_can_be_looked_at() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    create(node.client(), "mug-0", 3).await?;
    create(node.client(), "mug-1", 4).await?;
    let directory = world.data_dir("store-a");
    let (process, client) = look(&world, &directory, None).await?;
    assert_eq!(item(&client, "mug-0").await?["stock"], 3, "a later frame proves it");
    let log = client.get("/api/health/log").await?.ok()?.json()?;
    let id = node.process().context("it runs")?.id().to_string();
    assert!(log["reason"].as_str().is_some_and(|reason| reason.contains(&id)), "{log}");
    // The writer isn't disturbed, and goes on where it was.
    create(node.client(), "mug-2", 5).await?;
    node.stop().await?;
    let before = contents(&directory)?;
    expect_refused_and_untouched((process, client), &directory, &before).await?;
    node.restart().await?;
    assert_eq!(item(node.client(), "mug-2").await?["stock"], 5);
    Ok(())
}
