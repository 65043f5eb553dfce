//! A network that is worse than any real one that keeps TCP's promises: lines are slow, cut, or
//! silent (what is sent arrives once they aren't, or never), answers come in pieces of any size,
//! and a line that is cut in the middle of an answer leaves the caller with the beginning.
//!
//! Requests reach the real routes of a node, without a socket. Nothing here may decide what a
//! request means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use event_log::storage::sim::SimStorage;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::time::sleep;
use tower::ServiceExt;

use crate::dice::Dice;
use crate::signal::Signal;

/// How a line between two places is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Fast.
    Up,
    /// Tens of milliseconds for each piece.
    Slow,
    /// Nothing arrives until it is up again; nobody is told.
    Silent,
    /// Both sides are told that it broke.
    Cut,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Nobody listens there: nothing was sent.
    Refused,
    /// It broke on the way: nobody knows what was done.
    Reset,
}

/// All lines and all nodes. Clones are the same network.
#[derive(Clone)]
pub struct Network(Arc<Mutex<Places>>);

struct Places {
    dice: Dice,
    nodes: BTreeMap<String, Listening>,
    lines: BTreeMap<(String, String), Signal<Line>>,
}

/// A node that listens.
#[derive(Clone)]
struct Listening {
    router: Router,
    process: Process,
}

/// A process on a machine.
#[derive(Clone)]
struct Process {
    alive: Signal<bool>,
    disk: SimStorage,
}

impl Process {
    fn is_there(&self) -> bool {
        self.alive.get() && !self.disk.is_off()
    }
}

impl Network {
    /// A network without nodes.
    pub fn new(dice: Dice) -> Self {
        Self(Arc::new(Mutex::new(Places { dice, nodes: BTreeMap::new(), lines: BTreeMap::new() })))
    }

    /// A node listens under `name` until `alive` turns false,
    /// and as long as its disk has power: nothing leaves a machine that went dark.
    pub fn listen(&self, name: &str, router: Router, alive: Signal<bool>, disk: SimStorage) {
        let process = Process { alive, disk };
        self.0.lock().nodes.insert(name.to_owned(), Listening { router, process });
    }

    /// Sets the line between two places.
    pub fn set(&self, from: &str, to: &str, line: Line) {
        self.line(from, to).0.set(line);
    }

    /// All lines are fine again.
    pub fn heal(&self) {
        for line in self.0.lock().lines.values() {
            line.set(Line::Up);
        }
    }

    fn line(&self, from: &str, to: &str) -> (Signal<Line>, Dice) {
        let mut places = self.0.lock();
        let dice = places.dice.fork();
        let line = places.lines.entry((from.to_owned(), to.to_owned()));
        (line.or_insert_with(|| Signal::new(Line::Up)).clone(), dice)
    }

    /// Sends a request and waits for the head of its answer, without end if need be: patience is
    /// the caller's.
    pub async fn send(
        &self,
        from: &str,
        to: &str,
        request: Request<Bytes>,
    ) -> Result<Response<Pieces>, Broken> {
        let (line, dice) = self.line(from, to);
        let mut way = Way { line: line.clone(), process: None, dice };
        way.pass().await.map_err(|_| Broken::Refused)?;
        let listening = self.0.lock().nodes.get(to).cloned();
        let Some(Listening { router, process }) = listening.filter(|node| node.process.is_there())
        else {
            return Err(Broken::Refused);
        };
        way.process = Some(process);
        let asked = router.oneshot(request.map(Body::from));
        let answered = way.unless_broken(asked).await?;
        let Ok(response) = answered;
        way.pass().await?;
        Ok(response.map(|body| Pieces { body, way, rest: Bytes::new(), broken: None }))
    }
}

/// One connection's way through the network.
struct Way {
    line: Signal<Line>,
    /// The process at the other end.
    process: Option<Process>,
    dice: Dice,
}

impl Way {
    /// Waits as long as a piece needs.
    async fn pass(&mut self) -> Result<(), Broken> {
        loop {
            let line = self.line.get();
            let pause_us = match line {
                Line::Up => self.dice.between(50, 900),
                Line::Slow => self.dice.between(10_000, 80_000),
                Line::Cut => return Err(Broken::Reset),
                Line::Silent => {
                    self.unless_dead().await?;
                    continue;
                }
            };
            self.unless_broken(sleep(Duration::from_micros(pause_us))).await?;
            if self.line.get() != Line::Silent {
                return Ok(());
            }
        }
    }

    /// Waits for a silent line to change.
    async fn unless_dead(&self) -> Result<(), Broken> {
        tokio::select! {
            biased;
            () = self.death() => Err(Broken::Reset),
            () = self.line.until(|line| line != Line::Silent) => Ok(()),
        }
    }

    /// The result of `work`, unless the line or the process at its end breaks first.
    async fn unless_broken<T>(&self, work: impl Future<Output = T>) -> Result<T, Broken> {
        tokio::select! {
            biased;
            () = self.death() => Err(Broken::Reset),
            () = self.line.until(|line| line == Line::Cut) => Err(Broken::Reset),
            done = work => {
                let is_there = self.process.as_ref().is_none_or(Process::is_there);
                if is_there { Ok(done) } else { Err(Broken::Reset) }
            }
        }
    }

    /// Resolves when the process at the other end is gone.
    async fn death(&self) {
        match &self.process {
            Some(process) => process.alive.until(|alive| !alive).await,
            None => std::future::pending().await,
        }
    }
}

/// An answer's body on its way.
pub struct Pieces {
    body: Body,
    way: Way,
    rest: Bytes,
    broken: Option<Broken>,
}

impl Pieces {
    /// The next piece; none at the end. Dropping a pending call loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let piece = self.receive().await;
        if let Err(broken) = piece {
            self.broken = Some(broken);
        }
        piece
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Broken> {
        while self.rest.is_empty() {
            let frame = self.way.unless_broken(self.body.frame()).await?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Err(Broken::Reset),
            }
        }
        self.way.pass().await?;
        let most = self.rest.len() as u64;
        let count = if self.way.dice.chance(300) { self.way.dice.between(1, most) } else { most };
        Ok(Some(self.rest.split_to(count as usize)))
    }

    /// The whole body.
    pub async fn collect(mut self) -> Result<Vec<u8>, Broken> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}
