//! A till: asks for one thing at a time, tries again under the same key when it has one, and writes
//! down exactly what it was told. The simulation, the end-to-end tests and the chaos runs put the same
//! tills to work; what differs is the way to the store ([`Way`]). It must never know more than a till can.

mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use tokio::time::{sleep, timeout};

use crate::audit::{History, Line, Outcome, Verb};
use crate::dice::Dice;

/// How long a till waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// A keyed operation is tried so often at most.
const TRIES_MAX: u32 = 60;

/// How a till reaches its store.
pub trait Way: Clone {
    /// Sends a request to the store; patience is the till's.
    fn send(&self, request: Request<Bytes>) -> impl Future<Output = Result<Reply, NoReply>> + Send;

    /// Whether the shop closes.
    fn is_closing(&self) -> bool;

    /// A line of the story.
    fn tell(&self, line: fmt::Arguments<'_>);
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Whether it is marked as told before.
    pub replayed: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReply {
    /// The request certainly didn't get through.
    Refused,
    /// It may have, or not.
    Unknown,
}

/// Everything that a till is made of.
pub struct Till<W> {
    /// What it is called.
    pub name: String,
    /// Its store.
    pub store: String,
    /// What it sells.
    pub skus: Arc<Vec<String>>,
    /// The way to the store.
    pub way: W,
    /// Where it writes down what it did.
    pub history: History,
    /// Its chance.
    pub dice: Dice,
    /// Whether it may send keys.
    pub may_key: bool,
    /// Between two operations, ms, at most.
    pub pause_ms: u64,
    /// Its day has so many operations at most, the opening ones aside.
    pub operations_max: u32,
}

/// What one try came to.
enum Try {
    /// The operation is over.
    Over(Outcome),
    /// It wasn't done, and may be tried again.
    NotDone(Outcome),
    /// Nobody knows.
    Unknown,
}

impl<W: Way> Till<W> {
    /// Works until the shop closes; what it began is brought to its end.
    pub async fn work(mut self) {
        let mut orders = 0;
        for sku in self.skus.iter().cloned().collect::<Vec<_>>() {
            let verb = Verb::Create(self.dice.between(0, 40));
            self.carry_out(vec![Line { sku, verb }], true, self.may_key).await;
        }
        for _ in 0..self.operations_max {
            if self.way.is_closing() {
                return;
            }
            let lines = self.choose(&mut orders);
            let atomic = lines.len() == 1 || self.dice.chance(700);
            let is_look = lines.iter().all(|line| line.verb == Verb::Read);
            let is_keyed = self.may_key && !is_look && self.dice.chance(600);
            self.carry_out(lines, atomic, is_keyed).await;
            sleep(Duration::from_millis(self.dice.between(0, self.pause_ms))).await;
        }
    }

    /// Asks, and asks again while that is safe; what the till was told, which is in the history too.
    pub async fn carry_out(&mut self, lines: Vec<Line>, atomic: bool, is_keyed: bool) -> Outcome {
        let key = is_keyed.then(|| format!("{}-{}", self.name, self.dice.number()));
        let number = self.history.begin(&self.store, key.clone(), lines.clone(), atomic);
        let mut outcome = Outcome::Unknown;
        for _ in 0..TRIES_MAX {
            let id = self.history.try_again(number);
            let tried = match &key {
                Some(key) if self.dice.chance(80) => self.ask_twice(&id, key, &lines, atomic).await,
                _ => self.ask(&id, key.as_deref(), &lines, atomic).await,
            };
            match tried {
                Try::Over(over) => {
                    outcome = over;
                    break;
                }
                // Some earlier try may have been done.
                Try::NotDone(over) if outcome == Outcome::Unknown && key.is_none() => {
                    outcome = over;
                    break;
                }
                Try::NotDone(_) | Try::Unknown if key.is_some() => {}
                Try::NotDone(_) | Try::Unknown => break,
            }
            sleep(Duration::from_millis(self.dice.between(5, 400))).await;
        }
        self.way.tell(format_args!(
            "{} op-{number} {}: {}",
            self.name,
            brief(&lines),
            say(&outcome)
        ));
        self.history.end(number, outcome.clone());
        outcome
    }

    /// A request that the network delivers twice, as a proxy does that tries again by itself.
    async fn ask_twice(&mut self, id: &str, key: &str, lines: &[Line], atomic: bool) -> Try {
        let mut other = Self {
            name: self.name.clone(),
            store: self.store.clone(),
            skus: Arc::clone(&self.skus),
            way: self.way.clone(),
            history: self.history.clone(),
            dice: self.dice.fork(),
            may_key: self.may_key,
            pause_ms: self.pause_ms,
            operations_max: self.operations_max,
        };
        let (one, two) = tokio::join!(
            biased;
            self.ask(id, Some(key), lines, atomic),
            other.ask(id, Some(key), lines, atomic)
        );
        match (one, two) {
            (Try::Over(one), _) => Try::Over(one),
            (_, two) => two,
        }
    }

    async fn ask(&mut self, id: &str, key: Option<&str>, lines: &[Line], atomic: bool) -> Try {
        let request = wire::request(&self.store, id, key, lines, atomic);
        match timeout(PATIENCE, self.way.send(request)).await {
            Err(_) | Ok(Err(NoReply::Unknown)) => Try::Unknown,
            Ok(Err(NoReply::Refused)) => Try::NotDone(wire::refused(0, "ConnectionRefused")),
            Ok(Ok(reply)) => wire::understand(&reply, lines),
        }
    }

    fn choose(&mut self, orders: &mut u64) -> Vec<Line> {
        let count = if self.dice.chance(250) { self.dice.between(2, 4) } else { 1 };
        let mut lines: Vec<Line> = Vec::new();
        for _ in 0..count {
            let sku = self.dice.pick(&self.skus).clone();
            let verb = self.verb(orders);
            // Looks aren't lines of a batch, and an item comes once: what its event was is clear.
            let fits = count == 1 || verb != Verb::Read && lines.iter().all(|line| line.sku != sku);
            if fits {
                lines.push(Line { sku, verb });
            }
        }
        if lines.is_empty() {
            lines.push(Line { sku: self.skus[0].clone(), verb: Verb::Read });
        }
        lines
    }

    fn verb(&mut self, orders: &mut u64) -> Verb {
        let units = self.dice.between(1, 4);
        let known = |dice: &mut Dice| {
            let back = dice.between(1, 6);
            format!("{}-{}", self.name, orders.saturating_sub(back))
        };
        match self.dice.between(0, 99) {
            0..30 => Verb::Sell(units),
            30..50 => {
                *orders += 1;
                let seconds = self.dice.chance(300).then(|| self.dice.between(1, 8));
                let order = format!("{}-{orders}", self.name);
                Verb::Reserve(order, units, seconds)
            }
            50..60 => Verb::Release(known(&mut self.dice)),
            60..70 => Verb::Deduct(known(&mut self.dice)),
            70..80 => Verb::Receive(self.dice.between(1, 12)),
            80..85 => Verb::Return(units),
            85..90 => {
                Verb::Adjust(if self.dice.chance(500) { units as i64 } else { -(units as i64) })
            }
            _ => Verb::Read,
        }
    }
}

fn brief(lines: &[Line]) -> String {
    let line = |line: &Line| format!("{} {:?}", line.sku, line.verb);
    lines.iter().map(line).collect::<Vec<_>>().join(", ")
}

fn say(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(answer) => format!("{:?}", answer.lines),
        Outcome::Refused { status, error } => format!("refused {status} {error}"),
        Outcome::Unknown => "unknown".to_owned(),
    }
}
