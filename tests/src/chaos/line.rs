//! A TCP proxy in front of one service: a line that can be cut, slowed, or fall silent in one
//! direction. It must never look at what passes, nor keep more of it than one piece each way.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// A piece is so long at most, bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// On a slow line each piece is so short at most, bytes, …
const SLOW_PIECE_BYTES: usize = 512;
/// … and takes so long.
const SLOW_PIECE: Duration = Duration::from_millis(40);

/// How a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// Everything passes.
    Up,
    /// In small pieces, each of them late.
    Slow,
    /// Connections end, in the middle of whatever they carried, and none begins.
    Cut,
    /// Half open: what is asked arrives, no answer comes back while it lasts.
    Silent,
}

/// A line to one service; it ends with this value.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
    task: tokio::task::JoinHandle<()>,
}

impl Line {
    /// A new line, up, to a service that needn't run yet.
    pub async fn to(service: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("listening for a line")?;
        let address = listener.local_addr().context("a listener has an address")?;
        let (condition, seen) = watch::channel(Condition::Up);
        let task = tokio::spawn(carry(listener, service, seen));
        Ok(Self { address, condition, task })
    }

    /// `http://host:port` of its near end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes it so, for what passes now and for what comes.
    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(listener: TcpListener, service: SocketAddr, seen: watch::Receiver<Condition>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        if let Ok((near, _)) = listener.accept().await {
            connections.spawn(connect(near, service, seen.clone()));
        }
    }
}

async fn connect(near: TcpStream, service: SocketAddr, seen: watch::Receiver<Condition>) {
    if *seen.borrow() == Condition::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(service).await else {
        return;
    };
    // A piece that waits for more is a fault of its own, and not one of these.
    if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let cut = until(seen.clone(), |condition| condition == Condition::Cut);
    let both = async {
        tokio::join!(
            pass(near_in, far_out, seen.clone(), false),
            pass(far_in, near_out, seen.clone(), true)
        )
    };
    tokio::select! {
        _ = both => {}
        () = cut => {}
    }
}

/// One direction, until its end.
async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    seen: watch::Receiver<Condition>,
    is_answer: bool,
) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let is_slow = *seen.borrow() == Condition::Slow;
        let most = if is_slow { SLOW_PIECE_BYTES } else { PIECE_BYTES };
        let Ok(count @ 1..) = from.read(&mut piece[..most]).await else {
            break;
        };
        if *seen.borrow() == Condition::Slow {
            tokio::time::sleep(SLOW_PIECE).await;
        }
        if is_answer {
            until(seen.clone(), |condition| condition != Condition::Silent).await;
        }
        if to.write_all(&piece[..count]).await.is_err() {
            break;
        }
    }
    // An end that can't be told was told already.
    let _ = to.shutdown().await;
}

/// Resolves once the line is so; never, if the line is gone.
async fn until(mut seen: watch::Receiver<Condition>, is_so: fn(Condition) -> bool) {
    let is_there = seen.wait_for(|condition| is_so(*condition)).await.is_ok();
    if !is_there {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that answers each byte with itself, and the near end of a line to it.
    async fn echo() -> (Line, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let line = Line::to(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let near = TcpStream::connect(line.address).await.unwrap();
        (line, near)
    }

    async fn say(near: &mut TcpStream, text: &[u8]) -> Option<Vec<u8>> {
        near.write_all(text).await.ok()?;
        let mut heard = vec![0; text.len()];
        near.read_exact(&mut heard).await.ok()?;
        Some(heard)
    }

    #[tokio::test]
    async fn a_line_passes_everything_and_a_cut_one_nothing() {
        let (line, mut near) = echo().await;
        let long = vec![7; 3 * PIECE_BYTES + 1];
        assert_eq!(say(&mut near, b"hello").await.unwrap(), b"hello");
        near.write_all(&long).await.unwrap();
        let mut heard = vec![0; long.len()];
        near.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, long);
        line.set(Condition::Cut);
        assert_eq!(say(&mut near, b"hello").await, None);
        let mut other = TcpStream::connect(line.address).await.unwrap();
        assert_eq!(say(&mut other, b"hello").await, None);
        line.set(Condition::Up);
        let mut other = TcpStream::connect(line.address).await.unwrap();
        assert_eq!(say(&mut other, b"hello").await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn a_silent_line_keeps_the_answer_and_a_slow_one_takes_its_time() {
        let (line, mut near) = echo().await;
        line.set(Condition::Silent);
        let patience = Duration::from_millis(100);
        let silent = tokio::time::timeout(patience, say(&mut near, b"hello")).await;
        assert!(silent.is_err(), "an answer came back: {silent:?}");
        line.set(Condition::Up);
        let mut heard = [0; 5];
        near.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello", "what was asked had arrived");
        line.set(Condition::Slow);
        let began = std::time::Instant::now();
        assert_eq!(say(&mut near, b"again").await.unwrap(), b"again");
        assert!(began.elapsed() >= SLOW_PIECE, "{:?}", began.elapsed());
    }
}
