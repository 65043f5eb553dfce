//! Requests that wait together: whoever is durable ends, at once and however the others end.

use std::time::Duration;

use event_log::storage::sim::{Fault, SimStorage};
use event_log::{LogOptions, RecordBuffer};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::*;

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(30);

struct World {
    storage: SimStorage,
    log: Arc<Log<SimStorage>>,
    lobby: Arc<Lobby>,
}

impl World {
    fn new() -> Self {
        let storage = SimStorage::new(1);
        let log = Log::open(storage.clone(), LogOptions::default()).unwrap();
        Self { storage, log, lobby: Arc::default() }
    }

    /// Appends a record that isn't durable yet.
    fn append(&self) -> Seq {
        let mut records = RecordBuffer::new();
        records.push(b"record");
        self.log.append(&records, 1, 1).unwrap();
        self.log.last()
    }

    /// Begins to wait, and does so by the time this returns.
    async fn wait(&self, seq: Seq, deadline: Duration) -> JoinHandle<Waited> {
        let (lobby, log) = (Arc::clone(&self.lobby), Arc::clone(&self.log));
        let task = tokio::spawn(async move { lobby.wait(&log, seq, deadline).await });
        yield_now().await;
        task
    }

    /// How many wait at the log, and how many in the lobby.
    fn waiting(&self) -> (usize, usize) {
        (self.log.status().waiters, self.lobby.0.lock().waiting.len())
    }
}

async fn settled() {
    for _ in 0..8 {
        yield_now().await;
    }
}

/// How a wait ended; one that nobody wakes must not hold the test up.
async fn ended(task: JoinHandle<Waited>) -> Waited {
    timeout(LONG / 6, task).await.expect("nobody woke it").unwrap()
}

async fn is_durable(task: JoinHandle<Waited>) -> bool {
    ended(task).await == Waited::Durable
}

#[tokio::test]
async fn one_waits_at_the_log_for_all_and_those_of_later_frames_go_on_waiting() {
    let world = World::new();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(world.wait(world.append(), LONG).await);
    }
    assert_eq!(world.waiting(), (1, 3));
    world.log.commit_once().unwrap();
    let later = world.wait(world.append(), LONG).await;
    settled().await;
    for task in tasks {
        assert!(task.is_finished() && is_durable(task).await);
    }
    assert!(!later.is_finished(), "its frame has not been written");
    assert_eq!(world.waiting(), (1, 1), "it waits at the log now");
    world.log.commit_once().unwrap();
    assert!(is_durable(later).await);
    assert_eq!(world.waiting(), (0, 0));
}

#[tokio::test]
async fn whoever_gives_up_leaves_nobody_without_a_keeper() {
    let world = World::new();
    let mut tasks = Vec::new();
    for _ in 0..6 {
        tasks.push(world.wait(world.append(), LONG).await);
    }
    // The keeper, one that would follow, and the next keeper before it knows that it is.
    for given_up in [0, 2, 1] {
        tasks[given_up].abort();
        if given_up == 2 {
            settled().await;
        }
    }
    settled().await;
    assert_eq!(world.waiting(), (1, 3));
    world.log.commit_once().unwrap();
    for task in tasks.split_off(3) {
        assert!(is_durable(task).await);
    }
    assert_eq!(world.waiting(), (0, 0));
}

#[tokio::test]
async fn a_keeper_that_gives_up_with_its_frame_written_wakes_the_others() {
    let world = World::new();
    let first = world.wait(world.append(), LONG).await;
    let second = world.wait(world.append(), LONG).await;
    world.log.commit_once().unwrap();
    // Woken, and gone before it could tell anyone.
    first.abort();
    settled().await;
    assert!(second.is_finished() && is_durable(second).await);
}

#[tokio::test]
async fn who_waits_for_less_than_the_keeper_does_not_wait_for_the_keeper() {
    let world = World::new();
    let (early, late) = (world.append(), Seq::new(5));
    let keeper = world.wait(late, LONG).await;
    let other = world.wait(Seq::new(6), LONG).await;
    let task = world.wait(early, LONG).await;
    world.log.commit_once().unwrap();
    settled().await;
    assert!(task.is_finished() && is_durable(task).await);
    assert!(!keeper.is_finished() && !other.is_finished());
    for _ in 0..5 {
        world.append();
    }
    world.log.commit_once().unwrap();
    assert!(is_durable(keeper).await && is_durable(other).await);
}

#[tokio::test]
async fn deadlines_are_kept_by_those_that_are_not_the_keeper_too() {
    let world = World::new();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(world.wait(world.append(), SHORT).await);
    }
    let patient = world.wait(world.append(), LONG).await;
    for task in tasks {
        assert_eq!(ended(task).await, Waited::TooSlow, "nothing was written in time");
    }
    assert!(!patient.is_finished());
    world.log.commit_once().unwrap();
    assert!(is_durable(patient).await);
}

/// On a disk that hangs, one that waits for more must not wait for those that keep coming for less.
#[tokio::test]
async fn a_deadline_is_not_put_off_by_later_waits_for_less() {
    let world = World::new();
    let (less, more) = (world.append(), world.append());
    let first = world.wait(less, SHORT).await;
    let began = Instant::now();
    let task = world.wait(more, SHORT).await;
    let mut later = Vec::new();
    while !task.is_finished() && began.elapsed() < SHORT * 10 {
        later.push(world.wait(less, SHORT).await);
        tokio::time::sleep(SHORT / 4).await;
    }
    assert!(began.elapsed() < SHORT * 5, "{:?}", began.elapsed());
    for task in later.into_iter().chain([first, task]) {
        assert_eq!(ended(task).await, Waited::TooSlow);
    }
}

#[tokio::test]
async fn a_log_that_fails_or_ends_is_told_to_everyone() {
    let world = World::new();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(world.wait(world.append(), LONG).await);
    }
    world.storage.fail_at(world.storage.op_count(), Fault::Eio);
    world.log.commit_once().unwrap_err();
    for task in tasks {
        let told = ended(task).await;
        assert!(matches!(told, Waited::Failed(WaitError::OutcomeUnknown(_))), "{told:?}");
    }
    assert_eq!(world.waiting(), (0, 0));

    let world = World::new();
    let tasks = [world.wait(Seq::new(1), LONG).await, world.wait(Seq::new(2), LONG).await];
    world.log.close().unwrap();
    for task in tasks {
        assert_eq!(ended(task).await, Waited::Failed(WaitError::Closed));
    }
}
