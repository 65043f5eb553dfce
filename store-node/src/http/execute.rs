//! From a validated body to the ledger and back: precondition, idempotency key, durability. It must
//! never answer a write that isn't durable.

use event_log::storage::Storage;
use garde::Validate;
use serde::Deserialize;
use shared::wire::body::{BodyError, parse};
use shared::wire::node::CommandBody;
use shared::wire::problem::ErrorCode;
use shared::{Action, Command, Context, Rejection, Sku, Version};

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
pub(super) struct Settled {
    /// The answer.
    pub(super) answer: Answer,
    /// Whether it was given before.
    pub(super) replayed: bool,
}

/// Executes a command on `sku` and waits until its answer is durable.
pub(super) async fn execute<S: Storage>(
    call: &Call<S>,
    sku: Sku,
    asked: Asked,
    body: &[u8],
) -> Result<Settled, Failure> {
    require_writable(call)?;
    let is_create = matches!(asked.action, Action::Create(_));
    if is_create {
        headers::refuse_if_match(call.headers())?;
    }
    let precondition = Precondition::read(call.headers(), asked.expected_version)?;
    let key = headers::request_key(call.headers(), call.method(), call.uri(), body)?;
    match precondition {
        Precondition::Never => return Err(never_matches(call, sku).await),
        Precondition::None if call.app().options().require_version && !is_create => {
            let detail = "send If-Match or expectedVersion";
            return Err(Failure::new(ErrorCode::PreconditionRequired, detail));
        }
        Precondition::None
        | Precondition::Exists
        | Precondition::Expected(_)
        | Precondition::Matching(_) => {}
    }
    let mut context = asked.context;
    context.request_id = Some(call.request_id().clone());
    let command = Command { sku, action: asked.action, expected_version: precondition.version() };
    let executed = run(call, Request { command, context, key }).await?;
    settle::write(call.app(), executed.settle).await?;
    match executed.outcome {
        Ok(answer) => Ok(Settled { answer, replayed: executed.replayed }),
        Err(refused) => Err(refusal(&refused, precondition).replayed(executed.replayed)),
    }
}

/// Refuses writes where the node was started for looking only.
pub(super) fn require_writable<S: Storage>(call: &Call<S>) -> Result<(), Failure> {
    match call.app().log().read_only() {
        None => Ok(()),
        Some(_) => Err(Failure::new(ErrorCode::ReadOnly, "this node was started read-only")),
    }
}

/// Executes; where the same key was answered a moment ago, after that answer is durable.
async fn run<S: Storage>(call: &Call<S>, request: Request) -> Result<Executed, Failure> {
    let app = call.app();
    if request.key.is_none() {
        return app.ledger().execute(request, app.now()).map_err(Failure::from);
    }
    let mut unsettled = None;
    for _ in 0..UNSETTLED_TRIES_MAX {
        match app.ledger().execute(request.clone(), app.now()) {
            Err(LedgerError::Unsettled { settle }) => {
                settle::write(app, settle).await?;
                unsettled = Some(LedgerError::Unsettled { settle });
            }
            other => return other.map_err(Failure::from),
        }
    }
    Err(unsettled.map_or_else(|| Failure::internal("no try was made"), Failure::from))
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
async fn never_matches<S: Storage>(call: &Call<S>, sku: Sku) -> Failure {
    let app = call.app();
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
