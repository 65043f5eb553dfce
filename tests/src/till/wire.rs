//! What a till sends for what it wants, and what it makes of an answer. It must never guess: an
//! answer that doesn't say whether something was done is an unknown one.

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Reply, Try};
use crate::audit::history::State;
use crate::audit::{Answer, Line, LineAnswer, Outcome, Verb};

/// The request of these lines.
pub(super) fn request(
    store: &str,
    id: &str,
    key: Option<&str>,
    lines: &[Line],
    atomic: bool,
) -> Request<Bytes> {
    let (method, path, body) = match lines {
        [Line { sku, verb: Verb::Read }] => (Method::GET, format!("/api/inventory/{sku}"), None),
        [Line { sku, verb: verb @ Verb::Create(_) }] => {
            (Method::POST, "/api/inventory".to_owned(), Some(fields(sku, verb)))
        }
        [Line { sku, verb }] => {
            let mut body = fields(sku, verb);
            if let Some(body) = body.as_object_mut() {
                body.remove("sku");
            }
            (Method::POST, format!("/api/inventory/{sku}/{}", name(verb)), Some(body))
        }
        lines => {
            let operations = lines.iter().map(|line| {
                let mut operation = fields(&line.sku, &line.verb);
                operation["op"] = name(&line.verb).into();
                operation
            });
            let operations: Vec<Value> = operations.collect();
            let body = json!({ "atomic": atomic, "operations": operations });
            (Method::POST, "/api/batch".to_owned(), Some(body))
        }
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", store)
        .header("x-request-id", id);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    request.body(body).expect("a till's request is well-formed")
}

fn name(verb: &Verb) -> &'static str {
    match verb {
        Verb::Create(_) => "create",
        Verb::Receive(_) => "receive",
        Verb::Sell(_) => "sell",
        Verb::Return(_) => "return",
        Verb::Adjust(_) => "adjust",
        Verb::Reserve(..) => "reserve",
        Verb::Release(_) => "release",
        Verb::Deduct(_) => "deduct",
        Verb::Read => "read",
        Verb::Expire(_) => "expire",
    }
}

fn fields(sku: &str, verb: &Verb) -> Value {
    match verb {
        Verb::Create(stock) => json!({ "sku": sku, "stock": stock }),
        Verb::Receive(units) | Verb::Sell(units) | Verb::Return(units) => {
            json!({ "sku": sku, "quantity": units })
        }
        Verb::Adjust(delta) => json!({ "sku": sku, "quantity": delta, "reason": "correction" }),
        Verb::Reserve(order, units, None) => {
            json!({ "sku": sku, "orderId": order, "quantity": units })
        }
        Verb::Reserve(order, units, Some(seconds)) => json!({
            "sku": sku, "orderId": order, "quantity": units, "expiresInSeconds": seconds
        }),
        Verb::Release(order) | Verb::Deduct(order) => json!({ "sku": sku, "orderId": order }),
        Verb::Read | Verb::Expire(_) => json!({ "sku": sku }),
    }
}

/// What an answer says of each line.
pub(super) fn understand(reply: &Reply, lines: &[Line]) -> Try {
    let (status, replayed, body) = (reply.status, reply.replayed, reply.body.as_slice());
    let text = String::from_utf8_lossy(body).into_owned();
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Try::Over(refused(status.as_u16(), &format!("not JSON: {text}")));
    };
    let error = value["error"].as_str().unwrap_or_default();
    match status.as_u16() {
        200 | 201 | 404 | 409 if error != "LogAhead" => {
            let told = match value["results"].as_array() {
                Some(results) => results.iter().map(|result| line_answer(result, None)).collect(),
                None => vec![line_answer(&value, Some((status, &lines[0].verb)))],
            };
            let answer = Answer { lines: told, replayed, body: without_instance(value) };
            Try::Over(Outcome::Answered(answer))
        }
        504 => Try::Unknown,
        503 | 429 => Try::NotDone(refused(status.as_u16(), error)),
        other => Try::Over(refused(other, &format!("{error}: {text}"))),
    }
}

fn line_answer(value: &Value, single: Option<(StatusCode, &Verb)>) -> LineAnswer {
    let is_look = matches!(single, Some((_, Verb::Read)));
    match value["error"].as_str() {
        Some("NotApplied") => LineAnswer::NotApplied,
        Some("UnknownSku") if is_look => LineAnswer::Absent,
        Some(error) => LineAnswer::Rejected(error.to_owned()),
        None => {
            let number = |field: &str| value[field].as_u64().unwrap_or(u64::MAX);
            LineAnswer::State(State {
                stock: number("stock"),
                reserved: number("reserved"),
                sold: number("sold"),
                version: number("version"),
                seq: if is_look { None } else { value["seq"].as_u64() },
            })
        }
    }
}

/// The body without what differs from try to try.
fn without_instance(mut value: Value) -> String {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("instance");
    }
    value.to_string()
}

pub(super) fn refused(status: u16, error: &str) -> Outcome {
    Outcome::Refused { status, error: error.to_owned() }
}
