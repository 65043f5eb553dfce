//! Real processes on free ports with data in directories of their own. Nothing here may sleep to
//! get a timing right: it waits for a condition, with a deadline.

pub mod binaries;
pub mod ports;
pub mod process;
pub mod service;
pub mod strace;
pub mod wait;

pub use binaries::Binaries;
pub use ports::free_address;
pub use process::Process;
pub use service::{Service, ServiceSpec};
pub use wait::{run_job, until};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A temporary directory with services in it; all of them end, and the directory goes, with it.
#[derive(Debug)]
pub struct World {
    directory: TempDir,
    binaries: Binaries,
    /// Given to every node: small segments, so that a test needn't zero-fill 64 MiB ones.
    node_options: Vec<String>,
}

impl World {
    /// A new world; builds the services' binaries if they aren't up to date.
    pub fn new() -> Result<Self> {
        Self::of(Binaries::built()?)
    }

    /// A new world of binaries that are there.
    pub fn of(binaries: Binaries) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("onhand-")
            .tempdir()
            .context("making a temporary directory")?;
        Ok(Self { directory, binaries, node_options: SMALL_SEGMENTS.map(str::to_owned).to_vec() })
    }

    /// The world's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Lets the directory stay when this value goes; where it is.
    pub fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
    }

    /// Where the binaries are.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The data directory of a store in this world.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.path().join("data").join(name)
    }

    /// How a node of the store is started here: free port, data and log file in the world.
    pub fn node_spec(&self, store_id: &str) -> Result<ServiceSpec> {
        let spec =
            ServiceSpec::node(&self.binaries, store_id, &self.data_dir(store_id), free_address()?);
        Ok(spec.log_in(&self.path().join("logs")).with_options(&self.node_options))
    }

    /// Starts a node and waits until it is ready.
    pub async fn node(&self, store_id: &str) -> Result<Service> {
        Service::start(self.node_spec(store_id)?).await
    }

    /// Starts an aggregator over the nodes and waits until it is ready.
    pub async fn aggregator(&self, nodes: &[&Service]) -> Result<Service> {
        let urls: Vec<String> = nodes.iter().map(|node| node.client().base().to_owned()).collect();
        let directory = self.data_dir("aggregator");
        let spec = ServiceSpec::aggregator(&self.binaries, &directory, free_address()?, &urls);
        Service::start(spec.log_in(&self.path().join("logs"))).await
    }

    /// Runs a command of `store-node` to its end.
    pub fn store_node(&self, arguments: &[&str]) -> Result<process::Output> {
        process::run(&self.binaries.store_node(), arguments)
    }

    /// Runs a command of `aggregator` to its end.
    pub fn aggregator_command(&self, arguments: &[&str]) -> Result<process::Output> {
        process::run(&self.binaries.aggregator(), arguments)
    }
}

/// Node options that keep a test's disk use small.
pub const SMALL_SEGMENTS: [&str; 2] = ["--segment-bytes", "1048576"];
