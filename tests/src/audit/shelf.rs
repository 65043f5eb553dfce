//! One SKU at one store as a shop assistant would keep it on paper: the sequential model that
//! answers are compared with. It must never share a line with the rules of the product.

use std::collections::BTreeMap;

use super::history::{LineAnswer, State, Verb};

/// The shelf.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shelf {
    exists: bool,
    version: u64,
    stock: u64,
    sold: u64,
    live: BTreeMap<String, u64>,
    /// Promises that ended, and how.
    closed: BTreeMap<String, Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ending {
    Released,
    Deducted,
    Expired,
}

impl Shelf {
    fn reserved(&self) -> u64 {
        self.live.values().sum()
    }

    fn available(&self) -> u64 {
        self.stock.saturating_sub(self.reserved())
    }

    /// The shelf after `verb`, if `answer` is what it had to be told; none if it isn't.
    pub fn step(&self, verb: &Verb, answer: &LineAnswer) -> Option<Self> {
        match answer {
            LineAnswer::State(told) => {
                let after = self.done(verb)?;
                after.shows(told).then_some(after)
            }
            LineAnswer::Rejected(error) => {
                (self.refusal(verb) == Some(error.as_str())).then(|| self.clone())
            }
            LineAnswer::Absent => (!self.exists).then(|| self.clone()),
            LineAnswer::NotApplied => self.refusal(verb).is_none().then(|| self.clone()),
        }
    }

    /// What a look shows.
    pub fn state(&self) -> State {
        State {
            stock: self.stock,
            reserved: self.reserved(),
            sold: self.sold,
            version: self.version,
            seq: None,
        }
    }

    fn shows(&self, told: &State) -> bool {
        (self.stock, self.reserved(), self.sold, self.version)
            == (told.stock, told.reserved, told.sold, told.version)
    }

    /// What a refused verb is told; none if it is fine.
    pub fn refusal(&self, verb: &Verb) -> Option<&'static str> {
        if let Verb::Create(_) = verb {
            return self.exists.then_some("AlreadyExists");
        }
        if !self.exists {
            return Some("UnknownSku");
        }
        match verb {
            Verb::Sell(units) if *units > self.available() => Some("InsufficientStockError"),
            Verb::Adjust(delta) => {
                let after = self.stock.checked_add_signed(*delta);
                let fits = after.is_some_and(|after| *delta > 0 || after >= self.reserved());
                (!fits).then_some("InsufficientStockError")
            }
            Verb::Reserve(order, units, _) => {
                match (self.live.get(order), self.closed.get(order)) {
                    (Some(live), _) if live == units => None,
                    (Some(_), _) => Some("ReservationMismatch"),
                    (None, Some(Ending::Released | Ending::Deducted)) => Some("ReservationClosed"),
                    (None, Some(Ending::Expired) | None) => {
                        (*units > self.available()).then_some("InsufficientStockError")
                    }
                }
            }
            Verb::Release(order) | Verb::Deduct(order) if self.live.contains_key(order) => None,
            Verb::Release(order) => match self.closed.get(order) {
                Some(Ending::Released | Ending::Expired) => None,
                Some(Ending::Deducted) => Some("InsufficientReservedStockError"),
                None => Some("UnknownReservation"),
            },
            Verb::Deduct(order) => match self.closed.get(order) {
                Some(Ending::Deducted) => None,
                Some(Ending::Released) => Some("InsufficientReservedStockError"),
                Some(Ending::Expired) => Some("ReservationExpired"),
                None => Some("UnknownReservation"),
            },
            Verb::Create(_)
            | Verb::Receive(_)
            | Verb::Sell(_)
            | Verb::Return(_)
            | Verb::Read
            | Verb::Expire(_) => None,
        }
    }

    /// The shelf after `verb`; none if it would be refused.
    pub fn done(&self, verb: &Verb) -> Option<Self> {
        if self.refusal(verb).is_some() {
            return None;
        }
        let mut after = self.clone();
        let changed = match verb {
            Verb::Create(units) => {
                after.exists = true;
                after.stock = *units;
                true
            }
            Verb::Receive(units) | Verb::Return(units) => {
                after.stock += units;
                true
            }
            Verb::Sell(units) => {
                after.stock -= units;
                after.sold += units;
                true
            }
            Verb::Adjust(delta) => {
                after.stock = after.stock.checked_add_signed(*delta)?;
                true
            }
            Verb::Reserve(order, units, _) => {
                after.closed.remove(order);
                after.live.insert(order.clone(), *units).is_none()
            }
            Verb::Release(order) => after.close(order, Ending::Released),
            Verb::Expire(order) => {
                if !after.close(order, Ending::Expired) {
                    return None;
                }
                true
            }
            Verb::Deduct(order) => {
                let units = self.live.get(order).copied().unwrap_or(0);
                let changed = after.close(order, Ending::Deducted);
                after.stock = after.stock.checked_sub(units)?;
                after.sold += units;
                changed
            }
            Verb::Read => false,
        };
        after.version += u64::from(changed);
        Some(after)
    }

    fn close(&mut self, order: &str, how: Ending) -> bool {
        let was_live = self.live.remove(order).is_some();
        if was_live {
            self.closed.insert(order.to_owned(), how);
        }
        was_live
    }
}
