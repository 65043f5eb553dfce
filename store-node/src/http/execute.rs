//! From a validated body to the ledger and back: precondition, idempotency key, durability. It must
//! never answer a write that isn't durable.

use std::future::Future;
use std::sync::Arc;

use axum::body::Bytes;
use event_log::Seq;
use event_log::storage::Storage;
use futures_util::FutureExt;
use futures_util::future::Either;
use garde::Validate;
use serde::Deserialize;
use shared::wire::body::{BodyError, parse};
use shared::wire::node::CommandBody;
use shared::wire::problem::ErrorCode;
use shared::{Action, Command, Context, Rejection, Sku, Version};

use super::app::App;
use super::call::Call;
use super::failure::Failure;
use super::headers::{self, Precondition};
use super::settle;
use crate::ledger::{Answer, Executed, LedgerError, Refused, Request};

/// How often a request is tried again whose first answer is still on its way to the disk.
const UNSETTLED_TRIES_MAX: usize = 3;

/// What a body asks.
pub(super) struct Asked {
    /// The verb with its values.
    pub(super) action: Action,
    /// Who, why and when.
    pub(super) context: Context,
    /// `expectedVersion`.
    pub(super) expected_version: Option<Version>,
}

/// Reads a body as what it asks.
pub(super) fn asked<'a, B>(bytes: &'a [u8]) -> Result<Asked, BodyError>
where
    B: Deserialize<'a> + Validate<Context = ()> + CommandBody,
{
    parse::<B>(bytes).map(|body| Asked::of(&body))
}

impl Asked {
    /// What a validated body asks.
    pub(super) fn of(body: &impl CommandBody) -> Self {
        Self {
            action: body.action(),
            context: body.context(),
            expected_version: body.expected_version(),
        }
    }
}

/// An answer that is durable.
pub(super) struct Settled<S: Storage> {
    /// What the handlers of its lane share.
    pub(super) app: Arc<App<S>>,
    /// The answer.
    pub(super) answer: Answer,
    /// Whether it was given before.
    pub(super) replayed: bool,
}

/// Executes a command on `sku`; what is left is to wait until its answer is durable. The request
/// itself is given up before that, so that its connection can use the buffer that it came in again,
/// and only what the answer needs lives on in the future, which is moved with its request.
pub(super) fn execute<S: Storage>(
    call: Call<S>,
    sku: Sku,
    asked: Asked,
    body: Bytes,
) -> Result<impl Future<Output = Result<Settled<S>, Failure>> + Send, Failure> {
    let (request, precondition) = ordered(&call, sku, asked, &body)?;
    drop(body);
    let app = call.release();
    if precondition == Precondition::Never {
        let sku = request.command.sku;
        return Ok(Either::Right(async move { Err(never_matches(&app, sku).await) }.boxed()));
    }
    let keyed = request.key.is_some().then(|| request.clone());
    let executed = match (app.ledger().execute(request, app.now()), keyed) {
        (Err(LedgerError::Unsettled { settle }), Some(request)) => {
            let again = again(app, request, settle, precondition);
            return Ok(Either::Right(again.boxed()));
        }
        (executed, _) => executed.map_err(Failure::from)?,
    };
    Ok(Either::Left(Executing { app, executed, precondition }.settled()))
}

/// A command whose answer may not be durable yet.
struct Executing<S: Storage> {
    app: Arc<App<S>>,
    executed: Executed,
    precondition: Precondition,
}

impl<S: Storage> Executing<S> {
    /// Waits until the answer is durable.
    #[expect(clippy::manual_async_fn, reason = "an async fn holds what it is given twice")]
    fn settled(self) -> impl Future<Output = Result<Settled<S>, Failure>> + Send {
        async move {
            settle::write(&self.app, self.executed.settle).await?;
            let replayed = self.executed.replayed;
            match self.executed.outcome {
                Ok(answer) => Ok(Settled { app: self.app, answer, replayed }),
                Err(refused) => Err(refusal(&refused, self.precondition).replayed(replayed)),
            }
        }
    }
}

/// Tries a request again whose key was claimed by one whose answer is still on its way to the disk,
/// after that answer is durable.
async fn again<S: Storage>(
    app: Arc<App<S>>,
    request: Request,
    mut unsettled: Seq,
    precondition: Precondition,
) -> Result<Settled<S>, Failure> {
    for _ in 1..UNSETTLED_TRIES_MAX {
        settle::write(&app, unsettled).await?;
        match app.ledger().execute(request.clone(), app.now()) {
            Err(LedgerError::Unsettled { settle }) => unsettled = settle,
            executed => {
                return Executing { app, executed: executed?, precondition }.settled().await;
            }
        }
    }
    Err(LedgerError::Unsettled { settle: unsettled }.into())
}

/// What a request orders, as the ledger takes it, and on what condition.
fn ordered<S: Storage>(
    call: &Call<S>,
    sku: Sku,
    asked: Asked,
    body: &[u8],
) -> Result<(Request, Precondition), Failure> {
    require_writable(call)?;
    let is_create = matches!(asked.action, Action::Create(_));
    if is_create {
        headers::refuse_if_match(call.headers())?;
    }
    let precondition = Precondition::read(call.headers(), asked.expected_version)?;
    let key = headers::request_key(call.headers(), call.method(), call.uri(), body)?;
    if precondition == Precondition::None && call.app().options().require_version && !is_create {
        let detail = "send If-Match or expectedVersion";
        return Err(Failure::new(ErrorCode::PreconditionRequired, detail));
    }
    let mut context = asked.context;
    context.request_id = Some(call.request_id().clone());
    let command = Command { sku, action: asked.action, expected_version: precondition.version() };
    Ok((Request { command, context, key }, precondition))
}

/// Refuses writes where the node was started for looking only.
pub(super) fn require_writable<S: Storage>(call: &Call<S>) -> Result<(), Failure> {
    match call.app().log().read_only() {
        None => Ok(()),
        Some(_) => Err(Failure::new(ErrorCode::ReadOnly, "this node was started read-only")),
    }
}

fn refusal(refused: &Refused, precondition: Precondition) -> Failure {
    match (&refused.rejection, precondition) {
        (conflict @ Rejection::VersionConflict { .. }, Precondition::Matching(_)) => {
            Failure::precondition(&refused.sku, conflict)
        }
        _ => Failure::refused(refused),
    }
}

/// The answer to a tag that no version has.
async fn never_matches<S: Storage>(app: &App<S>, sku: Sku) -> Failure {
    let read = match app.ledger().read(&sku, app.now()) {
        Ok(Some(read)) => read,
        Ok(None) => {
            return Failure::refused(&Refused { sku, rejection: Rejection::UnknownSku });
        }
        Err(error) => return error.into(),
    };
    if let Err(failure) = settle::read(app, read.settle).await {
        return failure;
    }
    let quantities = read.item.cell().quantities;
    let conflict = Rejection::VersionConflict {
        current: read.item.cell().version,
        expected: Version::ZERO,
        stock: quantities.stock,
        reserved: quantities.reserved,
        available: quantities.available(),
    };
    Failure::precondition(&sku, &conflict)
}
