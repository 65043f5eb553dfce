//! The ledger against the bare rules: whatever is asked, in batches or alone, with time passing,
//! restarts and snapshots in between, every item is what deciding and applying in order gives.

use std::collections::BTreeMap;

use event_log::storage::sim::SimStorage;
use proptest::prelude::*;
use shared::{Action, Item, Timestamp, rules};

use super::world::*;

const SKUS: [&str; 3] = ["A", "b/2", "C c"];

#[derive(Debug, Clone)]
enum Step {
    One(usize, Ask),
    Batch(bool, Vec<(usize, Ask)>),
    Pass(i64),
    Sweep,
    Commit,
    Snapshot,
    Reopen,
}

#[derive(Debug, Clone)]
enum Ask {
    Create(u64),
    Receive(u64),
    Sell(u64),
    Reserve(u8, u64, Option<u64>),
    Release(u8),
    Deduct(u8),
    Extend(u8, u64),
}

impl Ask {
    fn action(&self) -> Action {
        let name = |number: &u8| format!("o{number}");
        match self {
            Self::Create(stock) => create(*stock),
            Self::Receive(number) => receive(*number),
            Self::Sell(number) => sell(*number),
            Self::Reserve(o, number, None) => reserve(&name(o), *number),
            Self::Reserve(o, number, Some(seconds)) => reserve_for(&name(o), *number, *seconds),
            Self::Release(o) => release(&name(o)),
            Self::Deduct(o) => deduct(&name(o)),
            Self::Extend(o, seconds) => {
                Action::Extend { order_id: order(&name(o)), expires_in_seconds: Some(*seconds) }
            }
        }
    }
}

/// The items as the rules alone make them.
#[derive(Default, Clone)]
struct Model(BTreeMap<&'static str, Item>);

impl Model {
    fn expire(&mut self, name: &'static str, now: Timestamp) {
        let Some(item) = self.0.get_mut(name) else {
            return;
        };
        for event in rules::expirations(item, &sku(name), now) {
            item.check(&event).unwrap();
            item.apply(&event);
        }
    }

    /// Whether it went through.
    fn ask(&mut self, name: &'static str, ask: &Ask, now: Timestamp) -> bool {
        self.expire(name, now);
        let item = self.0.get(name).cloned().unwrap_or_default();
        match rules::decide(&item, &command(name, ask.action()), now) {
            Ok(Some(event)) => {
                self.0.entry(name).or_default().apply(&event);
                true
            }
            Ok(None) => true,
            Err(_) => false,
        }
    }

    fn batch(&mut self, atomic: bool, lines: &[(usize, Ask)], now: Timestamp) -> bool {
        for (place, _) in lines {
            self.expire(SKUS[*place], now);
        }
        let before = self.clone();
        let mut all = true;
        for (place, ask) in lines {
            all &= self.ask(SKUS[*place], ask, now);
        }
        if atomic && !all {
            *self = before;
        }
        all
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        1 => (0_u64..30).prop_map(Ask::Create),
        2 => (1_u64..9).prop_map(Ask::Receive),
        3 => (1_u64..9).prop_map(Ask::Sell),
        4 => (0_u8..4, 1_u64..6, proptest::option::of(1_u64..9)).prop_map(|(o, q, s)| Ask::Reserve(o, q, s)),
        1 => (0_u8..4).prop_map(Ask::Release),
        1 => (0_u8..4).prop_map(Ask::Deduct),
        1 => (0_u8..4, 1_u64..9).prop_map(|(o, s)| Ask::Extend(o, s)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lines = proptest::collection::vec((0..SKUS.len(), ask()), 1..8);
    prop_oneof![
        10 => (0..SKUS.len(), ask()).prop_map(|(place, ask)| Step::One(place, ask)),
        5 => (any::<bool>(), lines).prop_map(|(atomic, lines)| Step::Batch(atomic, lines)),
        3 => (1_i64..5).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
        2 => Just(Step::Commit),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Reopen),
    ]
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::open(&SimStorage::new(2), at(0)).unwrap();
    let mut model = Model::default();
    for step in steps {
        match &step {
            Step::One(place, ask) => {
                let done = world.execute(SKUS[*place], ask.action()).outcome.is_ok();
                prop_assert_eq!(done, model.ask(SKUS[*place], ask, world.now), "{:?}", step);
            }
            Step::Batch(atomic, lines) => {
                let asked = lines.iter().map(|(place, ask)| (SKUS[*place], ask.action())).collect();
                let done = world.batch(*atomic, asked).is_success();
                prop_assert_eq!(done, model.batch(*atomic, lines, world.now), "{:?}", step);
            }
            Step::Pass(seconds) => world.pass(*seconds),
            Step::Sweep => {
                world.ledger.sweep_expired(world.now);
                for name in SKUS {
                    model.expire(name, world.now);
                }
            }
            Step::Commit => world.commit(),
            Step::Snapshot => world.snapshot(),
            Step::Reopen => world = world.reopen(),
        }
    }
    for name in SKUS {
        model.expire(name, world.now);
        let found = world.ledger.read(&sku(name), world.now).unwrap().map(|read| read.item);
        prop_assert_eq!(found.as_ref(), model.0.get(name), "{}", name);
    }
    world.commit();
    let digest = model.0.iter().fold(0_u128, |sum, (name, item)| {
        sum.wrapping_add(shared::digest::item_digest(&sku(name), item.cell()))
    });
    prop_assert_eq!(world.ledger.log().tip().digest, digest);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn every_item_is_what_the_rules_make_of_it(steps in proptest::collection::vec(step(), 1..60)) {
        run(steps)?;
    }
}
