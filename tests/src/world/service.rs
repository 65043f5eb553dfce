//! A store node or an aggregator as a process that can be killed and started again on the same
//! port with the same data. It must never count a service as started before it says it is ready.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::binaries::Binaries;
use super::process::Process;
use crate::http::Client;

/// How long a service may take to become ready.
const READY_DEADLINE: Duration = Duration::from_mins(2);
/// How long a service may take to end after SIGTERM.
pub const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How often readiness is asked for.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// How to start a service.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// Its name in messages and of its log file.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// All arguments.
    pub arguments: Vec<String>,
    /// Environment variables besides the inherited ones.
    pub environment: Vec<(String, String)>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// Started by this program, so that it ends even if its starter is killed.
    pub launcher: Option<PathBuf>,
}

/// A service, running or stopped.
#[derive(Debug)]
pub struct Service {
    spec: ServiceSpec,
    process: Option<Process>,
    client: Client,
}

impl ServiceSpec {
    /// `store-node serve` for a store.
    pub fn node(binaries: &Binaries, store_id: &str, data_dir: &Path, address: SocketAddr) -> Self {
        let mut spec = Self::serve(store_id, binaries.store_node(), data_dir, address);
        spec.arguments.extend(["--store-id".to_owned(), store_id.to_owned()]);
        spec
    }

    /// `aggregator serve` over node addresses.
    pub fn aggregator(
        binaries: &Binaries,
        data_dir: &Path,
        address: SocketAddr,
        nodes: &[String],
    ) -> Self {
        let mut spec = Self::serve("aggregator", binaries.aggregator(), data_dir, address);
        for node in nodes {
            spec.arguments.extend(["--node".to_owned(), node.clone()]);
        }
        spec
    }

    fn serve(name: &str, program: PathBuf, data_dir: &Path, address: SocketAddr) -> Self {
        let arguments = vec![
            "serve".to_owned(),
            "--data-dir".to_owned(),
            data_dir.display().to_string(),
            "--listen".to_owned(),
            address.to_string(),
        ];
        Self {
            name: name.to_owned(),
            program,
            arguments,
            environment: Vec::new(),
            address,
            data_dir: data_dir.to_path_buf(),
            log: data_dir.with_extension("log"),
            launcher: None,
        }
    }

    /// The same, its output in `<folder>/<name>.log`.
    #[must_use]
    pub fn log_in(mut self, folder: &Path) -> Self {
        self.log = folder.join(format!("{}.log", self.name));
        self
    }

    /// The same with more options.
    #[must_use]
    pub fn with_options(mut self, options: &[String]) -> Self {
        self.arguments.extend_from_slice(options);
        self
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, ending with whoever started it.
    #[must_use]
    pub fn ends_with_its_starter(mut self, binaries: &Binaries) -> Self {
        self.launcher = Some(binaries.launch());
        self
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&self) -> Result<Process> {
        match &self.launcher {
            None => Process::start(&self.program, &self.arguments, &self.environment, &self.log),
            Some(launcher) => {
                let mut arguments =
                    vec![std::process::id().to_string(), self.program.display().to_string()];
                arguments.extend_from_slice(&self.arguments);
                Process::start(launcher, &arguments, &self.environment, &self.log)
            }
        }
    }
}

impl Service {
    /// A service that doesn't run yet.
    pub fn stopped(spec: ServiceSpec) -> Result<Self> {
        let client = Client::new(format!("http://{}", spec.address))?;
        Ok(Self { spec, process: None, client })
    }

    /// Starts it and waits until it answers that it is ready; an error shows the end of its log.
    pub async fn start(spec: ServiceSpec) -> Result<Self> {
        let mut service = Self::stopped(spec)?;
        service.restart().await?;
        Ok(service)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How it is started.
    pub fn spec(&self) -> &ServiceSpec {
        &self.spec
    }

    /// How it is started, to be changed before the next [`Service::restart`].
    pub fn spec_mut(&mut self) -> &mut ServiceSpec {
        &mut self.spec
    }

    /// The client of its address.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its process, if it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// The id of its process, if it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Starts it (again) and waits until it is ready; how long that took.
    pub async fn restart(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.begin()?;
        self.wait_ready().await?;
        Ok(started.elapsed())
    }

    /// Starts it (again) without waiting for anything.
    pub fn begin(&mut self) -> Result<()> {
        self.process = Some(self.spec.spawn()?);
        Ok(())
    }

    /// Sends a signal to its process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref();
        process.with_context(|| format!("{} doesn't run", self.spec.name))?.signal(signal)
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let mut process =
            self.process.take().with_context(|| format!("{} doesn't run", self.spec.name))?;
        process.signal(Signal::TERM)?;
        process.wait(STOP_DEADLINE).await.with_context(|| format!("stopping {}", self.spec.name))
    }

    /// Waits until it answers that it is ready; an error shows the end of its log.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let name = self.spec.name.clone();
        let process = self.process.as_mut().context("it was just started")?;
        let started = Instant::now();
        loop {
            if let Some(status) = process.exited()? {
                bail!("{name} ended at once ({status}):\n{}", process.log_tail());
            }
            if let Ok(reply) = self.client.get("/api/health/ready").await
                && reply.status == 200
            {
                return Ok(());
            }
            if started.elapsed() > READY_DEADLINE {
                bail!("{name} isn't ready after {READY_DEADLINE:?}:\n{}", process.log_tail());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}
