//! A data directory is opened by one writer, its own store, in a version it knows, undamaged; every
//! refusal is clear and changes nothing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Signal, geteuid};
use tests::world::{ServiceSpec, World, free_address};

use crate::support::{
    contents, create, create_items, expect_untouched, item, leave_out, skus, succeeds,
};

const END_DEADLINE: Duration = Duration::from_secs(30);

/// A world with a stopped node's directory in it: some items in several frames.
pub(crate) async fn stopped_store(world: &World) -> Result<PathBuf> {
    let mut node = world.node("store-a").await?;
    for number in 0..20 {
        create(node.client(), &format!("mug-{number}"), 10).await?;
    }
    node.stop().await?;
    Ok(world.data_dir("store-a"))
}

/// Starts the node, expects it to end by itself; its exit code and what it printed.
async fn refused(spec: &ServiceSpec) -> Result<(Option<i32>, String)> {
    let mut process = spec.spawn()?;
    let status = process.wait(END_DEADLINE).await.context("a refusal ends the process")?;
    Ok((status.code(), process.log_tail()))
}

/// Starts it on a copy of the spec, expects a refusal that names each of `words` and leaves every
/// byte as it was.
async fn expect_refusal(spec: ServiceSpec, codes: &[i32], words: &[&str]) -> Result<()> {
    let before = contents(&spec.data_dir)?;
    let (code, text) = refused(&spec).await?;
    assert!(code.is_some_and(|code| codes.contains(&code)), "exit {code:?}, not {codes:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} isn't named: {text}");
    }
    expect_untouched(&spec.data_dir, &before)
}

/// The first segment of a stopped store.
pub(crate) fn first_segment(directory: &Path) -> Result<PathBuf> {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.len() == 24 && path.extension().is_some_and(|suffix| suffix == "log")
        })
        .collect();
    segments.sort();
    segments.into_iter().next().context("a store has a segment")
}

pub(crate) fn flip(file: &Path, offset: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[byte[0] ^ 0x40], offset)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_on_one_directory_is_exit_4_and_names_the_holder() -> Result<()> {
    let world = World::new()?;
    let mut first = world.node("store-a").await?;
    create(first.client(), "mug", 3).await?;
    let mut second = world.node_spec("store-a")?;
    second.log = world.path().join("second.log");
    let (code, text) = refused(&second).await?;
    assert_eq!(code, Some(4), "{text}");
    let id = first.process().context("it runs")?.id().to_string();
    assert!(text.contains(&id), "the holder's process id {id} isn't named: {text}");
    assert_eq!(item(first.client(), "mug").await?["stock"], 3);
    create(first.client(), "cup", 1).await?;
    // The lock goes with the process, however it ends.
    first.kill()?;
    first.restart().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nodes_that_start_together_on_one_directory_one_serves() -> Result<()> {
    const NODES: usize = 4;
    let world = World::new()?;
    let directory = stopped_store(&world).await?;
    // By another name it is the same directory.
    let link = world.path().join("link");
    std::os::unix::fs::symlink(&directory, &link)?;
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let mut spec = world.node_spec("store-a")?;
        spec.log = world.path().join(format!("together-{number}.log"));
        if number % 2 == 1 {
            let place = spec.arguments.iter().position(|argument| argument == "--data-dir");
            spec.arguments[place.context("it has one")? + 1] = link.display().to_string();
        }
        let client = tests::http::Client::new(format!("http://{}", spec.address))?;
        nodes.push((spec.spawn()?, client));
    }
    tests::world::until("all but one to leave", END_DEADLINE, || {
        let left = nodes.iter_mut().filter_map(|(process, _)| process.exited().ok().flatten());
        let left = left.count();
        async move { (left == NODES - 1).then_some(()) }
    })
    .await?;
    for (process, client) in &mut nodes {
        if let Some(status) = process.exited()? {
            assert_eq!(status.code(), Some(4), "{}", process.log_tail());
            continue;
        }
        let serves = || async { client.get("/api/health/ready").await.ok()?.ok().ok() };
        tests::world::until("the one that is left to serve", END_DEADLINE, serves).await?;
        assert_eq!(client.list_all("/api/inventory").await?.len(), 20);
        create(client, "later", 1).await?;
        assert!(process.exited()?.is_none(), "{}", process.log_tail());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stores_directory_is_refused() -> Result<()> {
    let world = World::new()?;
    let directory = stopped_store(&world).await?;
    let spec = ServiceSpec::node(world.binaries(), "store-b", &directory, free_address()?)
        .log_in(&world.path().join("logs"));
    expect_refusal(spec, &[1], &["store-a", "store-b"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused() -> Result<()> {
    let world = World::new()?;
    let directory = stopped_store(&world).await?;
    let segment = first_segment(&directory)?;
    // Format version 99 with a header that is otherwise right (crc32 of all before it at its end).
    let file = File::options().read(true).write(true).open(&segment)?;
    let mut header = [0; 4096];
    file.read_exact_at(&mut header, 0)?;
    header[8..10].copy_from_slice(&99_u16.to_le_bytes());
    let crc = crc32fast::hash(&header[..4092]);
    header[4092..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&header, 0)?;
    expect_refusal(world.node_spec("store-a")?, &[1, 3], &["version", "99"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_directory_is_refused_and_named_byte_by_byte() -> Result<()> {
    let world = World::new()?;
    let directory = stopped_store(&world).await?;
    let segment = first_segment(&directory)?;
    // Inside the first frame; nineteen acknowledged ones come after it.
    flip(&segment, 4096 + 140)?;
    let name = segment.file_name().context("it has a name")?.display().to_string();
    expect_refusal(world.node_spec("store-a")?, &[3], &[&name]).await?;
    let before = contents(&directory)?;
    let shown = directory.display().to_string();
    let verify = world.store_node(&["verify", "--data-dir", &shown, "--json"])?;
    assert_eq!(verify.code, Some(3), "{}{}", verify.stdout, verify.stderr);
    let report: serde_json::Value = serde_json::from_str(&verify.stdout)?;
    assert_eq!(report["sound"], false);
    assert!(report["damages"][0]["file"].as_str() == Some(&name), "{report}");
    assert_eq!(report["damages"][0]["firstSeq"], 1, "{report}");
    expect_untouched(&directory, &before)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_tail_that_is_cut_off_is_damage_not_a_torn_write() -> Result<()> {
    let world = World::new()?;
    let directory = stopped_store(&world).await?;
    // The clean close is the witness of everything before it; zero a frame in the middle.
    let segment = first_segment(&directory)?;
    let file = File::options().read(true).write(true).open(&segment)?;
    let mut alignment = [0; 4];
    file.read_exact_at(&mut alignment, 12)?;
    let alignment = u32::from_le_bytes(alignment);
    file.write_all_at(&vec![0; alignment as usize], 4096 + u64::from(alignment))?;
    expect_refusal(world.node_spec("store-a")?, &[3], &[".log"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_directory_is_refused_clearly() -> Result<()> {
    const TEST: &str = "a_read_only_directory_is_refused_clearly";
    let world = World::new()?;
    let directory = stopped_store(&world).await?;
    let mut spec = world.node_spec("store-a")?;
    let shown = directory.display().to_string();
    if geteuid().is_root() {
        let script =
            format!("mount --bind '{shown}' '{shown}' && mount -o remount,ro,bind '{shown}'");
        if !succeeds("unshare", &["-m", "sh", "-c", &script]) {
            leave_out(TEST, "no mount namespace may be made here");
            return Ok(());
        }
        in_namespace(&mut spec, &script);
    } else {
        succeeds("chmod", &["-R", "a-w", &shown]);
    }
    let outcome = expect_refusal(spec, &[1], &["ead-only", &shown]).await;
    succeeds("chmod", &["-R", "u+w", &shown]);
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_makes_the_node_read_only_until_there_is_room() -> Result<()> {
    const TEST: &str = "a_full_disk_makes_the_node_read_only_until_there_is_room";
    let world = World::new()?;
    let mut spec = world.node_spec("store-a")?;
    let disk = world.path().join("disk");
    std::fs::create_dir_all(&disk)?;
    let shown = disk.display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=24m onhand '{shown}' && head -c 12M /dev/zero > '{shown}/filler'"
    );
    if !geteuid().is_root() || !succeeds("unshare", &["-m", "sh", "-c", &script]) {
        leave_out(TEST, "a small file system may not be mounted here");
        return Ok(());
    }
    let place = spec.arguments.iter().position(|argument| argument == "--data-dir");
    spec.arguments[place.context("it has a data directory")? + 1] = format!("{shown}/store-a");
    spec = spec.with_environment("STORE_NODE_DISK_FLOOR_BYTES", "1048576");
    in_namespace(&mut spec, &script);
    let mut node = tests::world::Service::start(spec).await?;
    let client = node.client().clone();

    let mut acknowledged = 0;
    let refusal = loop {
        let batch = skus(&format!("item-{acknowledged}"), 500);
        match create_items(&client, &batch, 7).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error.to_string(),
        }
        assert!(acknowledged < 2_000, "a 24 MiB disk holds a million items?");
    };
    assert!(acknowledged > 0, "{refusal}");
    assert!(refusal.contains("503") && refusal.contains("ReadOnly"), "{refusal}");
    let ready = client.get("/api/health/ready").await?;
    assert_eq!(ready.status, 503, "not ready while read-only: {}", ready.text());
    let rows = client.list_all("/api/inventory").await?;
    assert_eq!(rows.len(), acknowledged * 500, "reads go on, refused writes have no effect");

    let id = node.process().context("it runs")?.id().to_string();
    let filler = format!("{shown}/filler");
    assert!(succeeds("nsenter", &["-t", &id, "-m", "rm", &filler]), "making room");
    tests::world::until("writes to come back by themselves", END_DEADLINE, || async {
        create_items(&client, &skus("later", 3), 1).await.ok()
    })
    .await?;
    expect_on_disk(&world, &client, &id, &format!("{shown}/store-a")).await?;
    assert_eq!(client.list_all("/api/inventory").await?.len(), rows.len() + 3);
    let process = node.process().context("it still runs")?;
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait(END_DEADLINE).await?.code(), Some(0));
    Ok(())
}

/// Fails unless the log in the namespace of a process holds all that its node shows.
async fn expect_on_disk(
    world: &World,
    client: &tests::http::Client,
    id: &str,
    directory: &str,
) -> Result<()> {
    let program = world.binaries().store_node().display().to_string();
    let read = |command: &str| {
        let arguments = ["-t", id, "-m", &program, command, "--data-dir", directory, "--json"];
        tests::world::process::run(Path::new("nsenter"), &arguments)
    };
    let verified = read("verify")?;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let status = client.get("/api/sync/status").await?.ok()?.json()?;
    // A reader from outside takes the last frame for durable once a later one says so.
    tests::world::until("the disk to hold what the node shows", END_DEADLINE, || {
        let replayed = read("replay").ok();
        let report = replayed
            .and_then(|output| serde_json::from_str::<serde_json::Value>(&output.stdout).ok());
        let equal = report.is_some_and(|report| report["digest"] == status["digest"]);
        async move { equal.then_some(()) }
    })
    .await
}

/// Has the spec's program start in a mount namespace of its own after `script`.
pub(crate) fn in_namespace(spec: &mut ServiceSpec, script: &str) {
    let mut command = format!("{script} && exec '{}'", spec.program.display());
    for argument in &spec.arguments {
        command.push_str(" '");
        command.push_str(argument);
        command.push('\'');
    }
    spec.program = PathBuf::from("unshare");
    spec.arguments = ["-m", "sh", "-c", &command].map(str::to_owned).to_vec();
}
