//! Batches: order of decisions, all or none, one append.

use event_log::Seq;
use shared::codec::{Record, decode_record};
use shared::{Action, Context};

use super::world::*;
use crate::ledger::{BatchLine, BatchOutcome, BatchRequest, ExecutedBatch};

/// Each line in a word: the version it made, or what became of it.
fn words(batch: &ExecutedBatch) -> Vec<String> {
    let word = |line: &BatchOutcome| match line {
        BatchOutcome::Changed { version, .. } => format!("v{version}"),
        BatchOutcome::Unchanged(unchanged) => format!("unchanged v{}", unchanged.version),
        BatchOutcome::Refused(refused) => {
            let text = format!("{:?}", refused.rejection);
            text.split(' ').next().unwrap_or_default().to_owned()
        }
        BatchOutcome::NotApplied { .. } => "not applied".to_owned(),
        BatchOutcome::Invalid => "invalid".to_owned(),
    };
    batch.lines.iter().map(word).collect()
}

fn check(atomic: bool, lines: Vec<(&str, Action)>, expected: &[&str]) -> World {
    let world = World::new();
    world.execute("A", create(10));
    world.execute("B", create(1));
    let batch = world.batch(atomic, lines);
    assert_eq!(words(&batch), expected);
    assert_eq!(batch.settle, last(&world));
    world.commit();
    world.reopen()
}

#[test]
fn each_line_sees_the_lines_before_it() {
    let lines = || {
        vec![
            ("A", sell(4)),
            ("A", sell(4)),
            ("A", sell(4)),
            ("N", sell(1)),
            ("N", create(5)),
            ("N", sell(5)),
            ("A", receive(2)),
            ("A", sell(4)),
            ("A", reserve("o", 1)),
        ]
    };
    let verdicts = [
        "v2",
        "v3",
        "InsufficientStock",
        "UnknownSku",
        "v1",
        "v2",
        "v4",
        "v5",
        "InsufficientStock",
    ];
    let world = check(false, lines(), &verdicts);
    assert_eq!((world.state("A"), world.state("N")), ((0, 0, 12, 5), (0, 0, 5, 2)));
    let verdicts = [
        "not applied",
        "not applied",
        "InsufficientStock",
        "UnknownSku",
        "not applied",
        "not applied",
        "not applied",
        "not applied",
        "InsufficientStock",
    ];
    let world = check(true, lines(), &verdicts);
    assert_eq!(world.state("A"), (10, 0, 0, 1));
    assert!(world.ledger.read(&sku("N"), world.now).unwrap().is_none());
}

#[test]
fn an_atomic_batch_is_all_or_none() {
    let world = check(true, vec![("A", sell(2)), ("B", reserve("o", 1))], &["v2", "v2"]);
    assert_eq!((world.state("A"), world.state("B")), ((8, 0, 2, 2), (1, 1, 0, 2)));
    let lines = vec![("A", sell(2)), ("B", reserve("o", 9))];
    let world = check(true, lines, &["not applied", "InsufficientStock"]);
    assert_eq!((world.state("A"), world.state("B")), ((10, 0, 0, 1), (1, 0, 0, 1)));
}

#[test]
fn a_repeated_reservation_is_no_failure() {
    let lines = vec![("A", reserve("o", 1)), ("A", reserve("o", 1)), ("B", sell(1))];
    let world = check(true, lines, &["v2", "unchanged v2", "v2"]);
    assert_eq!(world.ledger.stats().reservations_live, 1);
}

#[test]
fn a_batch_is_one_append_and_its_context_is_completed() {
    let world = World::new();
    let own = Context { reference: Some("line 2".into()), ..Context::default() };
    let request = BatchRequest {
        atomic: false,
        lines: vec![
            BatchLine::command(command("A", create(1)), Context::default()),
            BatchLine::Invalid,
            BatchLine::command(command("B", create(1)), own),
        ],
        key: None,
        context: Context {
            actor: Some("till".into()),
            reference: Some("basket".into()),
            ..Context::default()
        },
    };
    let batch = world.ledger.execute_batch(&request, world.now).unwrap();
    assert_eq!(words(&batch), ["v1", "invalid", "v1"]);
    let seq = |line: &BatchOutcome| match line {
        BatchOutcome::Changed { seq, .. } => Some(seq.get()),
        _ => None,
    };
    assert_eq!(batch.lines.iter().filter_map(seq).collect::<Vec<_>>(), [1, 2]);
    world.commit();
    let records = world.ledger.log().read_records(Seq::new(1), 2).unwrap();
    let contexts: Vec<Context> = records
        .iter()
        .map(|record| match decode_record(record).unwrap() {
            Record::Event(event) => event.context,
            Record::Receipt(_) => panic!("no key was sent"),
        })
        .collect();
    let references: Vec<_> = contexts.iter().map(|context| context.reference.as_deref()).collect();
    assert_eq!(references, [Some("basket"), Some("line 2")]);
    assert!(contexts.iter().all(|context| context.actor.as_deref() == Some("till")));
    let mut reader = world.ledger.log().reader(event_log::Cursor::START).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().header.record_count, 2);
}

#[test]
fn a_batch_of_nothing_appends_nothing() {
    let world = World::new();
    let batch = world.batch(true, Vec::new());
    assert!(batch.is_success() && batch.lines.is_empty());
    assert_eq!(last(&world), Seq::ZERO);
}

#[test]
fn a_thousand_lines_of_one_sku_are_one_append() {
    let world = World::new();
    world.execute("A", create(1_000_000));
    let lines = (0..1000).map(|_| ("A", sell(1))).collect();
    let batch = world.try_batch(false, lines, Some(1)).unwrap();
    assert!(batch.is_success());
    assert_eq!(world.state("A"), (999_000, 0, 1000, 1001));
}
