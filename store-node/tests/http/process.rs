//! The program itself: it listens where it says, leaves when it is told, keeps what it acknowledged
//! and says what is wrong with its settings.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_store-node");
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    child: Child,
    pub(crate) address: String,
}

impl Node {
    pub(crate) fn start(data_dir: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--store-id", "store-a", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(["--segment-bytes", "1048576"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect(&line).to_owned();
        Self { child, address }
    }

    /// One request on a connection of its own; gives status and body.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the end and gives the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the node doesn't end");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_signal_ends_it_cleanly_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &[]);
    assert_eq!(node.call("POST", "/api/inventory", r#"{"sku":"A","stock":10}"#).0, 201);
    node.signal("TERM");
    assert_eq!(node.wait(), Some(0));

    let mut node = Node::start(dir.path(), &[]);
    let (status, sold) = node.call("POST", "/api/inventory/A/sell", r#"{"quantity":3}"#);
    assert_eq!((status, &sold["stock"]), (200, &7.into()));
    node.signal("KILL");
    assert_eq!(node.wait(), None);

    let mut node = Node::start(dir.path(), &[]);
    let (status, item) = node.call("GET", "/api/inventory/A", "");
    assert_eq!((status, &item["stock"], &item["version"]), (200, &7.into(), &2.into()));
    node.signal("INT");
    assert_eq!(node.wait(), Some(0));
}

#[test]
fn an_open_stream_does_not_hold_up_leaving() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &[]);
    let mut stream = TcpStream::connect(&node.address).unwrap();
    stream.write_all(b"GET /api/log HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut first = [0; 15];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let started = Instant::now();
    node.signal("TERM");
    assert_eq!(node.wait(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn slow_heads_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("node.toml");
    std::fs::write(&config, "header_deadline_ms = 300\n").unwrap();
    let data = dir.path().join("data");
    let node = Node::start(&data, &["--config", config.to_str().unwrap()]);
    let mut stream = TcpStream::connect(&node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /api/health HTTP/1.1\r\nhost:").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
}

#[test]
fn a_directory_in_use_is_exit_code_4() {
    let dir = tempfile::tempdir().unwrap();
    let _node = Node::start(dir.path(), &[]);
    let data_dir = dir.path().to_str().unwrap();
    let args =
        ["serve", "--store-id", "store-a", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
    let (code, _, stderr) = run(&args);
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("in use"), "{stderr}");
}

#[test]
fn settings_are_printed_and_bad_ones_named() {
    let base = ["serve", "--store-id", "store-a", "--data-dir", "/nowhere"];
    let (code, stdout, _) = run(&[&base[..], &["--print-config"]].concat());
    assert_eq!(code, Some(0));
    assert!(stdout.contains("listen = \"127.0.0.1:4101\"\n"), "{stdout}");
    let (code, _, stderr) = run(&[&base[..], &["--listen", "here"]].concat());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("listen"), "{stderr}");
    let (code, _, stderr) = run(&[&base[..], &["--log-level", "=x="]].concat());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("log_level"), "{stderr}");
    let (code, _, _) = run(&["serve", "--no-such-flag"]);
    assert_eq!(code, Some(2));
}

/// Sends bytes as they are and gives what comes back within the time.
pub(crate) fn raw(node: &Node, bytes: &[u8], time: Duration) -> String {
    let mut stream = TcpStream::connect(&node.address).unwrap();
    stream.set_read_timeout(Some(time)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..read]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn answers_leave_although_the_next_request_is_half_here() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let get = "GET /api/health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let pipelined = format!("{get}{get}{get}GET /api/hea");
    let answer = raw(&node, pipelined.as_bytes(), Duration::from_secs(1));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
}

#[test]
fn a_caller_that_asks_first_needs_not_send_what_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let head = "POST /api/inventory HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                expect: 100-continue\r\ncontent-length: 104857600\r\n\r\n";
    let answer = raw(&node, head.as_bytes(), Duration::from_secs(2));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn a_burst_of_connections_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut open = Vec::new();
    for number in 0..800 {
        let begun = Instant::now();
        open.push(TcpStream::connect(&node.address).unwrap());
        // A full queue drops the first packet; it is sent again after a second.
        assert!(begun.elapsed() < Duration::from_millis(900), "connection {number} was dropped");
    }
    assert_eq!(node.call("GET", "/api/health/live", "").0, 200);
}

#[test]
fn a_snapshot_follows_every_so_many_events() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("node.toml");
    std::fs::write(&config, "snapshot_every_events = 20\n").unwrap();
    let data = dir.path().join("data");
    let node = Node::start(&data, &["--config", config.to_str().unwrap()]);
    let snapshots = || {
        let status = node.call("GET", "/api/sync/status", "").1;
        status["snapshots"].as_array().expect("a list").len()
    };
    assert_eq!(node.call("POST", "/api/inventory", r#"{"sku":"A","stock":1}"#).0, 201);
    for _ in 0..18 {
        assert_eq!(node.call("POST", "/api/inventory/A/receive", r#"{"quantity":1}"#).0, 200);
    }
    assert_eq!(snapshots(), 0, "19 events are not 20");
    assert_eq!(node.call("POST", "/api/inventory/A/receive", r#"{"quantity":1}"#).0, 200);
    let deadline = Instant::now() + PATIENCE;
    while snapshots() == 0 {
        assert!(Instant::now() < deadline, "no snapshot was taken");
        std::thread::sleep(Duration::from_millis(20));
    }
}
