//! A till: asks for one thing at a time over the network, tries again under the same key when it has
//! one, and writes down exactly what it was told. It must never know more than a till can.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tests::audit::history::State;
use tests::audit::{Answer, History, Line, LineAnswer, Outcome, Verb};
use tokio::time::{sleep, timeout};

use crate::dice::Dice;
use crate::network::{Broken, Network};
use crate::signal::Signal;
use crate::trace::Trace;

/// How long a till waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// A keyed operation is tried so often at most.
const TRIES_MAX: u32 = 60;
/// A till's day has so many operations at most.
const OPERATIONS_MAX: u32 = 150;

/// Everything that a till is made of.
pub struct Till {
    /// What it is called on the network.
    pub name: String,
    /// Its store.
    pub store: String,
    /// What it sells.
    pub skus: Arc<Vec<String>>,
    /// The network.
    pub network: Network,
    /// Where it writes down what it did.
    pub history: History,
    /// The story.
    pub trace: Trace,
    /// Its chance.
    pub dice: Dice,
    /// Whether it may send keys.
    pub may_key: bool,
    /// Between two operations, ms, at most.
    pub pause_ms: u64,
    /// Turns true when the shop closes.
    pub closing: Signal<bool>,
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

impl Till {
    /// Works until the shop closes; what it began is brought to its end.
    pub async fn work(mut self) {
        let mut orders = 0;
        for sku in self.skus.iter().cloned().collect::<Vec<_>>() {
            let verb = Verb::Create(self.dice.between(0, 40));
            self.carry_out(vec![Line { sku, verb }], true, self.may_key).await;
        }
        for _ in 0..OPERATIONS_MAX {
            if self.closing.get() {
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

    /// Asks, and asks again while that is safe.
    async fn carry_out(&mut self, lines: Vec<Line>, atomic: bool, is_keyed: bool) {
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
        self.trace.note(format_args!(
            "{} op-{number} {}: {}",
            self.name,
            brief(&lines),
            say(&outcome)
        ));
        self.history.end(number, outcome);
    }

    /// A request that the network delivers twice, as a proxy does that tries again by itself.
    async fn ask_twice(&mut self, id: &str, key: &str, lines: &[Line], atomic: bool) -> Try {
        let mut other = Self {
            name: self.name.clone(),
            store: self.store.clone(),
            skus: Arc::clone(&self.skus),
            network: self.network.clone(),
            history: self.history.clone(),
            trace: self.trace.clone(),
            dice: self.dice.fork(),
            may_key: self.may_key,
            pause_ms: self.pause_ms,
            closing: self.closing.clone(),
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
        let request = request(&self.store, id, key, lines, atomic);
        let asking = self.network.send(&self.name, &self.store, request);
        let answered = timeout(PATIENCE, async {
            let response = asking.await?;
            let status = response.status();
            let replayed = response.headers().contains_key("idempotent-replayed");
            let body = response.into_body().collect().await?;
            Ok((status, replayed, body))
        });
        match answered.await {
            Err(_) | Ok(Err(Broken::Reset)) => Try::Unknown,
            Ok(Err(Broken::Refused)) => Try::NotDone(refused(0, "ConnectionRefused")),
            Ok(Ok((status, replayed, body))) => {
                self.trace.mix(&body);
                understand(status, replayed, &body, lines)
            }
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

/// The request of these lines.
pub fn request(
    store: &str,
    id: &str,
    key: Option<&str>,
    lines: &[Line],
    atomic: bool,
) -> Request<Bytes> {
    let (method, path, body) = match lines {
        [Line { sku, verb: Verb::Read }] => (Method::GET, format!("/api/inventory/{sku}"), None),
        [Line { sku, verb: verb @ Verb::Create(_) }] => {
            (Method::POST, "/api/inventory".to_owned(), Some(fields(sku, verb)))
        }
        [Line { sku, verb }] => {
            let mut body = fields(sku, verb);
            if let Some(body) = body.as_object_mut() {
                body.remove("sku");
            }
            (Method::POST, format!("/api/inventory/{sku}/{}", name(verb)), Some(body))
        }
        lines => {
            let operations = lines.iter().map(|line| {
                let mut operation = fields(&line.sku, &line.verb);
                operation["op"] = name(&line.verb).into();
                operation
            });
            let operations: Vec<Value> = operations.collect();
            let body = json!({ "atomic": atomic, "operations": operations });
            (Method::POST, "/api/batch".to_owned(), Some(body))
        }
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", store)
        .header("x-request-id", id);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    request.body(body).expect("a till's request is well-formed")
}

fn name(verb: &Verb) -> &'static str {
    match verb {
        Verb::Create(_) => "create",
        Verb::Receive(_) => "receive",
        Verb::Sell(_) => "sell",
        Verb::Return(_) => "return",
        Verb::Adjust(_) => "adjust",
        Verb::Reserve(..) => "reserve",
        Verb::Release(_) => "release",
        Verb::Deduct(_) => "deduct",
        Verb::Read => "read",
        Verb::Expire(_) => "expire",
    }
}

fn fields(sku: &str, verb: &Verb) -> Value {
    match verb {
        Verb::Create(stock) => json!({ "sku": sku, "stock": stock }),
        Verb::Receive(units) | Verb::Sell(units) | Verb::Return(units) => {
            json!({ "sku": sku, "quantity": units })
        }
        Verb::Adjust(delta) => json!({ "sku": sku, "quantity": delta, "reason": "correction" }),
        Verb::Reserve(order, units, None) => {
            json!({ "sku": sku, "orderId": order, "quantity": units })
        }
        Verb::Reserve(order, units, Some(seconds)) => json!({
            "sku": sku, "orderId": order, "quantity": units, "expiresInSeconds": seconds
        }),
        Verb::Release(order) | Verb::Deduct(order) => json!({ "sku": sku, "orderId": order }),
        Verb::Read | Verb::Expire(_) => json!({ "sku": sku }),
    }
}

/// What an answer says of each line.
fn understand(status: StatusCode, replayed: bool, body: &[u8], lines: &[Line]) -> Try {
    let text = String::from_utf8_lossy(body).into_owned();
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Try::Over(refused(status.as_u16(), &format!("not JSON: {text}")));
    };
    let error = value["error"].as_str().unwrap_or_default();
    match status.as_u16() {
        200 | 201 | 404 | 409 if error != "LogAhead" => {
            let told = match value["results"].as_array() {
                Some(results) => results.iter().map(|result| line_answer(result, None)).collect(),
                None => vec![line_answer(&value, Some((status, &lines[0].verb)))],
            };
            let answer = Answer { lines: told, replayed, body: without_instance(value) };
            Try::Over(Outcome::Answered(answer))
        }
        504 => Try::Unknown,
        503 | 429 => Try::NotDone(refused(status.as_u16(), error)),
        other => Try::Over(refused(other, &format!("{error}: {text}"))),
    }
}

fn line_answer(value: &Value, single: Option<(StatusCode, &Verb)>) -> LineAnswer {
    let is_look = matches!(single, Some((_, Verb::Read)));
    match value["error"].as_str() {
        Some("NotApplied") => LineAnswer::NotApplied,
        Some("UnknownSku") if is_look => LineAnswer::Absent,
        Some(error) => LineAnswer::Rejected(error.to_owned()),
        None => {
            let number = |field: &str| value[field].as_u64().unwrap_or(u64::MAX);
            LineAnswer::State(State {
                stock: number("stock"),
                reserved: number("reserved"),
                sold: number("sold"),
                version: number("version"),
                seq: if is_look { None } else { value["seq"].as_u64() },
            })
        }
    }
}

/// The body without what differs from try to try.
fn without_instance(mut value: Value) -> String {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("instance");
    }
    value.to_string()
}

fn refused(status: u16, error: &str) -> Outcome {
    Outcome::Refused { status, error: error.to_owned() }
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
