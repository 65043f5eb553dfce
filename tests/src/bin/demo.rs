//! `make run`: three stores and the global view on this machine, with something in them, until
//! Ctrl-C. It must never touch data that is there already: the sample is loaded into empty stores
//! only, under keys, so that even a first run that was cut short is completed, not doubled.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::{Value, json};
use tests::sample;
use tests::world::{Binaries, Service, ServiceSpec, until};
use tokio::signal::unix::{Signal, SignalKind, signal};

const STORES: [&str; 3] = ["store-a", "store-b", "store-c"];
/// How long the view may take to show the sample.
const VIEW_DEADLINE: Duration = Duration::from_secs(30);
/// How often the services are looked after while waiting for the end.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Starts three store nodes and an aggregator with sample data.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the data is kept between runs.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// The aggregator's port; the nodes have the three after it.
    #[arg(long, default_value_t = 4100)]
    port: u16,
    /// Give every node this option (repeatable).
    #[arg(long, allow_hyphen_values = true)]
    node_option: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let mut signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    check_ports(arguments.port)?;
    let binaries = Binaries::beside_this_program()?;
    let mut services = tokio::select! {
        started = start(arguments, &binaries) => started?,
        () = either(&mut signals) => {
            println!("\nstopped while starting");
            return Ok(());
        }
    };
    let outcome = serve(arguments, &mut services, &mut signals).await;
    stop(services).await?;
    outcome
}

async fn start(arguments: &Arguments, binaries: &Binaries) -> Result<Vec<Service>> {
    let mut services = Vec::new();
    for (store, port) in STORES.iter().zip(arguments.port + 1..) {
        let data = arguments.data.join(store);
        let spec = ServiceSpec::node(binaries, store, &data, local(port))
            .log_in(&arguments.data)
            .with_options(&arguments.node_option)
            .ends_with_its_starter(binaries);
        println!("starting {store} on port {port}, data in {}", data.display());
        services.push(Service::start(spec).await?);
    }
    let nodes: Vec<String> = services.iter().map(|node| node.client().base().to_owned()).collect();
    let data = arguments.data.join("aggregator");
    let spec = ServiceSpec::aggregator(binaries, &data, local(arguments.port), &nodes)
        .log_in(&arguments.data)
        .ends_with_its_starter(binaries);
    println!("starting the aggregator on port {}", arguments.port);
    services.push(Service::start(spec).await?);
    Ok(services)
}

/// Loads the sample where it is missing, says what is where, waits for a signal. An error if a
/// service ends by itself.
async fn serve(
    arguments: &Arguments,
    services: &mut [Service],
    signals: &mut (Signal, Signal),
) -> Result<()> {
    let prepare = async {
        load_samples(services).await?;
        wait_for_view(services).await?;
        print_guide(arguments, services).await
    };
    tokio::select! {
        prepared = prepare => prepared?,
        () = either(signals) => return Ok(()),
    }
    loop {
        tokio::select! {
            () = either(signals) => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        for service in services.iter_mut() {
            let name = service.name().to_owned();
            if let Some(process) = service.process()
                && let Some(status) = process.exited()?
            {
                bail!("{name} ended by itself ({status}):\n{}", process.log_tail());
            }
        }
    }
}

async fn load_samples(services: &[Service]) -> Result<()> {
    let items = sample::items()?;
    for (node, number) in services.iter().take(STORES.len()).zip(0..) {
        let status = node.client().get("/api/sync/status").await?.ok()?.json()?;
        let batches = sample::demonstration(number, &items);
        // The first batch leaves one event an item and its own receipt: whoever has more has
        // been used. A first run that was cut short is completed: the keys prevent doubling.
        if status["durableSeq"].as_u64() > Some(batches[0].len() as u64 + 1) {
            println!("{} keeps what it has", node.name());
            continue;
        }
        for (operations, part) in batches.iter().zip(["items", "movements"]) {
            let body = json!({"atomic": false, "operations": operations});
            let key = format!("sample-{part}-{}", node.name());
            let reply = node.client().post_keyed("/api/batch", &key, &body).await?;
            let answer = reply.ok().with_context(|| format!("loading {}", node.name()))?.json()?;
            println!(
                "{}: {part}: {} applied, {} refused",
                node.name(),
                answer["applied"],
                answer["failed"]
            );
        }
    }
    Ok(())
}

async fn wait_for_view(services: &[Service]) -> Result<()> {
    let aggregator = services.last().context("the aggregator runs")?.client();
    // The nodes say how far it must get: the aggregator's own idea of a node's end may be older.
    let mut ends = Vec::new();
    for node in &services[..STORES.len()] {
        let status = node.client().get("/api/sync/status").await?.ok()?.json()?;
        ends.push((node.name().to_owned(), status["durableSeq"].as_u64()));
    }
    until("the global view", VIEW_DEADLINE, || async {
        let status = aggregator.get("/api/sync/status").await.ok()?.json().ok()?;
        let stores = status["stores"].as_array()?;
        let caught_up = |(name, end): &(String, Option<u64>)| {
            let store = stores.iter().find(|store| store["storeId"] == **name);
            store.is_some_and(|store| store["seq"].as_u64() >= *end && store["verified"] == true)
        };
        ends.iter().all(caught_up).then_some(())
    })
    .await
}

async fn print_guide(arguments: &Arguments, services: &[Service]) -> Result<()> {
    let aggregator = services.last().context("the aggregator runs")?.client();
    let summary = aggregator.get("/api/summary").await?.ok()?.json()?;
    println!();
    println!(
        "  {:<12} {:<24} {:>6} {:>8} {:>9} {:>8}",
        "store", "address", "items", "stock", "reserved", "sold"
    );
    let rows = summary["stores"].as_array().into_iter().flatten();
    for (row, service) in rows.zip(services) {
        print_row(service.name(), service.client().base(), row);
    }
    print_row("global view", aggregator.base(), &summary["total"]);
    let (view, node) = (aggregator.base(), services[0].client().base());
    println!(
        "
try:
  curl -s {view}/api/inventory/KIT-001
  curl -s {view}/api/summary
  curl -s {view}/api/sync/status
  curl -s -X POST {node}/api/inventory/KIT-001/sell -H 'content-type: application/json' -d '{{\"quantity\":2}}'
  curl -s -X POST {node}/api/inventory/KIT-002/reserve -H 'content-type: application/json' -H 'idempotency-key: try-1' -d '{{\"orderId\":\"order-1\",\"quantity\":1}}'
  curl -s '{node}/api/inventory?category=kitchen&limit=3'

data and logs are in {}; Ctrl-C stops everything, the next run goes on from there",
        arguments.data.display()
    );
    Ok(())
}

fn print_row(name: &str, address: &str, row: &Value) {
    println!(
        "  {name:<12} {address:<24} {:>6} {:>8} {:>9} {:>8}",
        // A JSON value ignores the width it is printed with.
        row["items"].to_string(),
        row["stock"].to_string(),
        row["reserved"].to_string(),
        row["sold"].to_string(),
    );
}

/// Ends the services, the aggregator first, and says how each ended.
async fn stop(mut services: Vec<Service>) -> Result<()> {
    println!("\nstopping …");
    let mut failed = false;
    for service in services.iter_mut().rev() {
        if service.process().is_none_or(|process| process.exited().ok().flatten().is_some()) {
            continue;
        }
        let status = service.stop().await?;
        failed |= !status.success();
        println!("{}: {status}", service.name());
    }
    if failed {
        bail!("not every service ended cleanly");
    }
    Ok(())
}

async fn either(signals: &mut (Signal, Signal)) {
    tokio::select! {
        _ = signals.0.recv() => {}
        _ = signals.1.recv() => {}
    }
}

fn check_ports(first: u16) -> Result<()> {
    let ports: Vec<u16> = (first..).take(STORES.len() + 1).collect();
    for port in ports {
        if let Err(error) = TcpListener::bind(local(port)) {
            bail!(
                "port {port} is taken ({error}). Is the demonstration running already? \
                 Otherwise choose four other ports: make run PORT={}",
                first.saturating_add(100)
            );
        }
    }
    Ok(())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests_of_the_demonstration {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let held = TcpListener::bind(local(0)).unwrap();
        let port = held.local_addr().unwrap().port();
        let error = check_ports(port).unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} is taken")), "{error}");
    }
}
