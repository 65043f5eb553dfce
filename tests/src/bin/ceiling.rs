//! The ceiling of P1: an axum handler with the node's JSON, allocator and connection settings that
//! parses a reservation, touches no state and answers. It must never do less parsing or answer less
//! than the node does, or the comparison would be unfair.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The node's own default.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// Answers reservations without keeping them.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    order_id: String,
    quantity: u64,
    expires_in_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    store_id: &'static str,
    sku: String,
    stock: u64,
    reserved: u64,
    sold: u64,
    available_stock: u64,
    version: u64,
    seq: u64,
    changed: bool,
    recorded_at: &'static str,
    reservation: Reservation,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reservation {
    order_id: String,
    quantity: u64,
    expires_at: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let listener = TcpListener::bind(Arguments::parse().listen).await?;
    let router = Router::new()
        .route("/api/health/ready", get(|| async { "ready" }))
        .route("/api/inventory/{sku}/reserve", post(reserve));
    // As the node serves its connections.
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
    }
}

async fn reserve(Path(sku): Path<String>, Json(request): Json<Request>) -> Json<Answer> {
    Json(Answer {
        store_id: "ceiling",
        sku,
        stock: 1_000_000_000,
        reserved: request.quantity,
        sold: 0,
        available_stock: 1_000_000_000 - request.quantity,
        version: 2,
        seq: 10_001,
        changed: true,
        recorded_at: "2026-11-21T10:00:00.000000Z",
        reservation: Reservation {
            order_id: request.order_id,
            quantity: request.quantity,
            expires_at: request.expires_in_seconds,
        },
    })
}
