//! Heads that are refused before a route is looked for: each refusal is a problem with an id.

use std::time::Duration;

use serde_json::Value;

use super::process::{Node, PATIENCE, raw};

/// Fails unless the answer is this problem, and the whole of it.
#[track_caller]
fn expect_problem(answer: &str, status: u16, error: &str) -> Value {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer:.300}");
    let (head, body) = answer.split_once("\r\n\r\n").expect(answer);
    let header = |name: &str| {
        let prefix = format!("{name}: ");
        head.lines().find_map(|line| line.strip_prefix(prefix.as_str())).unwrap_or_default()
    };
    assert_eq!(header("content-type"), "application/problem+json", "{head}");
    assert_eq!(header("content-length"), body.len().to_string(), "{head}");
    assert!(!header("date").is_empty(), "{head}");
    let problem: Value = serde_json::from_str(body).expect(body);
    assert_eq!((&problem["status"], &problem["error"]), (&status.into(), &error.into()));
    assert_eq!(problem["instance"], header("x-request-id"), "{head}");
    problem
}

#[test]
fn heads_that_cannot_be_read_are_problems_too() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let flood = "x-flood: y\r\n".repeat(150);
    let huge = format!("x-huge: {}\r\n", "y".repeat(600_000));
    let cases = [
        ("GET /api/health\r\n\r\n".to_owned(), 400, "MalformedRequest"),
        ("GET /api/health HTTP/9.9\r\nhost: x\r\n\r\n".to_owned(), 400, "MalformedRequest"),
        ("GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "MalformedRequest"),
        ("GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n".to_owned(), 400, "MalformedRequest"),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
                .to_owned(),
            400,
            "MalformedRequest",
        ),
        (format!("GET / HTTP/1.1\r\n{flood}\r\n"), 431, "HeadersTooLarge"),
        (format!("GET / HTTP/1.1\r\n{huge}\r\n"), 431, "HeadersTooLarge"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(70_000)), 414, "UriTooLong"),
    ];
    for (request, status, error) in cases {
        expect_problem(&raw(&node, request.as_bytes(), PATIENCE), status, error);
    }
    // After good requests on the same connection, too.
    let good = "GET /api/health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = raw(&node, format!("{good}{good}GARBAGE\r\n\r\n").as_bytes(), PATIENCE);
    let last = answer.rfind("HTTP/1.1 ").unwrap();
    assert_eq!(answer[..last].matches("HTTP/1.1 200").count(), 2, "{answer}");
    expect_problem(&answer[last..], 400, "MalformedRequest");
    // What isn't HTTP/1 at all is closed without a word.
    assert_eq!(raw(&node, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", PATIENCE), "");
    let metrics = raw(&node, b"GET /api/metrics HTTP/1.0\r\n\r\n", PATIENCE);
    assert!(metrics.contains(r#"onhand_http_problems_total{error="UriTooLong"} 1"#), "{metrics}");
}

#[test]
fn a_request_names_one_host() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let get = |version: &str, hosts: &str| {
        let request =
            format!("GET /api/health/live HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
        raw(&node, request.as_bytes(), Duration::from_secs(5))
    };
    let good = ["host: x\r\n", "host: \r\n", "host: [::1]:4101\r\n", "Host: shop.example:80\r\n"];
    for hosts in good {
        assert!(get("1.1", hosts).starts_with("HTTP/1.1 200 "), "{hosts}");
    }
    assert!(get("1.0", "").starts_with("HTTP/1.0 200 "));
    let bad = [
        ("", "required"),
        ("host: x\r\nhost: x\r\n", "duplicate_field"),
        ("host: x\r\nHOST: y\r\n", "duplicate_field"),
        ("host: x y\r\n", "format"),
        ("host: x/y\r\n", "format"),
        ("host: x, y\r\n", "format"),
    ];
    for (hosts, code) in bad {
        let problem = expect_problem(&get("1.1", hosts), 400, "ValidationError");
        let error = &problem["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&"header:Host".into(), &code.into()));
    }
}
