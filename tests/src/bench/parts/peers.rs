//! P2: the same reservations against what people use instead: PostgreSQL 15 and Redis 7, each as
//! durable as we are, on the same disk. No peer may have a handicap, and its answers count only if
//! everything it acknowledged is there after kill -9 too.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Serialize;
use serde_json::json;

use super::reservations::{SKUS, plan, plans};
use crate::bench::node::{self, Kept, Side};
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::postgres::{self, Postgres};
use crate::bench::redis::Redis;
use crate::bench::series::Series;
use crate::bench::table::table_of_rounds;
use crate::bench::usage::Usage;

/// Of PostgreSQL's rate at its best number of clients, and of Redis's.
const POSTGRES_BAR: f64 = 3.0;
const REDIS_BAR: f64 = 1.3;
/// Clients of PostgreSQL: the best counts.
const POSTGRES_CLIENTS: [usize; 2] = [16, 64];
const REDIS_CLIENTS: usize = 64;
/// The first run of Redis, which tells how many requests fill a run.
const REDIS_FIRST_REQUESTS: u64 = 30_000;

/// P2.
pub const PART: Part = Part {
    name: "P2",
    title: "the same reservations beside PostgreSQL 15 and Redis 7, each durable",
    measure: |setup| Box::pin(measure(setup)),
};

/// A run of a peer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerRun {
    clients: usize,
    requests: u64,
    per_second: f64,
    /// The mean of PostgreSQL, the median of Redis.
    middle_ms: f64,
    #[serde(flatten)]
    usage: Usage,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    node: Side,
    kept: Kept,
    postgres: Vec<PeerRun>,
    redis: PeerRun,
}

/// What a peer acknowledged, and the entries and units it holds: before and after kill -9.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerKept {
    acknowledged: u64,
    before: (u64, u64),
    after: (u64, u64),
    in_flight_max: u64,
}

impl PeerKept {
    /// An entry and a unit for each acknowledged reservation, at most one more for each client.
    fn is_durable(self) -> bool {
        let whole = |(entries, units): (u64, u64)| {
            let range = self.acknowledged..=self.acknowledged + self.in_flight_max;
            entries == units && range.contains(&entries)
        };
        whole(self.before) && whole(self.after)
    }
}

/// Both peers, which run through all rounds, idle while another one is measured.
struct Peers {
    postgres: Postgres,
    redis: Redis,
    redis_requests: u64,
    postgres_total: (u64, u64),
    redis_total: (u64, u64),
    commands: Vec<String>,
}

async fn measure(setup: &Setup) -> Result<Findings> {
    let mut peers = Peers::start(setup).await?;
    let mut rounds = Vec::new();
    for number in 0..setup.rounds {
        let name = format!("node-{number}");
        let (sides, kept) =
            node::durable_round(setup, &name, SKUS, plans(setup, number, SKUS)).await?;
        let node = sides.into_iter().next_back().ok_or_else(|| anyhow!("nothing was run"))?;
        let postgres = peers.run_postgres(setup.seconds).await?;
        let redis = peers.run_redis()?;
        let round = Round { node, kept, postgres, redis };
        println!(
            "  round {}: node {:.0}/s, PostgreSQL {}/s, Redis {:.0}/s; ratios {:.2} and {:.2}",
            number + 1,
            round.node.per_second(),
            round.postgres.iter().map(told).collect::<Vec<_>>().join(" and "),
            round.redis.per_second,
            round.postgres_ratio(),
            round.redis_ratio()
        );
        rounds.push(round);
    }
    let commands = std::mem::take(&mut peers.commands);
    let (postgres, redis) = peers.finish().await?;
    Ok(findings(setup, &rounds, (postgres, redis), commands))
}

impl Peers {
    async fn start(setup: &Setup) -> Result<Self> {
        let postgres = Postgres::start(&setup.directory.join("postgres")).await?;
        postgres.create_items(SKUS)?;
        let redis = Redis::start(&setup.binaries, &setup.directory.join("redis")).await?;
        redis.create_items(SKUS)?;
        let first = redis.command(REDIS_CLIENTS, SKUS, REDIS_FIRST_REQUESTS)?;
        let (told, _) = redis.run(&first)?;
        let redis_requests = (told.per_second * setup.seconds as f64) as u64;
        Ok(Self {
            postgres,
            redis,
            redis_requests,
            postgres_total: (0, 0),
            redis_total: (REDIS_FIRST_REQUESTS, 0),
            commands: Vec::new(),
        })
    }

    async fn run_postgres(&mut self, seconds: u64) -> Result<Vec<PeerRun>> {
        let mut runs = Vec::new();
        for clients in POSTGRES_CLIENTS {
            // One second to warm up, then the measured run.
            for seconds in [1, seconds] {
                let command = self.postgres.command(clients, seconds);
                let (told, usage) = self.postgres.run(&command).await?;
                self.postgres_total.0 += told.transactions;
                self.postgres_total.1 += clients as u64;
                self.note(&command, seconds > 1);
                runs.push(PeerRun {
                    clients,
                    requests: told.transactions,
                    per_second: told.per_second,
                    middle_ms: told.mean_ms,
                    usage,
                });
            }
        }
        Ok(runs.into_iter().skip(1).step_by(2).collect())
    }

    fn run_redis(&mut self) -> Result<PeerRun> {
        let command = self.redis.command(REDIS_CLIENTS, SKUS, self.redis_requests)?;
        let (told, usage) = self.redis.run(&command)?;
        self.redis_total.0 += self.redis_requests;
        self.note(&command, true);
        Ok(PeerRun {
            clients: REDIS_CLIENTS,
            requests: self.redis_requests,
            per_second: told.per_second,
            middle_ms: told.p50_ms,
            usage,
        })
    }

    /// The first command of each kind goes into the report.
    fn note(&mut self, command: &[String], is_measured: bool) {
        let words = POSTGRES_CLIENTS.len() + 1;
        if is_measured && self.commands.len() < words {
            let name = |word: &String| match Path::new(word) {
                path if path.is_absolute() => {
                    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
                }
                _ => word.clone(),
            };
            self.commands.push(command.iter().map(name).collect::<Vec<_>>().join(" "));
        }
    }

    /// Counts, kills, starts again, counts again, and ends both.
    async fn finish(mut self) -> Result<(PeerKept, PeerKept)> {
        let before = (self.postgres.counts()?, self.redis.counts(SKUS)?);
        self.postgres.kill_and_restart().await?;
        self.redis.kill_and_restart().await?;
        let after = (self.postgres.counts()?, self.redis.counts(SKUS)?);
        self.postgres.stop().await?;
        let kept = |(acknowledged, in_flight_max), before, after| PeerKept {
            acknowledged,
            before,
            after,
            in_flight_max,
        };
        Ok((
            kept(self.postgres_total, before.0, after.0),
            kept(self.redis_total, before.1, after.1),
        ))
    }
}

impl Round {
    fn postgres_best(&self) -> f64 {
        self.postgres.iter().map(|run| run.per_second).fold(0.0, f64::max)
    }

    fn postgres_ratio(&self) -> f64 {
        self.node.per_second() / self.postgres_best()
    }

    fn redis_ratio(&self) -> f64 {
        self.node.per_second() / self.redis.per_second
    }
}

fn told(run: &PeerRun) -> String {
    format!("{:.0}", run.per_second)
}

fn findings(
    setup: &Setup,
    rounds: &[Round],
    (postgres, redis): (PeerKept, PeerKept),
    peers: Vec<String>,
) -> Findings {
    let series = |figure: &dyn Fn(&Round) -> f64| Series::of(rounds.iter().map(figure));
    let node = series(&|round| round.node.per_second());
    let beside = |peer: Series| format!("{:.0}/s beside {:.0}/s", node.median, peer.median);
    let (best, other) = (series(&Round::postgres_best), series(&|round| round.redis.per_second));
    let (ratio, redis_ratio) = (series(&Round::postgres_ratio), series(&Round::redis_ratio));
    let kept: Vec<Kept> = rounds.iter().map(|round| round.kept).collect();
    let peer = |name: &str, kept: PeerKept| {
        let what = format!("every reservation that {name} acknowledged there after kill -9");
        let result = format!("{} of {}", kept.after.0, kept.acknowledged);
        Criterion::holds(&what, result, kept.is_durable())
    };
    let example = plan(Path::new(""), "r0".to_owned(), SKUS, setup.seconds);
    let mut commands = vec![example.command("http://127.0.0.1:4101").join(" ")];
    commands.extend(peers);
    commands.push(format!("postgres -c {}", postgres::SETTINGS.join(" -c ")));
    commands.push(format!("redis-server {}", Redis::OPTIONS.map(quoted).join(" ")));
    Findings {
        commands,
        criteria: vec![
            Criterion::ratio("beside PostgreSQL 15", beside(best), ratio.median, POSTGRES_BAR),
            Criterion::ratio("beside Redis 7", beside(other), redis_ratio.median, REDIS_BAR),
            Kept::criterion(&kept),
            peer("PostgreSQL", postgres),
            peer("Redis", redis),
        ],
        text: text(
            rounds,
            [("node", node), ("PostgreSQL, its best", best), ("Redis", other)],
            [ratio, redis_ratio],
        ),
        figures: json!({
            "rounds": rounds,
            "nodePerSecond": node,
            "postgresPerSecond": best,
            "redisPerSecond": other,
            "postgresRatio": ratio,
            "redisRatio": redis_ratio,
            "postgresKept": postgres,
            "redisKept": redis,
        }),
    }
}

fn quoted(word: &str) -> String {
    if word.is_empty() { "''".to_owned() } else { word.to_owned() }
}

fn text(rounds: &[Round], rates: [(&str, Series); 3], ratios: [Series; 2]) -> String {
    let headings = "node /s | p50 µs | PostgreSQL 16 clients /s | mean ms | 64 clients /s | mean ms | Redis 64 clients /s | p50 ms | ÷ PostgreSQL | ÷ Redis";
    let mut text = table_of_rounds(headings, rounds, |round| {
        let peers = round.postgres.iter().chain([&round.redis]);
        let peers = peers.map(|run| format!("{:.0} | {:.2}", run.per_second, run.middle_ms));
        let peers: Vec<String> = peers.collect();
        format!(
            "{:.0} | {} | {} | {:.2} | {:.2}",
            round.node.per_second(),
            round.node.load.p50_us,
            peers.join(" | "),
            round.postgres_ratio(),
            round.redis_ratio()
        )
    });
    text.push('\n');
    for (name, rate) in rates {
        let _ = writeln!(
            text,
            "- {name}: median {:.0}/s, {:.0} – {:.0}",
            rate.median, rate.min, rate.max
        );
    }
    for (name, ratio) in ["PostgreSQL", "Redis"].iter().zip(ratios) {
        let _ = writeln!(
            text,
            "- ratio to {name}: median {:.2}, {:.2} – {:.2}",
            ratio.median, ratio.min, ratio.max
        );
    }
    text.push_str(&usage(rounds));
    text
}

fn usage(rounds: &[Round]) -> String {
    let mut text = node::usage_table(&[("node", rounds.iter().map(|round| &round.node).collect())]);
    let peers: [(&str, Vec<&PeerRun>); 3] = [
        (
            "PostgreSQL, 16 clients",
            rounds.iter().filter_map(|round| round.postgres.first()).collect(),
        ),
        (
            "PostgreSQL, 64 clients",
            rounds.iter().filter_map(|round| round.postgres.last()).collect(),
        ),
        ("Redis", rounds.iter().map(|round| &round.redis).collect()),
    ];
    for (name, runs) in peers {
        let median = |figure: &dyn Fn(&PeerRun) -> f64| {
            Series::of(runs.iter().map(|run| figure(run))).median
        };
        let _ = writeln!(
            text,
            "| {name} | {:.1} | {:.2} | {:.2} | {:.1} |",
            median(&|run| run.usage.cpu_seconds() * 1e6 / run.requests.max(1) as f64),
            median(&|run| run.usage.user_seconds),
            median(&|run| run.usage.system_seconds),
            median(&|run| run.usage.peak_rss_mib())
        );
    }
    text.push_str("\nPostgreSQL's memory is the PSS of all of its processes after the run, when its clients' are gone.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_lost_or_invented_anything_is_seen() {
        let kept = |before, after| PeerKept { acknowledged: 100, before, after, in_flight_max: 16 };
        assert!(kept((100, 100), (100, 100)).is_durable());
        assert!(kept((116, 116), (116, 116)).is_durable());
        assert!(!kept((100, 100), (99, 99)).is_durable());
        assert!(!kept((117, 117), (117, 117)).is_durable());
        assert!(!kept((101, 100), (100, 100)).is_durable());
        assert!(!kept((100, 100), (101, 100)).is_durable());
    }
}
