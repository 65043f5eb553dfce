//! `mutate SECONDS [TARGET…]`: mutates the corpora on stable Rust for so long for each target, every
//! round from another seed, and ends with 1 at the first broken promise. What it found lies in
//! `target/fuzz/found`.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use properties::mutate::search;
use properties::{TARGETS, Target, corpus};

/// Cases from one seed; between two seeds is the time to stop.
const CASES_A_ROUND: u32 = 200;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(seconds) = arguments.next().and_then(|text| text.parse().ok()) else {
        eprintln!("usage: mutate SECONDS [TARGET…]");
        return ExitCode::from(2);
    };
    let wanted: Vec<String> = arguments.collect();
    // Broken promises are told once, when they are as simple as they get.
    std::panic::set_hook(Box::new(|_| {}));
    let mut is_good = true;
    for target in TARGETS.iter().filter(|target| is_wanted(&wanted, target)) {
        is_good &= run(*target, Duration::from_secs(seconds));
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_wanted(wanted: &[String], target: &Target) -> bool {
    wanted.is_empty() || wanted.iter().any(|name| name == target.name)
}

fn run(target: Target, length: Duration) -> bool {
    let files = match corpus::read(target.name) {
        Ok(files) => files.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(),
        Err(error) => {
            println!("{}: no corpus: {error}", target.name);
            return false;
        }
    };
    let began = Instant::now();
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let mut rounds = 0_u64;
    while began.elapsed() < length {
        let seed = (first as u64).wrapping_add(rounds);
        if let Err(found) = search(target, &files, seed, CASES_A_ROUND) {
            println!("{}\nseed {seed}", found.story(target));
            keep(target, &found.bytes);
            return false;
        }
        rounds += 1;
    }
    println!("{:<10} {:>9} cases, nothing found", target.name, rounds * u64::from(CASES_A_ROUND));
    true
}

fn keep(target: Target, bytes: &[u8]) {
    let top = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let folder = Path::new(&top).join("fuzz/found");
    let file = folder.join(format!("{}-{:08x}", target.name, crc32fast::hash(bytes)));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, bytes));
    match kept {
        Ok(()) => println!("kept in {}", file.display()),
        Err(error) => println!("not kept in {}: {error}", file.display()),
    }
}
