//! Runs parts, one after the other, each in a directory of its own. A part that fails must never
//! keep the others from running, nor leave its data behind.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::disk::Syncs;
use super::part::{Criterion, Findings, Part, Setup, Verdict};

/// A part that has run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The part's name: `P1`.
    pub name: &'static str,
    /// What is measured.
    pub title: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// How long it took in all, in seconds.
    pub seconds: f64,
    /// fdatasync of the data directory before and after; none if it couldn't be measured.
    pub fdatasync: Option<(Syncs, Syncs)>,
    /// Command lines.
    pub commands: Vec<String>,
    /// What the bar asks, one by one.
    pub criteria: Vec<Criterion>,
    /// Its tables, as Markdown.
    #[serde(skip)]
    pub text: String,
    /// All figures.
    pub figures: Value,
    /// Why there are no figures.
    pub complaint: Option<String>,
}

/// Runs the parts over `setup`, whose directory is the parent of theirs.
pub async fn run(parts: &[Part], setup: &Setup) -> Vec<Measured> {
    let mut all = Vec::new();
    for part in parts {
        println!("{}: {}", part.name, part.title);
        let measured = run_one(part, setup).await;
        if let Some(complaint) = &measured.complaint {
            eprintln!("{}: {complaint}", part.name);
        }
        println!("{}: {} ({:.0} s)", part.name, measured.verdict.word(), measured.seconds);
        all.push(measured);
    }
    all
}

async fn run_one(part: &Part, setup: &Setup) -> Measured {
    let started = Instant::now();
    let setup = Setup { directory: setup.directory.join(part.name), ..setup.clone() };
    let result = inside(&setup.directory, part, &setup).await;
    let (fdatasync, result) = match result {
        Ok((syncs, findings)) => (Some(syncs), Ok(findings)),
        Err(error) => (None, Err(error)),
    };
    let (findings, complaint) = match result {
        Ok(findings) => (findings, None),
        Err(error) => (Findings::default(), Some(format!("{error:#}"))),
    };
    Measured {
        name: part.name,
        title: part.title,
        verdict: Verdict::of(&findings.criteria),
        seconds: started.elapsed().as_secs_f64(),
        fdatasync,
        commands: findings.commands,
        criteria: findings.criteria,
        text: findings.text,
        figures: findings.figures,
        complaint,
    }
}

async fn inside(
    directory: &Path,
    part: &Part,
    setup: &Setup,
) -> Result<((Syncs, Syncs), Findings)> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("making {}", directory.display()))?;
    let before = Syncs::measure(directory)?;
    let findings = (part.measure)(setup).await;
    let after = Syncs::measure(directory);
    std::fs::remove_dir_all(directory)
        .with_context(|| format!("removing {}", directory.display()))?;
    Ok(((before, after?), findings?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Binaries;
    use anyhow::bail;

    fn good(setup: &Setup) -> Result<Findings> {
        std::fs::write(setup.directory.join("data"), b"left behind")?;
        let criteria = vec![Criterion::ratio("rate", "2/s beside 1/s".to_owned(), 2.0, 1.0)];
        Ok(Findings { criteria, ..Findings::default() })
    }

    #[tokio::test]
    async fn a_part_that_fails_is_told_and_the_rest_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let setup = Setup {
            binaries: Binaries::in_directory(root.path()),
            repository: root.path().to_owned(),
            directory: root.path().join("data"),
            shared: root.path().join("shared"),
            rounds: 1,
            seconds: 1,
            skus: 1,
            node_options: Vec::new(),
        };
        let broken = Part {
            name: "P1",
            title: "breaks",
            measure: |setup| {
                Box::pin(async move {
                    good(setup)?;
                    bail!("no server")
                })
            },
        };
        let fine = Part {
            name: "P2",
            title: "is fine",
            measure: |setup| Box::pin(async move { good(setup) }),
        };
        let nothing = Part {
            name: "P3",
            title: "measures nothing",
            measure: |_| Box::pin(async { Ok(Findings::default()) }),
        };
        let measured = run(&[broken, fine, nothing], &setup).await;
        let verdicts: Vec<Verdict> = measured.iter().map(|part| part.verdict).collect();
        assert_eq!(verdicts, [Verdict::Failed, Verdict::Met, Verdict::Failed]);
        assert_eq!(measured[0].complaint.as_deref(), Some("no server"));
        assert_eq!(measured[1].complaint, None);
        let left = std::fs::read_dir(&setup.directory).unwrap().count();
        assert_eq!(left, 0, "a part's data is removed, also of one that failed");
    }
}
