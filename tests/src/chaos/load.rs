//! The tills of a chaos run: the simulation's, over real sockets. They work in shifts, each with
//! items of its own, so that every item's history stays short enough to be searched. It must never
//! ask a store past its line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, future::Future};

use anyhow::Result;
use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use tokio::task::{JoinHandle, JoinSet};

use crate::audit::History;
use crate::dice::Dice;
use crate::http::Client;
use crate::till::{NoReply, Reply, Till, Way};

/// Tills of each store.
pub const TILLS_PER_STORE: usize = 4;
/// Items of each shift.
const ITEMS: usize = 3;
/// Operations of a till in a shift: all tills together stay below the search's bound for an item
/// even if they never ask for another one.
const OPERATIONS_MAX: u32 = 300;
/// Between two operations of a till, ms, at most.
const PAUSE_MS: u64 = 40;

/// Tills at work.
#[derive(Debug)]
pub struct Load {
    closing: Arc<AtomicBool>,
    crews: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins work at all stores: their names and the lines' URLs.
    pub fn start(stores: &[(String, String)], history: &History, dice: &mut Dice) -> Result<Self> {
        let closing = Arc::new(AtomicBool::new(false));
        let mut crews = Vec::new();
        for (store, url) in stores {
            let way = Street { client: Client::new(url.clone())?, closing: Arc::clone(&closing) };
            let crew = crew(store.clone(), way, history.clone(), dice.fork());
            crews.push(tokio::spawn(crew));
        }
        Ok(Self { closing, crews })
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

/// Shift after shift until the shop closes.
async fn crew(store: String, way: Street, history: History, mut dice: Dice) {
    let mut shift = 0;
    while !way.is_closing() {
        let skus: Vec<String> = (0..ITEMS).map(|item| format!("sku-{shift}-{item}")).collect();
        let skus = Arc::new(skus);
        let mut tills = JoinSet::new();
        for number in 0..TILLS_PER_STORE {
            let till = Till {
                name: format!("{store}-till-{number}-{shift}"),
                store: store.clone(),
                skus: Arc::clone(&skus),
                way: way.clone(),
                history: history.clone(),
                dice: dice.fork(),
                may_key: true,
                pause_ms: PAUSE_MS,
                operations_max: OPERATIONS_MAX,
            };
            tills.spawn(till.work());
        }
        tills.join_all().await;
        shift += 1;
    }
}

/// The way from the tills of a store to its line.
#[derive(Debug, Clone)]
struct Street {
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
