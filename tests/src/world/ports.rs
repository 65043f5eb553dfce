//! Free TCP ports below the range that the system hands to outgoing connections, so that a port
//! stays ours while the process that listened on it is down. It must never hand out a fixed port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

const FIRST: u16 = 10_240;
const COUNT: u16 = 20_000;
const TRIES_MAX: u16 = 2_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address on the loopback interface that nobody listens on. Programs that run side by side
/// look at different ports first: they begin at a place that depends on their process id.
pub fn free_address() -> Result<SocketAddr> {
    let start = std::process::id().wrapping_mul(61) % u32::from(COUNT);
    for _ in 0..TRIES_MAX {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (start + u32::from(step)) % u32::from(COUNT);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset as u16));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port in {TRIES_MAX} tries from {FIRST}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_gives_the_same_port_twice_nor_a_taken_one() {
        let first = free_address().unwrap();
        let held = TcpListener::bind(first).unwrap();
        for _ in 0..50 {
            assert_ne!(free_address().unwrap(), held.local_addr().unwrap());
        }
    }
}
