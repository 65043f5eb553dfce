//! `make run` and `make retail` as programs: what they print works, and nothing is left running.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tests::http::Client;
use tests::world::{Process, SMALL_SEGMENTS, World, free_address, process, until};

use crate::support::{leave_out, succeeds};

const DEADLINE: Duration = Duration::from_mins(2);

/// The option that hands small segments on to the nodes.
fn node_options() -> Vec<String> {
    SMALL_SEGMENTS.iter().map(|option| format!("--node-option={option}")).collect()
}

struct Demo {
    process: Process,
    log: std::path::PathBuf,
    view: Client,
}

impl Demo {
    /// Starts it on free ports and waits until it has printed its guide.
    async fn start(world: &World, port: u16, run: &str) -> Result<Self> {
        let log = world.path().join(format!("demo-{run}.log"));
        let mut arguments = vec![
            "--data".to_owned(),
            world.path().join("demo").display().to_string(),
            "--port".to_owned(),
            port.to_string(),
        ];
        arguments.extend(node_options());
        let process = Process::start(&world.binaries().demo(), &arguments, &[], &log)?;
        let view = Client::new(format!("http://127.0.0.1:{port}"))?;
        let demo = Self { process, log, view };
        let waited = until("the demonstration's guide", DEADLINE, || async {
            demo.printed().contains("Ctrl-C stops").then_some(())
        });
        waited.await.with_context(|| demo.process.log_tail())?;
        Ok(demo)
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn totals(&self) -> Result<serde_json::Value> {
        let mut summary = self.view.get("/api/summary").await?.ok()?.json()?;
        Ok(summary["total"].take())
    }
}

/// Four free ports in a row.
fn four_ports() -> Result<u16> {
    loop {
        let first = free_address()?.port();
        let all =
            (first..first + 4).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
        if all {
            return Ok(first);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_runs_stops_and_goes_on() -> Result<()> {
    let world = World::new()?;
    let port = four_ports()?;
    let mut first = Demo::start(&world, port, "first").await?;
    let before = first.totals().await?;
    assert!(before["items"].as_u64() > Some(150), "{before}");
    for line in first.printed().lines().filter(|line| line.trim_start().starts_with("curl ")) {
        let Ok(output) = Command::new("sh").args(["-c", &format!("{line} -f")]).output() else {
            continue;
        };
        if succeeds("curl", &["--version"]) {
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }
    let second = process::run(
        &world.binaries().demo(),
        &["--port", &port.to_string(), "--data", &world.path().join("other").display().to_string()],
    )?;
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains(&format!("port {port} is taken")), "{}", second.stderr);

    first.process.signal(Signal::INT)?;
    let status = first.process.wait(DEADLINE).await?;
    assert_eq!(status.code(), Some(0), "{}", first.process.log_tail());

    let mut again = Demo::start(&world, port, "again").await?;
    let after = again.totals().await?;
    assert_eq!(after["items"], before["items"]);
    assert!(again.printed().contains("keeps what it has"), "{}", again.printed());
    // Killed outright, it leaves nothing behind: the services end with it.
    again.process.kill()?;
    until("the services to end with their starter", DEADLINE, || async {
        let free =
            (port..port + 4).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
        free.then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_played_through_kills_equal_the_independent_sums() -> Result<()> {
    const TEST: &str = "receipts_played_through_kills_equal_the_independent_sums";
    if !succeeds("sqlite3", &["--version"]) {
        leave_out(TEST, "sqlite3 isn't installed (the independent computation)");
        return Ok(());
    }
    let world = World::new()?;
    let json = world.path().join("retail.json").display().to_string();
    let nowhere = world.path().join("no-data").display().to_string();
    let options = node_options();
    let mut arguments = vec!["--data", &nowhere, "--json", &json];
    arguments.extend(options.iter().map(String::as_str));
    let output = process::run(&world.binaries().retail(), &arguments)?;
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("generated sample"), "{}", output.stdout);
    assert!(output.stdout.contains("EQUAL to the unit"), "{}", output.stdout);
    let reports: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
    for report in reports.as_array().context("a list of reports")? {
        assert_eq!(report["comparison"]["differences"], 0, "{report}");
        assert_eq!(report["incidents"].as_array().map(Vec::len), Some(2));
        assert!(
            report["refused"].as_array().is_some_and(|refused| !refused.is_empty()),
            "{report}"
        );
        assert!(report["appliedLines"].as_u64() > Some(500), "{report}");
    }
    Ok(())
}
