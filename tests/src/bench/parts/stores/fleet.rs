//! Many store nodes on one machine: the released program, one process and one log each. They must
//! hold what they were given before anything is measured.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use serde_json::json;

use crate::bench::part::Setup;
use crate::http::Client;
use crate::world::{Service, ServiceSpec, free_address};

/// Operations of a request: they become one frame, as those of a busy node's group commit.
pub const OPERATIONS: usize = 256;
/// Of each store's log. All of them trade at the same pace, so they would all change to the next
/// segment in the same moment, which no hundred machines do: none does within the measurement.
const SEGMENT_BYTES: &str = "4194304";
/// Nodes that are filled at the same time.
const FILLED_AT_ONCE: usize = 4;
/// Units of each item at the beginning.
const STOCK: u64 = 1_000_000;

/// Stores that run.
#[derive(Debug)]
pub struct Fleet {
    /// Each store's node.
    pub nodes: Vec<Service>,
}

impl Fleet {
    /// Starts so many nodes with empty logs, `<name>-000` and so on.
    pub async fn start(setup: &Setup, name: &str, count: usize) -> Result<Self> {
        Self::start_as(setup, name, count, |spec| spec).await
    }

    /// One node that takes only what the machine has left: its store stands elsewhere, and what it
    /// costs to send isn't to be taken from those that are measured.
    pub async fn start_elsewhere(setup: &Setup, name: &str) -> Result<Self> {
        Self::start_as(setup, name, 1, |mut spec| {
            let program = std::mem::replace(&mut spec.program, PathBuf::from("nice"));
            let before = ["-n", "15", &program.display().to_string()].map(str::to_owned);
            spec.arguments.splice(0..0, before);
            spec
        })
        .await
    }

    async fn start_as(
        setup: &Setup,
        name: &str,
        count: usize,
        change: impl Fn(ServiceSpec) -> ServiceSpec,
    ) -> Result<Self> {
        let binaries = &setup.binaries;
        let mut nodes = Vec::new();
        for number in 0..count {
            let store = format!("{name}-{number:03}");
            let options =
                ["--segment-bytes", SEGMENT_BYTES, "--log-level", "warn"].map(str::to_owned);
            let data = setup.directory.join(&store);
            let spec = ServiceSpec::node(binaries, &store, &data, free_address()?)
                .with_options(&options)
                .ends_with_its_starter(binaries);
            let mut node = Service::stopped(change(spec))?;
            node.begin()?;
            nodes.push(node);
        }
        for node in &mut nodes {
            node.wait_ready().await?;
        }
        Ok(Self { nodes })
    }

    /// Creates so many items in each store and receives one unit of each `rounds` times; returns the
    /// events of all stores together.
    pub async fn fill(&self, items: usize, rounds: usize) -> Result<u64> {
        let filled = self.nodes.iter().map(|node| fill(node.client(), items, rounds));
        let filled: Vec<()> = futures_util::stream::iter(filled)
            .buffer_unordered(FILLED_AT_ONCE)
            .try_collect()
            .await?;
        Ok((filled.len() * items * (rounds + 1)) as u64)
    }

    /// Creates the item that probes write to in each store.
    pub async fn create_probed(&self) -> Result<()> {
        for (number, node) in self.nodes.iter().enumerate() {
            let item = json!({"sku": probed(number), "stock": 0});
            node.client().post("/api/inventory", &item).await?.ok()?;
        }
        Ok(())
    }

    /// Each store and its node's own durable seq.
    pub async fn durable(&self) -> Result<Vec<(String, u64)>> {
        let mut all = Vec::new();
        for node in &self.nodes {
            all.push(durable(node).await?);
        }
        Ok(all)
    }

    /// Ends all of them.
    pub async fn stop(mut self) -> Result<()> {
        for node in &mut self.nodes {
            let status = node.stop().await?;
            ensure!(status.success(), "{} ended with {status}", node.name());
        }
        Ok(())
    }
}

/// A store and its node's own durable seq.
pub async fn durable(node: &Service) -> Result<(String, u64)> {
    let status = node.client().get("/api/sync/status").await?.ok()?.json()?;
    let seq = status["durableSeq"].as_u64().context("a node says how far it is")?;
    Ok((node.name().to_owned(), seq))
}

/// The item of a store that only probes write to.
pub fn probed(number: usize) -> String {
    format!("PROBE-{number}")
}

async fn fill(node: &Client, items: usize, rounds: usize) -> Result<()> {
    let create = |body: &mut String, sku: usize| {
        write!(body, r#"{{"op":"create","sku":"SKU-{sku:06}","stock":{STOCK}}}"#)
    };
    let receive = |body: &mut String, sku: usize| {
        write!(body, r#"{{"op":"receive","sku":"SKU-{sku:06}","quantity":1}}"#)
    };
    batches(node, items, create).await?;
    for _ in 0..rounds {
        batches(node, items, receive).await?;
    }
    Ok(())
}

/// One operation for each item, many in a request.
async fn batches(
    node: &Client,
    items: usize,
    operation: impl Fn(&mut String, usize) -> std::fmt::Result,
) -> Result<()> {
    for first in (0..items).step_by(OPERATIONS) {
        let mut body = r#"{"atomic":true,"operations":["#.to_owned();
        for sku in first..items.min(first + OPERATIONS) {
            if sku > first {
                body.push(',');
            }
            operation(&mut body, sku)?;
        }
        body.push_str("]}");
        node.send(Method::POST, "/api/batch", &[], Some(body)).await?.ok()?;
    }
    Ok(())
}
