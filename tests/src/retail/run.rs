//! One data set from the file to the verdict. The order matters: stores open before the first till
//! starts, and nothing is compared before the view says it has caught up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::compare::{Holdings, compare, node_holdings, view_holdings};
use super::expected;
use super::incidents::{self, Incident, milliseconds};
use super::input::{DataSet, Source};
use super::plan::Plan;
use super::play::{Playback, Played, open_store};
use super::report::Report;
use super::{STORES, TILLS};
use crate::http::Client;
use crate::world::{Binaries, Service, ServiceSpec, free_address, process};

/// How a replay is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the services' programs are.
    pub binaries: Binaries,
    /// A directory for the services' data and logs; must be empty.
    pub directory: std::path::PathBuf,
    /// Only the first so many baskets.
    pub basket_limit: Option<usize>,
    /// Options for every node.
    pub node_options: Vec<String>,
}

/// The services of one replay.
struct Chain {
    nodes: Vec<Service>,
    aggregator: Service,
}

/// What happened while the tills played.
struct Load {
    played: Played,
    seconds: f64,
    incidents: Vec<Incident>,
    worst_lag: incidents::Lag,
}

/// Plays a data set and compares.
pub async fn run(set: DataSet, source: &Source, options: &Options) -> Result<Report> {
    let stores_max = match set {
        DataSet::CompleteJourney => STORES,
        DataSet::OnlineRetail => 1,
    };
    let rows = set.read(&source.path)?;
    let plan = Arc::new(Plan::new(&rows, stores_max, options.basket_limit));
    drop(rows);
    let mut chain = start(&plan, options).await?;
    let clients: Vec<Client> = chain.nodes.iter().map(|node| node.client().clone()).collect();
    let mut opening_units = 0;
    for (store, client) in plan.stores.iter().zip(&clients) {
        opening_units += open_store(client, store).await?;
    }
    let load = load(&plan, clients.clone(), &mut chain).await?;
    let caught_up = incidents::caught_up(chain.aggregator.client(), &clients).await?;
    let (nodes, view) = holdings(&plan, &chain).await?;
    let (all_verified, dead_letters) = verdicts(chain.aggregator.client()).await?;
    let logs_verified = stop_and_verify(&mut chain, &options.binaries).await?;
    let expected = expected::compute(set, &source.path, stores_max, options.basket_limit)?;
    let comparison = compare(&plan, &expected, &nodes, &view, &load.played.refused);
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    for row in &plan.skipped {
        *skipped.entry(row.reason.name().to_owned()).or_default() += 1;
    }
    let file = source.path.file_name().unwrap_or_default();
    Ok(Report {
        data_set: set.name().to_owned(),
        file: file.display().to_string(),
        is_sample: source.is_sample,
        stores: plan.stores.iter().map(|store| store.store.clone()).collect(),
        opening_cells: plan.stores.iter().map(|store| store.opening.len()).sum(),
        opening_units,
        tills: TILLS,
        baskets: plan.baskets.len(),
        lines: plan.line_count(),
        applied_baskets: load.played.applied_baskets,
        applied_lines: load.played.applied_lines,
        skipped,
        never_delivered: never_delivered(&plan),
        retries: load.played.retries,
        replayed: load.played.replayed,
        refused: load.played.refused,
        seconds: load.seconds,
        baskets_per_second: plan.baskets.len() as f64 / load.seconds,
        lines_per_second: plan.line_count() as f64 / load.seconds,
        incidents: load.incidents,
        worst_lag: load.worst_lag,
        caught_up_ms: milliseconds(caught_up),
        all_verified,
        dead_letters,
        logs_verified,
        comparison,
    })
}

async fn start(plan: &Plan, options: &Options) -> Result<Chain> {
    let folder = &options.directory;
    let mut nodes = Vec::new();
    for store in &plan.stores {
        let data = folder.join(&store.store);
        let spec = ServiceSpec::node(&options.binaries, &store.store, &data, free_address()?)
            .with_options(&options.node_options)
            .ends_with_its_starter(&options.binaries);
        nodes.push(Service::start(spec).await?);
    }
    let urls: Vec<String> = nodes.iter().map(|node| node.client().base().to_owned()).collect();
    let data = folder.join("aggregator");
    let spec = ServiceSpec::aggregator(&options.binaries, &data, free_address()?, &urls)
        .ends_with_its_starter(&options.binaries);
    let aggregator = Service::start(spec).await?;
    Ok(Chain { nodes, aggregator })
}

/// Plays everything; on the way kills the node with the most SKUs and the aggregator.
async fn load(plan: &Arc<Plan>, clients: Vec<Client>, chain: &mut Chain) -> Result<Load> {
    let total = plan.baskets.len();
    let busiest = (0..plan.stores.len()).max_by_key(|index| plan.stores[*index].opening.len());
    let (lag, watcher) = incidents::watch_lag(chain.aggregator.client().clone());
    let playback = Playback::new(Arc::clone(plan), clients);
    let started = Instant::now();
    let tills = playback.start(TILLS);
    let finished = tokio::spawn(join(tills, started));

    incidents::answered(&playback, total / 3).await?;
    let node = &mut chain.nodes[busiest.context("a plan has stores")?];
    let first = incidents::kill_node(node, playback.answered()).await?;
    incidents::answered(&playback, total * 2 / 3).await?;
    let second = incidents::kill_aggregator(&mut chain.aggregator, playback.answered()).await?;

    let (played, took) = finished.await.context("the tills' task")??;
    watcher.abort();
    let worst_lag = *lag.borrow();
    Ok(Load { played, seconds: took.as_secs_f64(), incidents: vec![first, second], worst_lag })
}

async fn join(
    tills: Vec<tokio::task::JoinHandle<Result<Played>>>,
    started: Instant,
) -> Result<(Played, Duration)> {
    let mut played = Played::default();
    for till in tills {
        played.add(till.await.context("a till's task")??);
    }
    played.refused.sort();
    Ok((played, started.elapsed()))
}

async fn holdings(plan: &Plan, chain: &Chain) -> Result<(Holdings, Holdings)> {
    let (mut nodes, mut view) = (Holdings::new(), Holdings::new());
    for (store, node) in plan.stores.iter().zip(&chain.nodes) {
        nodes.extend(node_holdings(node.client(), &store.store).await?);
        view.extend(view_holdings(chain.aggregator.client(), &store.store).await?);
    }
    Ok((nodes, view))
}

async fn verdicts(aggregator: &Client) -> Result<(bool, u64)> {
    let status = aggregator.get("/api/sync/status").await?.ok()?.json()?;
    let verified = status["global"]["allVerified"] == true;
    let dead = status["global"]["deadLetters"].as_u64();
    Ok((verified, dead.context("the status counts dead letters")?))
}

/// Ends everything in order and checks each node's files; how many are intact.
async fn stop_and_verify(chain: &mut Chain, binaries: &Binaries) -> Result<usize> {
    chain.aggregator.stop().await?;
    let mut intact = 0;
    for node in &mut chain.nodes {
        node.stop().await?;
        intact += usize::from(log_is_intact(binaries, &node.spec().data_dir)?);
    }
    Ok(intact)
}

fn log_is_intact(binaries: &Binaries, data_dir: &Path) -> Result<bool> {
    let directory = data_dir.display().to_string();
    let output = process::run(&binaries.store_node(), &["verify", "--data-dir", &directory])?;
    if output.code != Some(0) {
        eprintln!("verify {directory}: {}{}", output.stdout, output.stderr);
    }
    Ok(output.code == Some(0))
}

fn never_delivered(plan: &Plan) -> Vec<String> {
    plan.stores
        .iter()
        .filter_map(|store| Some(format!("{}/{}", store.store, store.missing.as_ref()?)))
        .collect()
}
