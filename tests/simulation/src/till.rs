//! How a till of the simulation reaches its store: over the simulated network, every answer mixed
//! into the run's hash. It must never look at anything but the answer.

use std::fmt;

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use tests::till::{NoReply, Reply, Way};

use crate::network::{Broken, Network};
use crate::signal::Signal;
use crate::trace::Trace;

/// The way from one till to one store.
#[derive(Clone)]
pub struct Aisle {
    /// The till's name on the network.
    pub till: String,
    /// The store's.
    pub store: String,
    /// The network.
    pub network: Network,
    /// The story.
    pub trace: Trace,
    /// Turns true when the shop closes.
    pub closing: Signal<bool>,
}

impl Way for Aisle {
    async fn send(&self, request: Request<Bytes>) -> Result<Reply, NoReply> {
        let response = self.network.send(&self.till, &self.store, request).await;
        let response = response.map_err(no_reply)?;
        let status = response.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR && self.network.is_damaged(&self.store) {
            // It couldn't read what it would have to tell.
            return Err(NoReply::Unknown);
        }
        let replayed = response.headers().contains_key("idempotent-replayed");
        let body = response.into_body().collect().await.map_err(no_reply)?;
        self.trace.mix(&body);
        Ok(Reply { status, replayed, body })
    }

    fn is_closing(&self) -> bool {
        self.closing.get()
    }

    fn tell(&self, line: fmt::Arguments<'_>) {
        self.trace.note(line);
    }
}

fn no_reply(broken: Broken) -> NoReply {
    match broken {
        Broken::Refused => NoReply::Refused,
        Broken::Reset => NoReply::Unknown,
    }
}
