//! What an independent program says must come out: the sqlite3 shell reads the same CSV (unpacked
//! by zstd's own program) and runs the scripts of `tests/retail`. Nothing here may compute an
//! expectation itself; it only reads what the shell printed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::input::{DataSet, SkipReason};
use super::plan::Skipped;

const COMPLETE_JOURNEY: &str = include_str!("../../retail/complete-journey.sql");
const ONLINE_RETAIL: &str = include_str!("../../retail/online-retail.sql");
const BOTH: &str = include_str!("../../retail/expected.sql");
/// More baskets than any file has.
const NO_LIMIT: usize = 1_000_000_000;

/// The independent result.
#[derive(Debug, Default)]
pub struct Expected {
    /// By store and SKU.
    pub items: BTreeMap<(String, String), ExpectedItem>,
    /// Store and number of each basket that must be refused.
    pub refused: BTreeSet<(String, String)>,
    /// The rows that can't be sent.
    pub skipped: BTreeSet<Skipped>,
    /// How many baskets are sent.
    pub baskets: usize,
    /// How many lines they have.
    pub lines: usize,
}

/// One SKU at one store, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedItem {
    /// Received before the store opens.
    pub opening: u64,
    /// Sold in all.
    pub sold: u64,
    /// Left at the end.
    pub stock: u64,
}

/// Whether the programs needed are there; an error says how to get them.
pub fn check_programs() -> Result<()> {
    for program in ["sqlite3", "zstd"] {
        let found = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            bail!(
                "{program} isn't installed: the independent computation needs it (apt-get install {program})"
            );
        }
    }
    Ok(())
}

/// Runs the scripts over the file.
pub fn compute(
    set: DataSet,
    path: &Path,
    stores_max: usize,
    basket_limit: Option<usize>,
) -> Result<Expected> {
    let script = script(set, path, stores_max, basket_limit)?;
    let mut shell = Command::new("sqlite3")
        .args(["-bail", ":memory:"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting sqlite3")?;
    let mut input = shell.stdin.take().context("its input is a pipe")?;
    input.write_all(script.as_bytes())?;
    drop(input);
    let output = shell.wait_with_output()?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "sqlite3 failed: {complaints}");
    ensure!(complaints.trim().is_empty(), "sqlite3 complains: {complaints}");
    parse(&output.stdout)
}

/// What is given to the shell.
pub fn script(
    set: DataSet,
    path: &Path,
    stores_max: usize,
    basket_limit: Option<usize>,
) -> Result<String> {
    let path = path.to_str().context("the path isn't UTF-8")?;
    ensure!(
        !path.contains(['"', '\'', '\\', '|', '`', '$', '\n']),
        "the path {path} has characters that a shell would misread"
    );
    let import = if super::input::is_compressed(Path::new(path)) {
        format!(".import --csv \"|zstd -dc '{path}'\" raw")
    } else {
        format!(".import --csv \"{path}\" raw")
    };
    let meaning = match set {
        DataSet::CompleteJourney => COMPLETE_JOURNEY,
        DataSet::OnlineRetail => ONLINE_RETAIL,
    };
    let limit = basket_limit.unwrap_or(NO_LIMIT);
    Ok(format!(
        "create table setting as select {stores_max} as stores, {limit} as basket_limit;\n\
         {import}\n{meaning}{BOTH}"
    ))
}

fn parse(printed: &[u8]) -> Result<Expected> {
    let mut expected = Expected::default();
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(printed);
    for record in reader.into_records() {
        let record = record?;
        let fields: Vec<&str> = record.iter().collect();
        match fields[..] {
            ["item", store, sku, opening, sold, stock] => {
                let item = ExpectedItem {
                    opening: opening.parse()?,
                    sold: sold.parse()?,
                    stock: stock.parse()?,
                };
                expected.items.insert((store.into(), sku.into()), item);
            }
            ["refused", store, basket] => {
                expected.refused.insert((store.into(), basket.into()));
            }
            ["skipped", row, store, basket, sku, reason] => {
                expected.skipped.insert(Skipped {
                    row: row.parse()?,
                    store: store.into(),
                    basket: basket.into(),
                    sku: sku.into(),
                    reason: skip_reason(reason)?,
                });
            }
            ["total", baskets, lines] => {
                expected.baskets = baskets.parse()?;
                expected.lines = lines.parse()?;
            }
            _ => bail!("sqlite3 printed {fields:?}"),
        }
    }
    ensure!(!expected.items.is_empty() && expected.baskets > 0, "sqlite3 printed no items");
    Ok(expected)
}

fn skip_reason(name: &str) -> Result<SkipReason> {
    [SkipReason::ZeroQuantity, SkipReason::InvalidSku]
        .into_iter()
        .find(|reason| reason.name() == name)
        .with_context(|| format!("unknown reason {name}"))
}
