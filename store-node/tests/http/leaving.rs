//! SIGTERM: what is complete is answered, what is half here holds nobody up, and what was
//! acknowledged stays, however hurried the end is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::process::{Node, PATIENCE};

/// Half a second request's head.
const HALF_HEAD: &[u8] = b"POST /api/inventory HTTP/1.1\r\nhost: x\r\ncontent-ty";
/// A head, and half of its body.
const HALF_BODY: &[u8] = b"POST /api/inventory HTTP/1.1\r\nhost: x\r\n\
    content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"sku\":";

fn open(node: &Node, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset is an end as good as any other.
    let _ = stream.read_to_end(&mut rest);
    String::from_utf8(rest).unwrap()
}

/// Returns once nobody is let in any more: the node has seen its signal.
fn wait_until_leaving(node: &Node) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(&node.address).is_ok() {
        assert!(Instant::now() < deadline, "the signal has no effect");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A node with this setting; with a connection that has answered once and now idles.
fn start(dir: &Path, setting: &str) -> (Node, TcpStream) {
    let config = dir.join("node.toml");
    std::fs::write(&config, setting).unwrap();
    let node = Node::start(&dir.join("data"), &["--config", config.to_str().unwrap()]);
    let mut idle = open(&node, b"GET /api/health/live HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    (node, idle)
}

#[test]
fn half_sent_requests_do_not_hold_up_leaving() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, mut idle) = start(dir.path(), "drain_body_deadline_ms = 300\n");
    let mut half_head = open(&node, HALF_HEAD);
    let mut half_body = open(&node, HALF_BODY);
    // Both are known to the node once a later request was answered.
    assert_eq!(node.call("POST", "/api/inventory", r#"{"sku":"A","stock":1}"#).0, 201);
    let started = Instant::now();
    node.signal("TERM");
    assert_eq!(node.wait(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let answer = rest(&mut half_body);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("ShuttingDown"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    assert_eq!(rest(&mut half_head), "");
    rest(&mut idle);
}

#[test]
fn a_body_that_becomes_complete_while_the_node_leaves_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, _idle) = start(dir.path(), "drain_body_deadline_ms = 20000\n");
    let body = r#"{"sku":"late","stock":7}"#;
    let length = body.len();
    let head = format!(
        "POST /api/inventory HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    let mut late = open(&node, head.as_bytes());
    late.write_all(&body.as_bytes()[..5]).unwrap();
    assert_eq!(node.call("GET", "/api/health/live", "").0, 200);
    node.signal("TERM");
    wait_until_leaving(&node);
    late.write_all(&body.as_bytes()[5..]).unwrap();
    let answer = rest(&mut late);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(node.wait(), Some(0));
    let node = Node::start(&dir.path().join("data"), &[]);
    assert_eq!(node.call("GET", "/api/inventory/late", "").1["stock"], 7);
}

#[test]
fn a_second_signal_leaves_at_once_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, _idle) = start(dir.path(), "drain_body_deadline_ms = 20000\n");
    let mut acknowledged = 0;
    for number in 0..50 {
        let body = format!(r#"{{"sku":"S-{number}","stock":{number}}}"#);
        acknowledged += u32::from(node.call("POST", "/api/inventory", &body).0 == 201);
    }
    assert_eq!(acknowledged, 50);
    let mut half_body = open(&node, HALF_BODY);
    assert_eq!(node.call("GET", "/api/health/live", "").0, 200);
    node.signal("TERM");
    wait_until_leaving(&node);
    let started = Instant::now();
    node.signal("INT");
    assert_eq!(node.wait(), Some(130), "the half-sent body would have held it for 10 s");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(rest(&mut half_body), "");
    let node = Node::start(&dir.path().join("data"), &[]);
    for number in 0..50 {
        let (status, item) = node.call("GET", &format!("/api/inventory/S-{number}"), "");
        assert_eq!((status, &item["stock"]), (200, &number.into()));
    }
}
