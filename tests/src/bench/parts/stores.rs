//! A hundred stores behind one aggregator, all of them the released programs: whether an event
//! costs more the more stores there are (P11), how fast their logs are taken over, how fresh the
//! view is, and whether a flood from one store delays the others. Unless the view equals every
//! store in the end, there is no result.

pub mod fleet;
pub mod flood;
pub mod office;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::bench::freshness::Freshness;
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::series::Series;
use crate::bench::table::table_of_rounds;
use crate::world::Service;
use fleet::Fleet;
use flood::{Flood, Offices};
use office::CatchUp;

/// Stores.
const STORES: usize = 100;
/// Events of all of them together; one more store has as many by itself.
const EVENTS: usize = 1_000_000;
/// Events on each item, its creation included.
const EVENTS_PER_ITEM: usize = 10;
/// What an event may cost with all stores, of what it costs with one: ± 10 %.
const GROWTH_MAX: f64 = 1.1;
/// How much later the other stores' writes may be seen under a flood.
const DELAY_MAX: f64 = 2.0;

/// P11, the half about stores.
pub const PART: Part = Part {
    name: "P11-stores",
    title: "100 stores behind one aggregator: cost of an event, freshness, a flood from one store",
    measure: |setup| Box::pin(measure(setup)),
};

async fn measure(setup: &Setup) -> Result<Findings> {
    let (binaries, view) = (&setup.binaries, setup.directory.join("view"));
    let fleet = Fleet::start(setup, "store", STORES).await?;
    let single = Fleet::start_elsewhere(setup, "big").await?;
    let items = EVENTS / EVENTS_PER_ITEM;
    tokio::try_join!(
        fleet.fill(items / STORES, EVENTS_PER_ITEM - 1),
        single.fill(items, EVENTS_PER_ITEM - 1)
    )?;
    let mut pairs = Vec::new();
    for number in 0..setup.rounds {
        let one = office::catch_up(binaries, &view, &single).await?;
        let all = office::catch_up(binaries, &view, &fleet).await?;
        println!("  round {}: {one}; {all}", number + 1);
        pairs.push((one, all));
    }
    fleet.create_probed().await?;
    let nodes: Vec<&Service> = fleet.nodes.iter().collect();
    let mut office = office::open(binaries, &view, &nodes).await?;
    office::wait_verified(office.client(), &fleet.durable().await?).await?;
    let flooding = single.nodes.first().context("a store floods")?;
    let mut elsewhere = office::open(binaries, &setup.directory.join("elsewhere"), &[]).await?;
    let window = Duration::from_secs(setup.seconds);
    let mut floods = Vec::new();
    for number in 0..setup.rounds {
        let offices = Offices { here: &office, elsewhere: &elsewhere };
        let flood = flood::measure(offices, &fleet, flooding, window).await?;
        println!("  round {}: {flood}", number + 1);
        floods.push(flood);
    }
    office::wait_verified(office.client(), &fleet.durable().await?).await?;
    let compared = office::compare(office.client(), &fleet.nodes).await?;
    for office in [&mut office, &mut elsewhere] {
        let status = office.stop().await?;
        ensure!(status.success(), "the aggregator ended with {status}");
    }
    fleet.stop().await?;
    single.stop().await?;
    Ok(findings(&pairs, &floods, compared))
}

fn findings(pairs: &[(CatchUp, CatchUp)], floods: &[Flood], compared: usize) -> Findings {
    let growths = pairs.iter().map(|(one, all)| all.cpu_us_per_event() / one.cpu_us_per_event());
    let growth = Series::of(growths);
    let cost = |side: fn(&(CatchUp, CatchUp)) -> &CatchUp| {
        Series::of(pairs.iter().map(|pair| side(pair).cpu_us_per_event()))
    };
    let (cost_of_one, cost_of_all) = (cost(|pair| &pair.0), cost(|pair| &pair.1));
    let rate = Series::of(pairs.iter().map(|(_, all)| all.events_per_second()));
    let figure = |side: fn(&Flood) -> &Freshness, value: fn(&Freshness) -> f64| {
        Series::of(floods.iter().map(|flood| value(side(flood)) / 1e3)).median
    };
    let delay = |beside: fn(&Flood) -> &Freshness, value: fn(&Freshness) -> f64| {
        Series::of(floods.iter().map(|flood| value(&flood.flooded) / value(beside(flood)))).median
    };
    let late = |what: &str, beside: fn(&Flood) -> &Freshness, value: fn(&Freshness) -> f64| {
        let [calm, elsewhere, flooded] =
            [calm_of, elsewhere_of, flooded_of].map(|side| figure(side, value));
        let result = format!(
            "visible after {calm:.2} ms, {elsewhere:.2} with the flood elsewhere, {flooded:.2} here \
             ({:.2} × that without)",
            delay(calm_of, value)
        );
        Criterion::at_most(what, result, (delay(beside, value), "×"), DELAY_MAX)
    };
    let result = format!(
        "{:.2} µs of an event with one store, {:.2} with {STORES}; {:.0} events/s",
        cost_of_one.median, cost_of_all.median, rate.median
    );
    let criteria = vec![
        Criterion::at_most(
            "cost of an event with 100 stores",
            result,
            (growth.median, "×"),
            GROWTH_MAX,
        ),
        Criterion::holds(
            "the view equals every store",
            format!("digests of {STORES} stores, {compared} items"),
            compared > 0,
        ),
        late("a flood's delay, p50", calm_of, |seen| seen.p50_us),
        // The tail is also that of a machine with more to do than cores: beside it with the same to
        // do, for somebody else.
        late("a flood's delay, p99, beside the same flood elsewhere", elsewhere_of, |seen| {
            seen.p99_us
        }),
    ];
    Findings {
        commands: vec!["aggregator serve --node http://127.0.0.1:… (100 times)".to_owned()],
        criteria,
        text: tables(pairs, floods),
        figures: json!({"catchUps": pairs, "growth": growth, "floods": floods, "compared": compared}),
    }
}

fn calm_of(flood: &Flood) -> &Freshness {
    &flood.calm
}

fn elsewhere_of(flood: &Flood) -> &Freshness {
    &flood.elsewhere
}

fn flooded_of(flood: &Flood) -> &Freshness {
    &flood.flooded
}

fn tables(pairs: &[(CatchUp, CatchUp)], floods: &[Flood]) -> String {
    let headings = format!(
        "one store: µs an event | events/s | {STORES} stores: µs an event | events/s | MiB"
    );
    let costs = table_of_rounds(&headings, pairs, |(one, all)| {
        format!(
            "{:.3} | {:.0} | {:.3} | {:.0} | {:.0}",
            one.cpu_us_per_event(),
            one.events_per_second(),
            all.cpu_us_per_event(),
            all.events_per_second(),
            all.usage.peak_rss_mib()
        )
    });
    let headings = "calm p50 ms | p99 | worst | elsewhere events/s | p50 ms | p99 | worst | here events/s | p50 ms | p99 | worst";
    let delays = table_of_rounds(headings, floods, |flood| {
        let ms = |freshness: &Freshness| {
            let figures = [freshness.p50_us, freshness.p99_us, freshness.max_us];
            figures.map(|figure| format!("{:.2}", figure / 1e3)).join(" | ")
        };
        format!(
            "{} | {:.0} | {} | {:.0} | {}",
            ms(&flood.calm),
            flood.elsewhere_per_second,
            ms(&flood.elsewhere),
            flood.flooded_per_second,
            ms(&flood.flooded)
        )
    });
    format!(
        "{EVENTS} events, of one store or of {STORES} together, in frames of {} at most, followed from \
         the first frame over HTTP by an aggregator that begins with nothing; digests checked. Processor \
         time is the aggregator's from its start.\n\n{costs}\n\
         Writes to probed items of all stores in turn while each store sells: without a flood; while one \
         more store's whole log pours in, again and again, to another aggregator on this machine, \
         which takes the same processor time and leaves this one alone; and to this one.\n\n{delays}",
        fleet::OPERATIONS
    )
}
