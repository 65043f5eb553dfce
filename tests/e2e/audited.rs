//! The one checker over what a single store's tills did. Nothing here may forgive anything.

use anyhow::{Result, bail};
use tests::audit::{History, Line, Outcome, Verb};
use tests::dice::Dice;
use tests::findings::{
    Findings, StoreFindings, held_by_node, held_by_view, log_of_dump, nothing_runs_out,
};
use tests::http::Client;
use tests::load::{Crew, Load, Street, till};
use tests::till::Till;
use tests::world::{Service, World};

use crate::support::expect_equal;

/// Tills at work at these nodes.
pub(crate) fn tills_at(nodes: &[&Service], crew: Crew, history: &History) -> Result<Load> {
    let stores = nodes.iter().map(|node| (node.name().to_owned(), node.client().base().to_owned()));
    Load::start(&stores.collect::<Vec<_>>(), crew, history, &mut Dice::new(1))
}

/// A till at a node that does what it is told to.
pub(crate) fn till_at(node: &Service, name: &str, history: &History) -> Result<Till<Street>> {
    till(name, node.name(), node.client().base(), history)
}

/// Creates items with the same stock each, in one atomic batch.
pub(crate) async fn open_items(till: &mut Till<Street>, skus: &[String], stock: u64) -> Result<()> {
    let create = |sku: &String| Line { sku: sku.clone(), verb: Verb::Create(stock) };
    match till.carry_out(skus.iter().map(create).collect(), true, false).await {
        Outcome::Answered(_) => Ok(()),
        outcome @ (Outcome::Refused { .. } | Outcome::Unknown) => bail!("opening: {outcome:?}"),
    }
}

/// One unit over the counter, without a key.
pub(crate) async fn sell_one(till: &mut Till<Street>, sku: &str) -> Outcome {
    let line = Line { sku: sku.to_owned(), verb: Verb::Sell(1) };
    till.carry_out(vec![line], true, false).await
}

/// Ends the nodes with SIGTERM and fails with every promise to their tills that was broken: by what
/// their logs hold, what they showed, and what the aggregator, if there is one, showed of them.
pub(crate) async fn expect_sound(
    world: &World,
    nodes: &mut [&mut Service],
    aggregator: Option<&Client>,
    history: &History,
) -> Result<()> {
    let clients: Vec<&Client> = nodes.iter().map(|node| node.client()).collect();
    nothing_runs_out(&clients).await?;
    if let Some(aggregator) = aggregator {
        let nodes: Vec<&Service> = nodes.iter().map(|node| &**node).collect();
        expect_equal(aggregator, &nodes).await?;
    }
    let mut findings = Findings { operations: history.operations(), ..Findings::default() };
    for node in nodes {
        let held = held_by_node(node.client()).await?;
        let view = match aggregator {
            Some(aggregator) => Some(held_by_view(aggregator, node.name()).await?),
            None => None,
        };
        assert_eq!(node.stop().await?.code(), Some(0), "exit code after SIGTERM");
        let directory = node.spec().data_dir.display().to_string();
        for command in ["verify", "dump"] {
            let output = world.store_node(&[command, "--data-dir", &directory, "--json"])?;
            assert_eq!(output.code, Some(0), "{command}: {}{}", output.stdout, output.stderr);
            if command == "dump" {
                let log = log_of_dump(node.name(), &output.stdout)?;
                let (node, view) = (held.clone(), view.clone());
                findings.stores.push(StoreFindings { log, node, view });
            }
        }
    }
    let faults: Vec<String> = findings.judge().iter().map(ToString::to_string).collect();
    if !faults.is_empty() {
        bail!("{} promises are broken:\n  {}", faults.len(), faults.join("\n  "));
    }
    Ok(())
}
