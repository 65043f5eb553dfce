//! Makes the data directory of an aggregator that follows many stores with many SKUs each, by the
//! real view and the writer of its files: `aggregator serve` opens it as its own. For measurements;
//! it must never write into a directory that holds anything else.
//!
//! `cargo run --release -p aggregator --example make_view -- --data-dir DIR --stores 10 --skus 10000000`
//!
//! Store number s, from 0, is called `store-s` and was last at `http://127.0.1.s:9`, where nobody
//! answers. All have the items of store-node/examples/generate_store.rs under the same names: SKU
//! number n is `S` and the eleven digits of n × 7,368,787 mod 10^11, called `Item number` and the
//! twelve digits of n, in one of three categories. Each store has it in another of 500 places, and
//! between 0 and 1,000 units of it (of every 50th none).

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use aggregator::clock;
use aggregator::dead_letter::DeadLetters;
use aggregator::follower::{FollowerState, Position};
use aggregator::persistence::{SavedStore, StoreFiles};
use aggregator::view::{Held, MemoryView, ViewStore};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use event_log::storage::disk::DiskStorage;
use event_log::{Chain, LogId, Seq};
use shared::cell::{Cell, Version};
use shared::digest::item_digest;
use shared::{Metadata, Quantities, Quantity, Sku, StoreId, Timestamp};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    /// The directory; there must be none yet.
    #[arg(long)]
    data_dir: PathBuf,
    /// Stores, at most 250.
    #[arg(long, default_value_t = 10)]
    stores: usize,
    /// SKUs of each.
    #[arg(long, default_value_t = 10_000_000)]
    skus: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.stores <= 250, "at most 250 stores");
    ensure!(!options.data_dir.exists(), "{} is there already", options.data_dir.display());
    std::fs::create_dir_all(&options.data_dir)?;
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || make_some(&options, &next);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })
}

/// Makes one store after the other in a view of its own, until all are begun.
fn make_some(options: &Options, next: &AtomicUsize) -> Result<()> {
    let view = MemoryView::default();
    let slot = view.open_slot();
    let storage = DiskStorage::new(options.data_dir.clone());
    loop {
        let store = next.fetch_add(1, Ordering::Relaxed);
        if store >= options.stores {
            return Ok(());
        }
        let mut digest = 0_u128;
        for number in 0..options.skus {
            let (sku, held, metadata) = item(store as u64, number)?;
            digest = digest.wrapping_add(item_digest(&sku, &held.cell));
            view.put(&slot, &sku, &held, Some(&metadata));
        }
        let saved = saved(store, options.skus, digest)?;
        let mut files = StoreFiles::new(storage.clone(), saved.store_id.clone(), 0);
        let cut = view.cut(&slot);
        let written = files.write(&view, cut, &saved, (clock::system())());
        let finished = written.and_then(aggregator::persistence::PendingSave::finish);
        finished.with_context(|| format!("saving store {store}"))?;
        eprintln!("store-{store}: {} SKUs", options.skus);
    }
}

fn item(store: u64, number: u64) -> Result<(Sku, Held, Metadata)> {
    let scattered = number.wrapping_mul(7_368_787) % 100_000_000_000;
    let sku = Sku::new(&format!("S{scattered:011}"))?;
    let metadata = Metadata {
        name: format!("Item number {number:012}").into(),
        category: ["kitchen", "garden", "toys"][(number % 3) as usize].into(),
        location: format!("W-{}", (number + 37 * store) % 500).into(),
        ..Metadata::default()
    };
    let stock = if number.is_multiple_of(50) { 0 } else { (number * 7_919 + store * 131) % 1_001 };
    let quantities = Quantities {
        stock: Quantity::new(stock).unwrap_or_default(),
        reorder_point: Quantity::new(10).unwrap_or_default(),
        ..Quantities::default()
    };
    let metadata_hash = metadata.hash();
    let cell = Cell { version: Version::new(1), quantities, metadata_hash, ..Cell::default() };
    let metadata_at = Timestamp::from_micros(1_700_000_000_000_000 + number as i64);
    Ok((sku, Held { cell, seq: number + 1, metadata_at }, metadata))
}

fn saved(store: usize, skus: u64, digest: u128) -> Result<SavedStore> {
    let log_id = LogId::new([store as u8 + 1; 16]);
    let seq = Seq::new(skus);
    let state = FollowerState {
        position: Position { seq, chain: Chain::genesis(log_id) },
        digest,
        compared: true,
        verified_seq: Some(seq),
        epoch: 1,
        ..FollowerState::at_beginning(log_id)
    };
    Ok(SavedStore {
        store_id: StoreId::new(&format!("store-{store}"))?,
        url: format!("http://127.0.1.{store}:9"),
        state,
        quarantine: None,
        paused: false,
        as_of: None,
        last_contact_at: None,
        letters: DeadLetters::default(),
    })
}
