//! Tests of the key table. They must never depend on real time.

use super::*;

const LIFE_US: i64 = 1_000_000_000;

fn key(number: u64) -> RequestKey {
    let hash = blake3::hash(&number.to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    RequestKey { key_hash: u128::from_le_bytes(bytes), fingerprint: u128::from(number) }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn complete(table: &KeyTable, number: u64, seconds: i64) {
    match table.claim(key(number), at(seconds)) {
        Claimed::Fresh(claim) => claim.complete(Seq::new(number + 1), 1, at(seconds)),
        Claimed::Answered(_) | Claimed::Reused => panic!("{number} is not fresh"),
    }
}

fn state(table: &KeyTable, key: RequestKey, seconds: i64) -> &'static str {
    match table.claim(key, at(seconds)) {
        Claimed::Fresh(_) => "fresh",
        Claimed::Answered(_) => "answered",
        Claimed::Reused => "reused",
    }
}

#[test]
fn a_key_answers_its_own_request_and_no_other() {
    let table = KeyTable::new(1000, LIFE_US);
    complete(&table, 1, 0);
    assert_eq!(state(&table, key(1), 1), "answered");
    assert_eq!(state(&table, RequestKey { fingerprint: 99, ..key(1) }, 1), "reused");
    assert_eq!(state(&table, key(2), 1), "fresh");
    assert_eq!(state(&table, key(2), 1), "fresh", "a claim given up frees its key");
    assert_eq!(state(&table, key(1), 1000), "fresh", "after its life");
}

#[test]
fn thousands_of_keys_are_found_again_and_forgotten_in_order() {
    let table = KeyTable::new(1_000_000, LIFE_US);
    for number in 0..50_000 {
        complete(&table, number, number as i64 / 100);
    }
    assert_eq!(table.len(), 50_000);
    for number in 0..50_000 {
        let Claimed::Answered(entry) = table.claim(key(number), at(500)) else {
            panic!("{number} is lost")
        };
        assert_eq!(entry.first_seq, number + 1);
    }
    let mut forgotten = 0;
    while let count @ 1.. = table.forget_expired(at(1250)) {
        forgotten += count;
    }
    assert_eq!(forgotten, 25_100);
    for number in 0..50_000 {
        let expected = if number < 25_100 { "fresh" } else { "answered" };
        assert_eq!(state(&table, key(number), 1250), expected, "{number}");
    }
    assert_eq!(table.evicted(), 0);
    assert!(table.memory_bytes() / 50_000 <= 128);
}

#[test]
fn a_full_table_evicts_the_oldest_and_raises_the_alarm() {
    let table = KeyTable::new(640, LIFE_US);
    for number in 0..5_000 {
        complete(&table, number, 0);
    }
    assert!(table.len() <= 640);
    assert_eq!(table.evicted() as usize, 5_000 - table.len());
    assert_eq!(state(&table, key(0), 0), "fresh");
    assert_eq!(state(&table, key(4_999), 0), "answered");
}

#[test]
fn an_expired_key_can_be_claimed_anew_while_its_old_entry_is_still_there() {
    let table = KeyTable::new(1000, LIFE_US);
    complete(&table, 7, 0);
    let Claimed::Fresh(claim) = table.claim(key(7), at(2000)) else { panic!("its life is over") };
    claim.complete(Seq::new(100), 1, at(2000));
    assert_eq!(state(&table, key(7), 2001), "answered");
    assert_eq!(table.forget_expired(at(2001)), 1);
    assert_eq!(state(&table, key(7), 2001), "answered", "only the old entry went");
}

#[test]
fn restoring_twice_keeps_one() {
    let table = KeyTable::new(1000, LIFE_US);
    let entry =
        KeyEntry::new(KeyClaim { key_hash: 5, fingerprint: 6, records: 2 }, Seq::new(9), at(1));
    table.restore(entry);
    table.restore(entry);
    assert_eq!(table.len(), 1);
    assert_eq!(entry.last_seq(), Seq::new(10));
}

#[test]
fn a_restored_table_is_as_if_it_had_never_been_away() {
    let mut table = KeyTable::new(64 * 100, LIFE_US);
    let restore = |table: &mut KeyTable, entries: &[KeyEntry], hi: u64, seconds: i64| {
        let restoring = table.restoring();
        let mut stage = KeyStage::new(&restoring, Seq::new(hi), at(seconds));
        for entry in entries {
            stage.remember(*entry);
        }
        stage.hand_over_all();
        restoring.finish(2);
    };
    for number in 0..2_000 {
        complete(&table, number, 0);
    }
    let entry = |number: u64, seq: u64| {
        let RequestKey { key_hash, fingerprint } = key(number);
        let claim = KeyClaim { key_hash, fingerprint, records: 1 };
        KeyEntry::new(claim, Seq::new(seq), at(seq as i64 / 1000))
    };
    // 1000 to 1999 are there already; 5 is claimed again; 9000 and above are over their life.
    let old: Vec<_> = (1_000..2_000).map(|number| entry(number, number + 1)).collect();
    restore(&mut table, &old, 2_000, 0);
    let new: Vec<_> =
        (2_000..4_000).chain([5]).map(|number| entry(number, number + 10_000)).collect();
    restore(&mut table, &new, 2_000, 0);
    restore(&mut table, &[entry(9_000, 3_000)], 2_000, 5_000);
    assert_eq!(table.len(), 4_001, "the old entry of 5 is still counted");
    for number in 0..4_000 {
        let Claimed::Answered(found) = table.claim(key(number), at(20)) else {
            panic!("{number} is lost")
        };
        let seq = if number < 2_000 && number != 5 { number + 1 } else { number + 10_000 };
        assert_eq!(found.first_seq, seq);
    }
    assert_eq!(state(&table, key(9_000), 20), "fresh");
    let many: Vec<_> = (20_000..60_000).map(|number| entry(number, number)).collect();
    restore(&mut table, &many, 0, 0);
    assert!(table.len() <= 6_400);
    assert_eq!(table.evicted() as usize, 44_001 - table.len());
    assert_eq!(state(&table, key(59_999), 60), "answered");
    assert_eq!(state(&table, key(20_000), 60), "fresh");
}

#[test]
fn a_second_request_with_the_key_waits_and_gets_the_answer_of_the_first() {
    let table = KeyTable::new(1000, LIFE_US);
    let Claimed::Fresh(claim) = table.claim(key(1), at(0)) else { panic!("fresh") };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| state(&table, key(1), 0));
        let copy = scope
            .spawn(|| (0..KEY_SHARDS).map(|shard| table.copy_shard(shard).len()).sum::<usize>());
        std::thread::yield_now();
        claim.complete(Seq::new(1), 1, at(0));
        assert_eq!(second.join().unwrap(), "answered");
        assert_eq!(copy.join().unwrap(), 1, "a copy waits for the claims in flight");
    });
}

proptest::proptest! {
    #[test]
    fn agrees_with_a_plain_map(steps in proptest::collection::vec((0_u64..200, 0_i64..50), 1..800)) {
        let table = KeyTable::new(1_000_000, 100_000_000);
        let mut model: std::collections::HashMap<u64, i64> = std::collections::HashMap::new();
        let mut now = 0;
        for (index, (number, advance)) in steps.into_iter().enumerate() {
            now += advance / 10;
            let known = model.get(&number).is_some_and(|claimed| now - claimed < 100);
            let fresh = match table.claim(key(number), at(now)) {
                Claimed::Fresh(claim) => {
                    claim.complete(Seq::new(index as u64 + 1), 1, at(now));
                    true
                }
                Claimed::Answered(_) => false,
                Claimed::Reused => unreachable!("one fingerprint for each key"),
            };
            proptest::prop_assert_eq!(fresh, !known);
            if fresh {
                model.insert(number, now);
            }
            if advance == 49 {
                table.forget_expired(at(now));
            }
        }
    }
}

/// Threads of a recovery hand over what they met as it comes; the table is as if one had.
#[test]
fn keys_of_several_threads_lie_and_are_evicted_in_the_order_of_the_log() {
    let mut table = KeyTable::new(KEY_SHARDS * 10, LIFE_US);
    let entry = |number: u64| {
        let RequestKey { key_hash, fingerprint } = key(number);
        KeyEntry::new(KeyClaim { key_hash, fingerprint, records: 1 }, Seq::new(number + 1), at(0))
    };
    let restoring = table.restoring();
    let [mut early, mut late] = [0, 1].map(|_| KeyStage::new(&restoring, Seq::ZERO, at(0)));
    for number in 0..4_000 {
        if number % 3 == 0 { &mut late } else { &mut early }.remember(entry(number));
    }
    late.hand_over_all();
    early.hand_over_all();
    restoring.finish(2);
    let mut left = 0;
    for shard in 0..KEY_SHARDS {
        let seqs: Vec<_> = table.copy_shard(shard).iter().map(|entry| entry.first_seq).collect();
        let of_shard = |number: &u64| shard_index(key(*number).key_hash) == shard;
        let all: Vec<_> = (0..4_000).filter(of_shard).map(|number| number + 1).collect();
        let keys_max = share_of(shard, KEY_SHARDS * 10);
        assert_eq!(seqs, all[all.len().saturating_sub(keys_max)..], "the newest, in order");
        left += seqs.len();
    }
    assert_eq!(table.evicted() as usize, 4_000 - left);
}

#[test]
fn shards_have_unequal_shares_and_double_at_different_times() {
    const KEYS: usize = 200_000;
    let mut counts = [0_usize; KEY_SHARDS];
    (0..KEYS as u64).for_each(|number| counts[shard_index(key(number).key_hash)] += 1);
    for (index, count) in counts.into_iter().enumerate() {
        let share = share_of(index, KEYS);
        assert!(count.abs_diff(share) * 10 < share, "shard {index}: {count} of {share}");
    }
    assert!(share_of(KEY_SHARDS - 1, KEYS) * 10 > share_of(0, KEYS) * 19);
    assert_eq!([0, u128::MAX].map(shard_index), [0, KEY_SHARDS - 1]);

    // However many there are, the tables are some three fifths full.
    let table = KeyTable::new(usize::MAX, LIFE_US);
    for number in 0..KEYS as u64 {
        let RequestKey { key_hash, fingerprint } = key(number);
        let claim = KeyClaim { key_hash, fingerprint, records: 1 };
        table.restore(KeyEntry::new(claim, Seq::new(number + 1), at(0)));
        if number >= 100_000 && number % 10_000 == 0 {
            let bytes = table.memory_bytes() as f64 / number as f64;
            assert!((54.0..61.0).contains(&bytes), "{bytes} bytes a key of {number}");
        }
    }
}
