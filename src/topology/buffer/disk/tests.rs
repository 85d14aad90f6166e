//! The store on a disk that is killed, cut off, full and damaged at every step, and the worker in front of it.

use super::block::Builder;
use super::simulated::Disk;
use super::store::{Block, Limits, Recovered, Store};
use super::{DiskSettings, OpenedDisk, READ_AHEAD};
use crate::event::LogEvent;
use crate::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use crate::topology::buffer::{BufferReceiver, BufferSender, BufferSettings, Capacity, WhenFull, buffer_on};
use crate::topology::counts::SinkCounts;
use crate::topology::outcome::{DropReason, Outcome};
use crate::topology::receipts::Receipts;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

/// Segments of a few blocks.
const LIMITS: Limits = Limits { store: 1 << 30, segment: 500 };

fn open(disk: &Disk) -> (Store, Recovered) {
    Store::open(Box::new(disk.clone()), LIMITS).expect("a store always opens")
}

fn numbers(block: &Block) -> Vec<u32> {
    let number = |event: &LogEvent| serde_json::from_str::<HashMap<&str, u32>>(&event.json()).unwrap()["n"];
    block.events.iter().map(number).collect()
}

fn append(store: &mut Store, numbers: impl Iterator<Item = u32>) -> io::Result<()> {
    let mut builder = Builder::new();
    numbers.for_each(|n| builder.push(&LogEvent::from_json(format!("{{\"n\":{n}}}").into()).unwrap()));
    store.append(&mut builder)
}

/// What must be there, what may be, and what must not.
#[derive(Clone, Debug, Default)]
struct Model {
    next: u32,
    /// Appended, and not answered for. Each with whether it was synced.
    there: BTreeMap<u32, bool>,
    /// Nobody knows: an append or an answer was under way when the process ended.
    maybe: BTreeSet<u32>,
    /// Blocks that the sink has.
    taken: Vec<(u64, Vec<u32>)>,
    /// There was no power once: blocks that were not synced may be damaged.
    was_cut: bool,
    /// The last number that was read since the store was opened.
    last: Option<u32>,
}

#[derive(Clone, Debug)]
enum Step {
    Append(u32),
    Sync,
    Read,
    /// The block at this place of those that were read.
    Ack(usize),
    DropOldest,
    Reopen,
    /// After so many steps of the disk, in so many quarters.
    KillIn(u64, usize),
    CutPowerIn(u64, usize),
}

impl Model {
    /// Does it, and checks what can be seen. A killed store fails, and is opened anew.
    fn step(&mut self, step: &Step, store: &mut Store, disk: &Disk) -> io::Result<()> {
        match step {
            Step::Append(count) => {
                let range = self.next..self.next + count;
                self.next = range.end;
                match append(store, range.clone()) {
                    Ok(()) => self.there.extend(range.map(|n| (n, false))),
                    Err(error) => {
                        self.maybe.extend(range);
                        return Err(error);
                    }
                }
            }
            Step::Sync => {
                store.sync()?;
                self.there.values_mut().for_each(|synced| *synced = true);
            }
            Step::Read => {
                let block = store.next();
                assert!(store.take_damaged() == 0 || self.was_cut);
                let Some(block) = block? else { return Ok(()) };
                let numbers = numbers(&block);
                assert!(self.last < numbers.first().copied(), "{numbers:?} after {:?}", self.last);
                for n in &numbers {
                    assert!(self.there.contains_key(n) || self.maybe.contains(n), "{n} is not expected");
                }
                self.last = numbers.last().copied();
                self.taken.push((block.sequence, numbers));
            }
            Step::Ack(at) => {
                if self.taken.is_empty() {
                    return Ok(());
                }
                let (sequence, numbers) = self.taken.remove(at % self.taken.len());
                for n in &numbers {
                    self.there.remove(n);
                    self.maybe.insert(*n);
                }
                store.ack(sequence)?;
                numbers.iter().for_each(|n| self.maybe.retain(|maybe| maybe != n));
            }
            Step::DropOldest => {
                let before = store.events();
                let taken: BTreeSet<u32> =
                    self.taken.iter().flat_map(|(_, numbers)| numbers.clone()).collect();
                store.set_limits(Limits { store: store.bytes().max(1), ..LIMITS });
                let dropped = store.drop_oldest(1);
                store.set_limits(LIMITS);
                if disk.is_dead() {
                    self.maybe.extend(std::mem::take(&mut self.there).into_keys());
                    return Ok(());
                }
                assert_eq!(before - store.events(), dropped, "dropped events are counted");
                let unread: Vec<u32> =
                    self.there.keys().chain(&self.maybe).filter(|n| !taken.contains(n)).copied().collect();
                for n in unread {
                    // Which of them, a later read shows.
                    self.there.remove(&n);
                    self.maybe.insert(n);
                }
            }
            Step::Reopen | Step::KillIn(..) | Step::CutPowerIn(..) => {}
        }
        Ok(())
    }

    /// Another process opens the store. `is_cut`: there was no power meanwhile.
    fn reopened(&mut self, is_cut: bool) {
        self.last = None;
        self.taken.clear();
        if is_cut {
            self.was_cut = true;
            let (there, lost) = std::mem::take(&mut self.there).into_iter().partition(|(_, synced)| *synced);
            let lost: BTreeMap<u32, bool> = lost;
            self.there = there;
            self.maybe.extend(lost.into_keys());
            // Answers that were not synced are forgotten.
            self.maybe.extend(0..self.next);
            self.maybe.retain(|n| !self.there.contains_key(n));
        }
    }

    /// Reads everything, in a new process: all that must be there is, and in order.
    fn finish(mut self, disk: &Disk) {
        self.reopened(false);
        let (mut store, recovered) = open(disk);
        let mut seen = BTreeSet::new();
        while let Some(block) = store.next().unwrap() {
            for n in numbers(&block) {
                assert!(self.there.contains_key(&n) || self.maybe.contains(&n), "{n} is not expected");
                assert!(seen.insert(n), "{n} comes twice");
            }
            store.ack(block.sequence).unwrap();
        }
        let damaged = store.take_damaged();
        assert_eq!(recovered.events, seen.len() as u64 + damaged);
        assert!(damaged == 0 || self.was_cut);
        for n in self.there.keys() {
            assert!(seen.contains(n), "{n} is lost");
        }
        store.sweep().unwrap();
        assert_eq!(disk.contents().len(), 0, "nothing is left, and nothing needs deleting by hand");
    }
}

fn run(steps: &[Step], disk: &Disk) -> Model {
    let mut model = Model::default();
    let (mut store, _) = open(disk);
    let mut is_cut = false;
    let mut luck = {
        let mut state = 88_172_645_463_325_252_u64;
        move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        }
    };
    for step in steps {
        match step {
            Step::KillIn(after, quarters) | Step::CutPowerIn(after, quarters) => {
                disk.kill_at(disk.steps() + after, *quarters);
                is_cut = matches!(step, Step::CutPowerIn(..));
            }
            _ => {}
        }
        let result = model.step(step, &mut store, disk);
        assert!(result.is_ok() || disk.is_dead(), "{step:?}: {result:?}");
        if disk.is_dead() || matches!(step, Step::Reopen) {
            drop(store);
            if disk.is_dead() && is_cut {
                disk.cut_power(&mut luck);
            }
            model.reopened(disk.is_dead() && is_cut);
            disk.revive();
            store = open(disk).0;
        }
    }
    drop(store);
    disk.revive();
    model
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..6_u32).prop_map(Step::Append),
        2 => Just(Step::Sync),
        5 => Just(Step::Read),
        4 => (0..8_usize).prop_map(Step::Ack),
        1 => Just(Step::DropOldest),
        1 => Just(Step::Reopen),
        1 => (0..12_u64, 0..5_usize).prop_map(|(after, quarters)| Step::KillIn(after, quarters)),
        1 => (0..12_u64, 0..5_usize).prop_map(|(after, quarters)| Step::CutPowerIn(after, quarters)),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_nothing_is_lost_that_was_kept(steps in steps()) {
        let disk = Disk::default();
        run(&steps, &disk).finish(&disk);
    }
}

/// The way of some blocks through three segments, with a process killed at each step of the disk.
#[test]
fn a_kill_at_each_step_of_writing_turning_and_deleting() {
    use Step::{Ack, Append, Read, Reopen, Sync};
    let mut steps = Vec::new();
    for round in 0..12 {
        steps.extend([Append(3), Append(2), Sync, Read, Read]);
        if round > 2 {
            steps.extend([Ack(0), Ack(1)]);
        }
        if round == 8 {
            steps.push(Reopen);
        }
    }
    steps.extend((0..40).flat_map(|_| [Read, Ack(0)]));
    let disk = Disk::default();
    run(&steps, &disk).finish(&disk);
    let all = disk.steps();
    assert!(all > 60, "{all} steps");
    for is_cut in [false, true] {
        for step in 0..=all {
            for quarters in 0..=4 {
                let disk = Disk::default();
                let kill =
                    if is_cut { Step::CutPowerIn(step, quarters) } else { Step::KillIn(step, quarters) };
                let steps = [&[kill], &steps[..]].concat();
                run(&steps, &disk).finish(&disk);
            }
        }
    }
}

/// Forty blocks of two events, in segments of some.
fn filled() -> Vec<(String, Vec<u8>)> {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    for n in 0..40 {
        append(&mut store, 2 * n..2 * n + 2).unwrap();
    }
    disk.contents()
}

fn read_all(disk: &Disk) -> (Vec<u32>, Recovered, u64) {
    let (mut store, recovered) = open(disk);
    let (mut read, mut damaged) = (Vec::new(), 0);
    while let Some(block) = store.next().unwrap() {
        read.extend(numbers(&block));
        store.ack(block.sequence).unwrap();
    }
    damaged += store.take_damaged();
    store.sweep().unwrap();
    assert_eq!(disk.contents().len(), 0, "nothing needs deleting by hand");
    (read, recovered, damaged)
}

#[test]
fn damage_costs_what_it_hits() {
    let contents = filled();
    assert!(contents.len() > 5, "{} segments", contents.len());
    let block = contents[0].1.windows(4).skip(1).position(|bytes| bytes == super::block::MARK).unwrap() + 1;
    for (at, (_, bytes)) in contents.iter().enumerate() {
        for offset in (at % 3..bytes.len()).step_by(3) {
            let mut damaged = contents.clone();
            damaged[at].1[offset] ^= 1 << (offset % 8);
            let (read, recovered, lost) = read_all(&Disk::with_contents(&damaged));
            assert!(read.is_sorted() && read.len() >= 78, "{offset} of {at}: {} read", read.len());
            // Known as lost, or never known of: then the bytes are told.
            assert_eq!(recovered.events, read.len() as u64 + lost, "{offset} of {at}");
            assert!(recovered.events == 80 || recovered.damaged > 0, "{offset} of {at}");
        }
        // Noise over some of it, of the length of two blocks.
        for offset in (0..bytes.len().saturating_sub(2 * block)).step_by(29) {
            let mut damaged = contents.clone();
            for (n, byte) in damaged[at].1[offset..offset + 2 * block].iter_mut().enumerate() {
                *byte = (n * 37 + offset) as u8;
            }
            let (read, ..) = read_all(&Disk::with_contents(&damaged));
            assert!(read.is_sorted() && read.len() >= 80 - 3 * 2, "{offset} of {at}: {} read", read.len());
        }
        // And the file cut off.
        for length in (0..bytes.len()).step_by(5) {
            let mut damaged = contents.clone();
            damaged[at].1.truncate(length);
            let (read, ..) = read_all(&Disk::with_contents(&damaged));
            let lost = (bytes.len() - length).div_ceil(block) * 2;
            assert!(read.len() >= 80 - lost, "{length} of {at}: {} read", read.len());
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_taken() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    disk.set_room(Some(1300));
    let mut kept = Vec::new();
    let mut refused = 0;
    for n in 0..40 {
        match append(&mut store, n..n + 1) {
            Ok(()) => kept.push(n),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                refused += 1;
                // Room comes back as blocks are answered for.
                if refused % 5 == 0 {
                    while let Some(block) = store.next().unwrap() {
                        let numbers = numbers(&block);
                        kept.retain(|n| !numbers.contains(n));
                        store.ack(block.sequence).unwrap();
                    }
                    store.sweep().unwrap();
                }
            }
        }
    }
    assert!(refused >= 5, "{refused} refused");
    drop(store);
    let (read, recovered, damaged) = read_all(&disk);
    assert_eq!((read, recovered.damaged, damaged), (kept, 0, 0));
}

#[test]
fn a_disk_that_is_read_only_or_unreadable_is_an_error_and_no_loss() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    (0..10).for_each(|n| append(&mut store, n..n + 1).unwrap());
    let block = store.next().unwrap().unwrap();
    disk.set_read_only(true);
    append(&mut store, 10..11).unwrap_err();
    store.sync().unwrap_err();
    store.ack(block.sequence).unwrap_err();
    disk.set_read_only(false);
    disk.set_unreadable(true);
    store.next().unwrap_err();
    disk.set_unreadable(false);
    // The first comes again: its answer was not written.
    drop(store);
    assert_eq!(read_all(&disk).0, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_cannot_be_read_is_given_up_and_counted() {
    let disk = Disk::with_contents(&filled());
    let (mut store, _) = open(&disk);
    let mut read = Vec::new();
    disk.set_unreadable(true);
    store.next().unwrap_err();
    store.skip_segment();
    disk.set_unreadable(false);
    while let Some(block) = store.next().unwrap() {
        read.extend(numbers(&block));
    }
    let lost = store.take_damaged();
    assert!(lost > 0 && lost < 20, "{lost} lost");
    assert_eq!(read, (lost as u32..80).collect::<Vec<_>>());
}

#[test]
fn the_oldest_unread_blocks_make_room() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    for n in 0..40 {
        append(&mut store, n..n + 1).unwrap();
    }
    let taken = store.next().unwrap().unwrap();
    store.set_limits(Limits { store: 2000, ..LIMITS });
    let dropped = store.drop_oldest(100);
    assert!(store.has_room(100) && dropped > 0);
    let mut left = Vec::new();
    while let Some(block) = store.next().unwrap() {
        left.extend(numbers(&block));
    }
    assert_eq!(left, (1 + dropped as u32..40).collect::<Vec<_>>());
    assert_eq!(numbers(&taken), [0]);
    // What the sink has is still there, and nothing that was dropped.
    drop(store);
    assert_eq!(read_all(&disk).0, [vec![0], left].concat());
}

#[test]
fn damage_in_the_segment_that_is_written_is_counted() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    (0..3).for_each(|n| append(&mut store, 2 * n..2 * n + 2).unwrap());
    assert_eq!(disk.contents().len(), 1);
    // The header of the last block.
    let block = disk.contents()[0].1.len() / 3;
    disk.damage(2 * block);
    let mut read = Vec::new();
    while let Some(block) = store.next().unwrap() {
        read.extend(numbers(&block));
        store.ack(block.sequence).unwrap();
    }
    assert_eq!((read, store.take_damaged()), (vec![0, 1, 2, 3], 2));
    assert!(!store.has_more(), "there is nothing to wait for");
    append(&mut store, 6..7).unwrap();
    assert_eq!(numbers(&store.next().unwrap().unwrap()), [6]);
}

#[test]
fn a_block_that_is_put_back_keeps_its_place() {
    for is_damaged in [false, true] {
        let disk = Disk::default();
        let (mut store, _) = open(&disk);
        append(&mut store, 0..2).unwrap();
        let first = store.next().unwrap().unwrap();
        assert!(!store.has_more());
        assert_eq!((store.put_back(first.sequence), store.put_back(first.sequence)), (2, 0));
        assert!(store.has_more() && store.events() == 2 && store.unread() == 0);
        assert!(store.next().unwrap().is_none(), "it is not another's turn");
        disk.set_unreadable(true);
        store.read_again(first.sequence).unwrap_err();
        disk.set_unreadable(false);
        if is_damaged {
            disk.damage(super::block::HEADER + 30);
            assert!(store.read_again(first.sequence).unwrap().is_none());
            assert_eq!(store.take_damaged(), 2);
        } else {
            let again = store.read_again(first.sequence).unwrap().unwrap();
            assert_eq!((again.sequence, numbers(&again)), (first.sequence, vec![0, 1]));
            assert!(!store.has_more() && store.read_again(first.sequence).unwrap().is_none());
            store.ack(first.sequence).unwrap();
        }
        assert!(store.is_empty() && store.events() == 0);
    }
}

// === the worker ===

fn events(numbers: std::ops::Range<u32>) -> Vec<LogEvent> {
    numbers.map(|n| LogEvent::from_json(format!("{{\"n\":{n}}}").into()).unwrap()).collect()
}

const MEMORY: BufferSettings =
    BufferSettings { capacity: Capacity::Events(100), when_full: WhenFull::Block, acknowledges: true };

/// A buffer on this disk, of this size.
fn buffer(
    disk: &Disk,
    max_size: u64,
    is_overflow: bool,
) -> (BufferSender, BufferReceiver, Arc<SinkCounts>, DiskSettings) {
    let settings =
        DiskSettings { sink: "out".to_owned(), directory: "/nowhere".into(), max_size, is_overflow };
    let limits = Limits { store: max_size, ..LIMITS };
    let store = Store::open(Box::new(disk.clone()), limits).map_err(|error| error.to_string());
    let opened = OpenedDisk { settings: settings.clone(), store };
    let counts = Arc::<SinkCounts>::default();
    let (sender, receiver) = buffer_on(MEMORY, Some(opened), Arc::clone(&counts));
    (sender, receiver, counts, settings)
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it takes too long")
}

/// Waits until the disk of this buffer is so.
async fn until(sender: &BufferSender, is_so: impl Fn(&super::Disk) -> bool) {
    let wait = async {
        while !sender.0.state().disk.as_ref().is_some_and(&is_so) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(wait).await;
}

#[tokio::test]
async fn at_the_end_the_backlog_is_not_read_before_the_rest_is_written() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    (0..500).for_each(|n| append(&mut store, 2 * n..2 * n + 2).unwrap());
    drop(store);
    let (sender, receiver, counts, _) = buffer(&disk, 1 << 30, true);
    sender.send(events(1000..1100)).await;
    until(&sender, |disk| disk.ready.len() == READ_AHEAD).await;
    let reads = disk.reads();
    // The sink is ended, while whoever feeds it is still there.
    drop(receiver);
    in_time(sender.disk().unwrap().close()).await;
    assert_eq!(disk.reads(), reads, "nobody would take what is read");
    assert_eq!(open(&disk).0.events(), 1100);
    let books = counts.snapshot();
    assert!(books.is_durable && books.buffered == 1100 && books.lost() == 0, "{books}");
}

#[tokio::test]
async fn what_fails_is_given_out_again() {
    let disk = Disk::default();
    let (sender, mut receiver, counts, _) = buffer(&disk, 1 << 30, false);
    sender.send(events(0..3)).await;
    let mut first = in_time(receiver.recv()).await.unwrap();
    assert_eq!(first.len(), 3);
    counts.settle_events(first.drain(..1).collect(), &Outcome::Delivered);
    // As a letter that finds no room: it has been counted as refused.
    counts.settle_events(first.drain(..1).collect(), &Outcome::Dropped(DropReason::BufferFull));
    let mut left = Receipts::new(Arc::clone(&counts));
    first.into_iter().for_each(|event| left.push(event));
    drop(left);
    // Whoever feeds it ends meanwhile.
    until(&sender, |disk| disk.has_more).await;
    drop(sender);
    let again = in_time(receiver.recv()).await.unwrap();
    assert_eq!(again.len(), 3);
    counts.settle_events(again, &Outcome::Delivered);
    assert!(in_time(receiver.recv()).await.is_none());
    let books = counts.snapshot();
    // Those that had been counted came in twice.
    let found = (books.received, books.delivered, books.dropped_total(), books.buffered);
    assert_eq!(found, (5, 4, 1, 0), "{books}");
}

#[tokio::test]
async fn what_is_not_written_in_time_is_lost_and_counted_once() {
    for fails_after_all in [false, true] {
        let disk = Disk::default();
        let (sender, receiver, counts, _) = buffer(&disk, 1 << 30, false);
        disk.set_stuck(true);
        sender.send(events(0..10)).await;
        until(&sender, |disk| disk.unwritten == 10).await;
        sender.send(events(10..15)).await;
        drop(receiver);
        counts.give_up();
        let buffer = sender.disk().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), buffer.close()).await.is_err());
        assert_eq!((buffer.give_up(), buffer.give_up()), (15, 0));
        let check = || {
            let books = counts.snapshot();
            assert_eq!((books.dropped_for(DropReason::Shutdown), books.buffered), (15, 0), "{books}");
        };
        check();
        // Nobody waits any more; all the same, they are not counted twice.
        disk.set_read_only(fails_after_all);
        disk.set_stuck(false);
        in_time(buffer.close()).await;
        check();
    }
}

#[tokio::test]
async fn other_settings_reach_a_full_disk() {
    for is_larger in [false, true] {
        let disk = Disk::default();
        let (sender, receiver, counts, settings) = buffer(&disk, 2000, false);
        let feeder = sender.clone();
        let feeding = tokio::spawn(async move {
            for n in 0..200 {
                feeder.send(events(n * 10..n * 10 + 10)).await;
            }
        });
        // What the worker has taken has no room, and what waits for it has none either.
        until(&sender, |disk| disk.unwritten > 0 && disk.queue.size() == 100).await;
        let (_receiver, dropped) = if is_larger {
            sender.set_disk(Some(&DiskSettings { max_size: 1 << 30, ..settings }), None);
            (receiver, 0)
        } else {
            (sender.hand_over(BufferSettings { when_full: WhenFull::DropNewest, ..MEMORY }), 500)
        };
        in_time(feeding).await.unwrap();
        until(&sender, |disk| disk.queue.is_empty() && disk.unwritten == 0).await;
        let books = counts.snapshot();
        assert!(books.dropped_for(DropReason::BufferFull) >= dropped && books.received == 2000, "{books}");
        assert_eq!(books.dropped_total() == 0, is_larger, "{books}");
    }
}

#[tokio::test]
async fn from_disk_to_memory_and_back() {
    let disk = Disk::default();
    let (sender, mut receiver, counts, _) = buffer(&disk, 1 << 30, false);
    let (batch, answer) = BatchNotifier::new_with_receiver();
    let owed =
        events(0..1).into_iter().map(|event| event.with_finalizers(EventFinalizers::new(Arc::clone(&batch))));
    let owed = owed.collect();
    drop(batch);
    sender.send(owed).await;
    let taken = in_time(receiver.recv()).await.unwrap();
    sender.set_disk(None, None);
    counts.settle_events(taken, &Outcome::Delivered);
    assert_eq!(in_time(answer).await, Ok(EventStatus::Delivered), "it is synced before it ends");
    until(&sender, |disk| !disk.is_open()).await;
    assert!(!counts.snapshot().is_durable);

    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("buffer/out");
    let settings = DiskSettings { sink: "out".to_owned(), directory, max_size: 1 << 30, is_overflow: false };
    let other = settings.clone().open().unwrap();
    sender.set_disk(Some(&settings), None);
    assert!(sender.disk().is_none(), "somebody else has it");
    drop(other);
    sender.set_disk(Some(&settings), None);
    assert!(sender.disk().is_some() && counts.snapshot().is_durable);
    sender.send(events(1..2)).await;
    assert_eq!(in_time(receiver.recv()).await.unwrap().len(), 1);
    // What apps log is nobody else's business.
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.path().join("buffer")), mode(&settings.directory)), (0o700, 0o700));
    let files: Vec<_> =
        std::fs::read_dir(&settings.directory).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    files.iter().for_each(|file| assert_eq!(mode(file), 0o600));
}
