//! The one place where answers wait for durability. Nothing that a crash could undo may leave
//! before it has passed here.

use event_log::planted;
use event_log::storage::Storage;
use event_log::{Seq, WaitError};
use shared::wire::problem::ErrorCode;

use super::app::App;
use super::failure::Failure;
use super::lobby::Waited;

/// Waits until a write is durable.
pub(super) async fn write<S: Storage>(app: &App<S>, settle: Seq) -> Result<(), Failure> {
    let advice = "retry with the same Idempotency-Key";
    match until(app, settle).await {
        Waited::Durable => Ok(()),
        Waited::TooSlow => {
            let waited = app.options().reply_deadline.as_millis();
            let detail = format!("the log did not confirm this write in {waited} ms: {advice}");
            Err(Failure::new(ErrorCode::OutcomeUnknown, detail))
        }
        Waited::Failed(WaitError::OutcomeUnknown(_)) => {
            let detail = format!("the log failed while this write was in flight: {advice}");
            Err(Failure::new(ErrorCode::OutcomeUnknown, detail))
        }
        Waited::Failed(WaitError::Closed) => {
            Err(Failure::new(ErrorCode::ShuttingDown, "this node is leaving"))
        }
    }
}

/// Waits until what was read is durable.
pub(super) async fn read<S: Storage>(app: &App<S>, settle: Seq) -> Result<(), Failure> {
    if planted::is("read what isn't durable") {
        return Ok(());
    }
    match until(app, settle).await {
        Waited::Durable => Ok(()),
        Waited::TooSlow => {
            let waited = app.options().reply_deadline.as_millis();
            let detail = format!("the last change was not durable after {waited} ms");
            Err(Failure::new(ErrorCode::Unsettled, detail))
        }
        Waited::Failed(WaitError::OutcomeUnknown(_)) => {
            let detail = "the last change is not durable, and won't be before a restart";
            Err(Failure::new(ErrorCode::Unsettled, detail))
        }
        Waited::Failed(WaitError::Closed) => {
            Err(Failure::new(ErrorCode::ShuttingDown, "this node is leaving"))
        }
    }
}

async fn until<S: Storage>(app: &App<S>, settle: Seq) -> Waited {
    let log = app.log();
    if log.durable() >= settle {
        return Waited::Durable;
    }
    app.lobby.wait(log, settle, app.options().reply_deadline).await
}
