//! Promises with an end: a reservation holds until its deadline and not much longer. It must never
//! look at a clock of its own: every time in here is the node's, as its events tell it.

use std::collections::HashMap;

use super::evidence::{LogEvent, StoreLog};
use super::{Faults, Promise};

/// How long after its deadline a reservation may hold while its node is up and takes writes, µs of
/// the node's clock.
pub const SLACK_US: i64 = 1_000_000;

/// When a node couldn't write, by its own clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uptime {
    /// Moments at which it opened, or was seen unable to write.
    pub obstacles_us: Vec<i64>,
    /// The moment at which it was looked at last; it could write then.
    pub seen_us: i64,
}

impl Uptime {
    /// The first moment from `deadline_us` on at which nothing has hindered the node any more, as
    /// far as is known at `at_us`.
    fn could_act_from(&self, deadline_us: i64, at_us: i64) -> i64 {
        let before = self.obstacles_us.iter().filter(|obstacle| **obstacle <= at_us);
        before.max().map_or(deadline_us, |last| deadline_us.max(*last))
    }
}

/// A live reservation that ends.
struct Live<'a> {
    event: &'a LogEvent,
    units: i64,
    deadline_us: i64,
}

/// Notes reservations that ended before their deadline; and, if it is known when the node could
/// write, those that ended long after it or didn't.
pub fn deadlines(log: &StoreLog, uptime: Option<&Uptime>, faults: &mut Faults) {
    let mut live: HashMap<(&str, &str), Live<'_>> = HashMap::new();
    for event in &log.events {
        let order = (event.sku.as_str(), event.order.as_str());
        let (_, promised, _) = event.moved;
        match event.change.as_str() {
            "reserved" => {
                if let Some(deadline_us) = event.expires_at_us {
                    live.insert(order, Live { event, units: promised, deadline_us });
                }
            }
            "extended" => match (live.get_mut(&order), event.expires_at_us) {
                (Some(live), Some(deadline_us)) => live.deadline_us = deadline_us,
                (_, None) => drop(live.remove(&order)),
                // It never ended before. How much is left of it is known only to its item.
                (None, Some(_)) => {}
            },
            "released" | "deducted" => {
                let Some(found) = live.get_mut(&order) else { continue };
                found.units += promised;
                if found.units <= 0 {
                    live.remove(&order);
                }
            }
            "expired" => {
                if let Some(ended) = live.remove(&order) {
                    check_end(&log.store, &ended, event, uptime, faults);
                } else {
                    let what = format!("{}: nothing had to end by {event:?}", log.store);
                    faults.note(Promise::OnTime, what);
                }
            }
            _ => {}
        }
    }
    let Some(uptime) = uptime else { return };
    for left in live.into_values() {
        let late_us = uptime.seen_us - uptime.could_act_from(left.deadline_us, uptime.seen_us);
        if late_us > SLACK_US {
            let what = format!("{}: {late_us} µs over is {:?}", log.store, left.event);
            faults.note(Promise::OnTime, what);
        }
    }
}

fn check_end(
    store: &str,
    ended: &Live<'_>,
    event: &LogEvent,
    uptime: Option<&Uptime>,
    faults: &mut Faults,
) {
    let early_us = ended.deadline_us - event.at_us;
    if early_us > 0 {
        let what = format!("{store}: {:?} ended {early_us} µs early by {event:?}", ended.event);
        faults.note(Promise::OnTime, what);
    }
    let Some(uptime) = uptime else { return };
    let late_us = event.at_us - uptime.could_act_from(ended.deadline_us, event.at_us);
    if late_us > SLACK_US {
        let what = format!("{store}: {:?} ended {late_us} µs late by {event:?}", ended.event);
        faults.note(Promise::OnTime, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, change: &str, promised: i64, at_us: i64, end: Option<i64>) -> LogEvent {
        LogEvent {
            seq,
            sku: "mug".to_owned(),
            version: seq,
            change: change.to_owned(),
            moved: (0, promised, 0),
            after: (9, 0, 0),
            order: "o".to_owned(),
            request_id: String::new(),
            at_us,
            expires_at_us: end,
        }
    }

    const S: i64 = 1_000_000;

    /// How many faults a reservation until 10 s has that ended so, at a node that opened then.
    fn faults_of(ends: &[LogEvent], opened_us: i64) -> usize {
        let mut events = vec![event(1, "reserved", 2, 0, Some(10 * S))];
        events.extend_from_slice(ends);
        let log = StoreLog { events, ..StoreLog::default() };
        let uptime = Uptime { obstacles_us: vec![0, opened_us], seen_us: 60 * S };
        let mut faults = Faults::default();
        deadlines(&log, Some(&uptime), &mut faults);
        faults.into_vec().len()
    }

    #[test]
    fn a_reservation_ends_at_its_deadline_or_soon_after_the_node_can() {
        let expired = |at_us| event(9, "expired", -2, at_us, None);
        assert_eq!(faults_of(&[expired(10 * S)], 0), 0);
        assert_eq!(faults_of(&[expired(11 * S)], 0), 0);
        assert_eq!(faults_of(&[expired(10 * S - 1)], 0), 1, "early");
        assert_eq!(faults_of(&[expired(11 * S + 1)], 0), 1, "late");
        assert_eq!(faults_of(&[expired(31 * S)], 30 * S), 0, "it was down");
        assert_eq!(faults_of(&[], 0), 1, "never");
        assert_eq!(faults_of(&[], 59 * S), 0, "it has just come back");
        assert_eq!(faults_of(&[event(9, "released", -2, 3 * S, None)], 0), 0);
        assert_eq!(faults_of(&[event(9, "released", -1, 3 * S, None)], 0), 1, "a rest is left");
    }

    #[test]
    fn a_deadline_can_be_moved() {
        let moved = |end| event(8, "extended", 0, 5 * S, end);
        let expired = |at_us| event(9, "expired", -2, at_us, None);
        assert_eq!(faults_of(&[moved(Some(20 * S)), expired(20 * S)], 0), 0);
        assert_eq!(faults_of(&[moved(Some(20 * S)), expired(10 * S)], 0), 1, "the old one");
        assert_eq!(faults_of(&[moved(None)], 0), 0, "it never ends");
        assert_eq!(faults_of(&[moved(None), expired(10 * S)], 0), 1, "and yet it did");
    }
}
