//! The checker itself: answers that can't be are refused, answers that can be are taken, and on
//! random histories its verdict on linearizability is stateright's.

use simulation::dice::Dice;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use tests::audit::history::{Answer, State};
use tests::audit::linearizable::{Call, is_linearizable, seen};
use tests::audit::shelf::Shelf;
use tests::audit::{
    Faults, Held, History, Line, LineAnswer, LogEvent, Outcome, Promise, StoreLog, Verb, agreement,
    evidence, linearizable,
};

/// A shelf as stateright sees it.
#[derive(Clone, Debug, PartialEq)]
struct Reference(Shelf);

impl SequentialSpec for Reference {
    type Op = Verb;
    type Ret = LineAnswer;

    fn invoke(&mut self, verb: &Verb) -> LineAnswer {
        match self.0.done(verb) {
            Some(after) => {
                self.0 = after;
                LineAnswer::State(self.0.state())
            }
            None => LineAnswer::Rejected(self.0.refusal(verb).unwrap_or_default().to_owned()),
        }
    }

    fn is_valid_step(&mut self, verb: &Verb, answer: &LineAnswer) -> bool {
        match self.0.step(verb, answer) {
            Some(after) => {
                self.0 = after;
                true
            }
            None => false,
        }
    }
}

/// Our verdict and the other's on a schedule, in which a thread begins or ends its call at each
/// step; from some step on the answers are wrong by so many units.
fn verdicts(schedule: &[(usize, Verb)], (lie_at, lie_by): (usize, u64)) -> (bool, bool) {
    let mut reference = LinearizabilityTester::new(Reference(Shelf::default()));
    let mut model = Reference(Shelf::default());
    let mut open: Vec<Option<(Verb, LineAnswer, usize)>> = vec![None; 4];
    let mut calls: Vec<Call> = Vec::new();
    let mut place = 0;
    for (step, (thread, verb)) in schedule.iter().enumerate() {
        place += 1;
        if let Some((_, mut answer, call)) = open[*thread].take() {
            if let LineAnswer::State(state) = &mut answer
                && step >= lie_at
            {
                state.stock += lie_by;
            }
            reference.on_return(*thread, answer.clone()).expect("it was called");
            calls[call].ended = place;
            calls[call].lines[0].1 = answer;
        } else {
            // It takes effect at once; others that are open may be ordered before or after it.
            let answer = model.invoke(verb);
            reference.on_invoke(*thread, verb.clone()).expect("it is idle");
            calls.push(Call {
                id: format!("call {step}"),
                begun: place,
                ended: u64::MAX,
                lines: vec![(verb.clone(), answer.clone())],
                undone: false,
            });
            open[*thread] = Some((verb.clone(), answer, calls.len() - 1));
        }
    }
    // Whoever is still open is answered at last: the reference may leave a call out, ours counts
    // every call that is listed.
    for (thread, open) in open.into_iter().enumerate() {
        if let Some((_, answer, call)) = open {
            place += 1;
            reference.on_return(thread, answer.clone()).expect("it was called");
            calls[call].ended = place;
        }
    }
    (is_linearizable(&calls), reference.is_consistent())
}

fn verb(dice: &mut Dice) -> Verb {
    let order = format!("order-{}", dice.between(0, 1));
    match dice.between(0, 6) {
        0 => Verb::Create(dice.between(1, 8)),
        1 => Verb::Sell(dice.between(1, 3)),
        2 => Verb::Receive(dice.between(1, 3)),
        3 => Verb::Reserve(order, dice.between(1, 2), None),
        4 => Verb::Release(order),
        5 => Verb::Deduct(order),
        _ => Verb::Read,
    }
}

#[test]
fn our_verdict_is_that_of_stateright() {
    let mut dice = Dice::new(1);
    let (mut possible, mut impossible) = (0, 0);
    for round in 0..4_000 {
        let steps = dice.between(1, 14) as usize;
        let step = |_| (dice.between(0, 3) as usize, verb(&mut dice));
        let mut schedule: Vec<(usize, Verb)> = (0..steps).map(step).collect();
        schedule.insert(0, (0, Verb::Create(4)));
        let lie = (dice.between(0, steps as u64) as usize, dice.between(0, 1));
        let (ours, theirs) = verdicts(&schedule, lie);
        assert_eq!(ours, theirs, "round {round}: {schedule:?}, {lie:?}");
        if ours { possible += 1 } else { impossible += 1 }
    }
    assert!(possible > 1_000 && impossible > 500, "{possible} possible, {impossible} impossible");
}

fn call(begun: u64, ended: u64, verb: Verb, answer: LineAnswer) -> Call {
    let (id, lines) = (format!("{verb:?}"), vec![(verb, answer)]);
    Call { id, begun, ended, lines, undone: false }
}

#[test]
fn order_in_real_time_counts() {
    let create = call(1, 2, Verb::Create(5), seen(5, 0, 0, 1));
    let sell = call(3, 4, Verb::Sell(2), seen(3, 0, 2, 2));
    let stale = call(5, 6, Verb::Read, seen(5, 0, 0, 1));
    let beside = call(3, 6, Verb::Read, seen(5, 0, 0, 1));
    assert!(!is_linearizable(&[create.clone(), sell.clone(), stale]), "a stale look");
    assert!(is_linearizable(&[create, sell, beside]), "a look that began before");
}

/// A store that created 10 and sold 3, and what its callers were told.
fn sound() -> (History, StoreLog) {
    let history = History::default();
    let told = |verb: Verb, key: Option<&str>, state: State| {
        let lines = vec![Line { sku: "mug".to_owned(), verb }];
        let number = history.begin("store-a", key.map(str::to_owned), lines, true);
        let id = history.try_again(number);
        let body = format!("{state:?}");
        let answer = Answer { lines: vec![LineAnswer::State(state)], replayed: false, body };
        history.end(number, Outcome::Answered(answer));
        id
    };
    let state =
        |stock, sold, version| State { stock, reserved: 0, sold, version, seq: Some(version) };
    let event = |seq, change: &str, moved, after, request_id| LogEvent {
        seq,
        sku: "mug".to_owned(),
        version: seq,
        change: change.to_owned(),
        moved,
        after,
        order: String::new(),
        request_id,
        at_us: 0,
        expires_at_us: None,
    };
    let created = told(Verb::Create(10), None, state(10, 0, 1));
    let sold = told(Verb::Sell(3), Some("k"), state(7, 3, 2));
    let events = vec![
        event(1, "created", (10, 0, 0), (10, 0, 0), created),
        event(2, "sold", (-3, 0, 3), (7, 0, 3), sold),
    ];
    (history, StoreLog { store: "store-a".to_owned(), events, receipts: Vec::new() })
}

fn judged(history: &History, log: &StoreLog, node: &Held, view: &Held) -> Vec<Promise> {
    let mut faults = Faults::default();
    let operations = history.operations();
    evidence(&operations, log, &mut faults);
    linearizable::linearizability(&operations, log, &mut faults);
    agreement(log, node, view, &mut faults);
    let mut promises: Vec<Promise> = faults.into_vec().iter().map(|fault| fault.promise).collect();
    promises.dedup();
    promises
}

/// What is done to a sound world, and which promise must be called broken.
type Planted = (&'static str, fn(&mut StoreLog, &mut Held, &mut Held), Promise);

#[test]
fn every_planted_fault_is_called_by_its_name() {
    let (history, log) = sound();
    let held = log.last_states();
    assert_eq!(judged(&history, &log, &held, &held), [], "the sound world");
    let planted: [Planted; 8] = [
        ("a lost sale", |log, _, _| drop(log.events.pop()), Promise::Durable),
        ("a version gap", |log, _, _| log.events[1].version = 3, Promise::Gapless),
        ("a seq gap", |log, _, _| log.events[1].seq = 3, Promise::Gapless),
        ("stock from nowhere", |log, _, _| log.events[1].after.0 = 8, Promise::Gapless),
        ("promised and not there", |log, _, _| log.events[1].after.1 = 9, Promise::NotOversold),
        (
            "nobody asked",
            |log, _, _| log.events[1].request_id = "op-9.1".to_owned(),
            Promise::Durable,
        ),
        ("the node forgot", |_, node, _| node.clear(), Promise::Durable),
        ("the view is late", |_, _, view| view.clear(), Promise::Converged),
    ];
    for (what, plant, promise) in planted {
        let (mut log, mut node, mut view) = (log.clone(), held.clone(), held.clone());
        plant(&mut log, &mut node, &mut view);
        let promises = judged(&history, &log, &node, &view);
        assert!(promises.contains(&promise), "{what}: {promises:?}");
    }
}

#[test]
fn one_key_has_one_effect() {
    let (history, mut log) = sound();
    let lines = vec![Line { sku: "mug".to_owned(), verb: Verb::Sell(3) }];
    let number = history.begin("store-a", Some("k".to_owned()), lines, true);
    let id = history.try_again(number);
    let mut again = log.events[1].clone();
    (again.seq, again.version, again.after, again.request_id) = (3, 3, (4, 0, 6), id);
    log.events.push(again);
    let mut faults = Faults::default();
    evidence(&history.operations(), &log, &mut faults);
    let promises: Vec<Promise> = faults.into_vec().iter().map(|fault| fault.promise).collect();
    assert_eq!(promises, [Promise::Idempotent]);
}
