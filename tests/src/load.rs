//! The tills of end-to-end tests and chaos runs: the simulation's, over real sockets. They work in
//! shifts, each with items of its own, so that every item's history stays short enough to be
//! searched. It must never ask a store past the address it was given.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use tokio::task::{JoinHandle, JoinSet};

use crate::audit::linearizable::CALLS_MAX;
use crate::audit::{History, Operation};
use crate::dice::Dice;
use crate::http::Client;
use crate::till::{NoReply, Reply, Till, Way};
use crate::world::until;

/// Items of each shift.
const ITEMS: usize = 3;
/// Operations of all tills of a store in a shift: below the search's bound for an item even if
/// nobody ever asks for another one, with room for what time ends by itself.
const SHIFT_OPERATIONS_MAX: usize = CALLS_MAX / 5 * 3;
/// How long tills may take to be told what is waited for.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_mins(1);

/// The tills of each store.
#[derive(Debug, Clone, Copy)]
pub struct Crew {
    /// How many.
    pub tills: usize,
    /// Whether they may send keys.
    pub may_key: bool,
    /// Between two operations of a till, ms, at most.
    pub pause_ms: u64,
}

impl Default for Crew {
    fn default() -> Self {
        Self { tills: 4, may_key: true, pause_ms: 40 }
    }
}

/// Tills at work.
#[derive(Debug)]
pub struct Load {
    closing: Arc<AtomicBool>,
    history: History,
    crews: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins work at all stores: their names and where their tills reach them.
    pub fn start(
        stores: &[(String, String)],
        crew: Crew,
        history: &History,
        dice: &mut Dice,
    ) -> Result<Self> {
        let closing = Arc::new(AtomicBool::new(false));
        let mut crews = Vec::new();
        for (store, url) in stores {
            let way = Street { client: Client::new(url.clone())?, closing: Arc::clone(&closing) };
            let work = work(store.clone(), crew, way, history.clone(), dice.fork());
            crews.push(tokio::spawn(work));
        }
        Ok(Self { closing, history: history.clone(), crews })
    }

    /// Waits until so many more operations are acknowledged, of all stores together.
    pub async fn acknowledge_more(&self, operations: usize) -> Result<()> {
        let is_acknowledged = |operation: &Operation| operation.outcome.is_acknowledged();
        let target = self.history.count(is_acknowledged) + operations;
        until("acknowledged operations", ACKNOWLEDGED_WITHIN, || async {
            (self.history.count(is_acknowledged) >= target).then_some(())
        })
        .await
    }

    /// Lets each till bring to its end what it is at.
    pub async fn finish(self) -> Result<()> {
        self.closing.store(true, Ordering::Relaxed);
        for crew in self.crews {
            crew.await?;
        }
        Ok(())
    }
}

/// A till that does what a test tells it to, one thing after another. No two share a name: keys are
/// made of it.
pub fn till(name: &str, store: &str, url: &str, history: &History) -> Result<Till<Street>> {
    let way = Street { client: Client::new(url)?, closing: Arc::default() };
    Ok(Till {
        name: name.to_owned(),
        store: store.to_owned(),
        skus: Arc::default(),
        way,
        history: history.clone(),
        dice: Dice::new(1),
        may_key: true,
        pause_ms: 0,
        operations_max: 0,
    })
}

/// Shift after shift until the shop closes.
async fn work(store: String, crew: Crew, way: Street, history: History, mut dice: Dice) {
    let mut shift = 0;
    while !way.is_closing() {
        let skus: Vec<String> = (0..ITEMS).map(|item| format!("sku-{shift}-{item}")).collect();
        let skus = Arc::new(skus);
        let mut tills = JoinSet::new();
        for number in 0..crew.tills {
            let till = Till {
                name: format!("{store}-till-{number}-{shift}"),
                store: store.clone(),
                skus: Arc::clone(&skus),
                way: way.clone(),
                history: history.clone(),
                dice: dice.fork(),
                may_key: crew.may_key,
                pause_ms: crew.pause_ms,
                operations_max: (SHIFT_OPERATIONS_MAX / crew.tills) as u32,
            };
            tills.spawn(till.work());
        }
        tills.join_all().await;
        shift += 1;
    }
}

/// The way from the tills of a store to where it is reached.
#[derive(Debug, Clone)]
pub struct Street {
    client: Client,
    closing: Arc<AtomicBool>,
}

impl Way for Street {
    fn send(&self, request: Request<Bytes>) -> impl Future<Output = Result<Reply, NoReply>> + Send {
        let client = self.client.clone();
        async move {
            let (parts, body) = request.into_parts();
            let headers: Vec<(&str, &str)> = parts
                .headers
                .iter()
                .filter(|(name, _)| *name != "host")
                .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
                .collect();
            let body = (!body.is_empty()).then(|| String::from_utf8_lossy(&body).into_owned());
            let sent = client.send(parts.method, parts.uri.path(), &headers, body).await;
            // A line that can't reach its node looks like one that breaks: nobody knows.
            let reply = sent.map_err(|_| NoReply::Unknown)?;
            Ok(Reply {
                status: StatusCode::from_u16(reply.status).map_err(|_| NoReply::Unknown)?,
                replayed: reply.headers.contains_key("idempotent-replayed"),
                body: reply.body.to_vec(),
            })
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn tell(&self, _line: fmt::Arguments<'_>) {
        // Real processes tell their own story, in their logs; the operations are in the history.
    }
}
