//! Real processes, broken on purpose for one round: every kind of fault once. `make chaos` does the
//! same for minutes.

use std::time::Duration;

use anyhow::{Context, Result};
use tests::audit::{Outcome, Promise};
use tests::chaos::disk::{Disk, Kind as DiskKind};
use tests::chaos::strikes::Kind;
use tests::chaos::system::{Store, System};
use tests::chaos::{Plan, run};
use tests::dice::Dice;
use tests::findings::Findings;
use tests::load::{Crew, Load};
use tests::skip::leave_out;
use tests::world::{Binaries, World, strace};

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_every_fault_breaks_no_promise_and_a_broken_one_would_be_seen() -> Result<()> {
    let plan = Plan { seed: 1, duration: Duration::ZERO, aloud: true };
    let (report, findings) = run(Binaries::built()?, plan).await?;
    println!("{report}");
    for (what, why) in &report.left_out {
        leave_out(&format!("chaos: {what}"), why);
    }
    assert!(report.faults.is_empty(), "{report}");
    assert!(report.told.acknowledged > 200, "too little was done to mean anything: {report}");
    if report.left_out.is_empty() {
        let missing = Kind::ALL.iter().filter(|kind| !report.counts.contains_key(*kind));
        assert_eq!(missing.count(), 0, "{report}");
    }
    expect_tampering_seen(&findings)
}

/// The checker sees real processes too: each lie about what they left is called by its name.
fn expect_tampering_seen(findings: &Findings) -> Result<()> {
    let seen = |what: &str, tampered: &Findings, promise: Promise| {
        let faults = tampered.judge();
        let is_seen = faults.iter().any(|fault| fault.promise == promise);
        assert!(is_seen, "{what} isn't seen as {promise:?}: {faults:?}");
    };
    let seq = acknowledged_last(findings).context("the last event of a log was acknowledged")?;
    let mut lost = findings.clone();
    lost.stores[0].log.events.retain(|event| event.seq < seq);
    lost.stores[0].log.receipts.retain(|receipt| receipt.seq < seq);
    seen("a lost tail", &lost, Promise::Durable);

    // Node and view that lost it too agree with the log; the tills remember.
    let told = lost.stores[0].log.last_states();
    lost.stores[0].view = Some(told.clone());
    lost.stores[0].node = told;
    seen("a tail that everybody lost", &lost, Promise::Durable);

    let mut skipped = findings.clone();
    skipped.stores[0].log.events.remove(3);
    seen("an event cut out", &skipped, Promise::Gapless);

    let mut doubled = findings.clone();
    let again = doubled.stores[0].log.events[3].clone();
    doubled.stores[0].log.events.insert(4, again);
    seen("an event twice", &doubled, Promise::Durable);

    let mut shifted = findings.clone();
    let view = shifted.stores[0].view.as_mut().context("there is an aggregator")?;
    view.values_mut().next().context("it holds something")?.sold += 1;
    seen("a view that is off by one", &shifted, Promise::Converged);

    let mut forgotten = findings.clone();
    let mut operations = forgotten.operations.iter_mut();
    let sale = operations.find(|operation| operation.outcome.is_acknowledged());
    sale.context("something was acknowledged")?.outcome =
        Outcome::Refused { status: 409, error: "InsufficientStockError".to_owned() };
    seen("a refusal with an effect", &forgotten, Promise::Durable);
    Ok(())
}

/// The seq of the first store's last acknowledged event.
fn acknowledged_last(findings: &Findings) -> Option<u64> {
    let store = &findings.stores.first()?.log.store;
    let own = findings.operations.iter().filter(|operation| operation.store == *store);
    own.filter_map(|operation| operation.outcome.last_seq()).max()
}

/// A bug on purpose in a real process: its syncs are answered without being done, so that a power
/// cut takes what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_lies_about_syncs_loses_sales_and_that_is_seen() -> Result<()> {
    const TEST: &str = "a_disk_that_lies_about_syncs_loses_sales_and_that_is_seen";
    let mut system = System::start(Binaries::built()?, 0).await?;
    let is_image =
        |store: &Store| store.disk.as_ref().map(|(kind, _)| *kind) == Some(DiskKind::Image);
    let place = system.stores.iter().position(is_image).filter(|_| system.can_trace);
    let Some(number) = place else {
        leave_out(TEST, &format!("{:?}", system.left_out));
        return Ok(());
    };
    let told = system.world.path().join("logs/strace.txt");
    system.kill_node(number)?;
    system.begin_injected(number, "fdatasync,fsync:retval=0", &told)?;
    system.stores[number].node.wait_ready().await?;
    let history = system.history.clone();
    let store = &system.stores[number];
    let store = (store.name().to_owned(), store.tills.url());
    let load = Load::start(&[store], Crew::default(), &history, &mut Dice::new(1))?;
    load.acknowledge_more(100).await?;
    load.finish().await?;
    assert!(strace::has_struck(&told), "no sync was left out");
    system.stores[number].disk()?.cut_power()?;
    system.kill_node(number)?;
    system.stores[number].disk()?.restore_power().await?;
    system.revive_node(number).await?;
    let faults = system.end().await?.judge();
    let is_lost = faults.iter().any(|fault| fault.promise == Promise::Durable);
    assert!(is_lost, "acknowledged sales are gone, and nobody sees it: {faults:?}");
    Ok(())
}

/// The power cut takes what it should: without this, its rounds would prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_takes_what_was_not_synced() -> Result<()> {
    let world = World::new()?;
    let place = world.path().join("disk");
    let disk = Disk::mount(world.binaries(), DiskKind::Image, &place, 64 << 20).await?;
    let disk = match disk {
        Ok(disk) => disk,
        Err(why) => {
            leave_out("a_power_cut_takes_what_was_not_synced", &why);
            return Ok(());
        }
    };
    let shown = place.display();
    let script = format!(
        "echo safe > '{shown}/synced' && sync '{shown}/synced' '{shown}' && echo gone > '{shown}/written'"
    );
    let shell = std::path::Path::new("sh");
    let written = disk.run(shell, &["-c", &script])?;
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    disk.cut_power()?;
    let after = disk.run(shell, &["-c", &format!("echo late > '{shown}/late'")])?;
    assert_ne!(after.code, Some(0), "a disk without power takes no writes");
    disk.restore_power().await?;
    let left = disk.run(shell, &["-c", &format!("cat '{shown}/synced'; ls '{shown}'")])?;
    assert_eq!(left.stdout.replace("lost+found\n", ""), "safe\nsynced\n");
    Ok(())
}
