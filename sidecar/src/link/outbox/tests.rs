use lubdub_shared::id::{LifeId, ProcessId};
use lubdub_shared::session::SpoolSeen;

use super::super::spool::parse;
use super::*;
use crate::state::Reached;

fn fresh(seed: u64) -> SpoolId {
    SpoolId::random(&mut fastrand::Rng::with_seed(seed))
}

fn note(number: u64) -> Happening {
    Happening::Note { text: number.to_string() }
}

fn life(ordinal: u32) -> Option<Life> {
    let id = LifeId::random(&mut fastrand::Rng::with_seed(u64::from(ordinal)));
    Some(Life { id, ordinal: ordinal.try_into().expect("not 0") })
}

fn started(pid: u32) -> Happening {
    let pid = pid.try_into().expect("not 0");
    Happening::Started { process: ProcessId { pid, start_time: 1 }, used: 0 }
}

/// Writes what waits, as a disk that takes everything.
fn write(outbox: &mut Outbox, file: &mut Vec<u8>) {
    while let Some(write) = outbox.next_write() {
        let ticket = match write {
            Write::Append { ticket, bytes } => {
                file.extend(bytes);
                ticket
            }
            Write::Rewrite { ticket, bytes } => {
                *file = bytes;
                Some(ticket)
            }
        };
        if let Some(ticket) = ticket {
            outbox.written(ticket);
        }
    }
}

fn outbox(events: u64) -> (Outbox, Vec<u8>) {
    let (mut outbox, mut file) = (Outbox::new(Contents::default(), fresh(1)), Vec::new());
    for number in 0..events {
        outbox.push(Wall(0), None, note(number));
    }
    write(&mut outbox, &mut file);
    (outbox, file)
}

fn numbers(message: Option<FromSidecar>) -> Option<(u64, u64)> {
    let Some(FromSidecar::Events { events, .. }) = message else { return None };
    let consecutive = events.windows(2).all(|pair| pair[1].number == pair[0].number + 1);
    assert!(consecutive, "a batch has gaps");
    Some((events.first()?.number, events.last()?.number))
}

#[test]
fn events_go_once_in_order_in_batches() {
    let (mut outbox, _) = outbox(300);
    assert_eq!(numbers(outbox.next(Mono(0))), Some((1, 256)));
    assert_eq!(numbers(outbox.next(Mono(0))), Some((257, 300)));
    assert_eq!(outbox.next(Mono(0)), None);
    outbox.ack(fresh(1), 260, Mono(0));
    assert_eq!(outbox.next(Mono(0)), None, "sent and not acked is not sent again");
    outbox.resume();
    assert_eq!(numbers(outbox.next(Mono(0))), Some((261, 300)));
    outbox.ack(fresh(1), 300, Mono(0));
    assert!(outbox.is_settled());
}

#[test]
fn nothing_goes_before_it_is_on_disk() {
    let (mut outbox, _) = outbox(2);
    assert_eq!(numbers(outbox.next(Mono(0))), Some((1, 2)));
    outbox.push(Wall(0), None, note(3));
    let Some(Write::Append { ticket: Some(ticket), .. }) = outbox.next_write() else {
        panic!("it must be written")
    };
    outbox.push(Wall(0), None, note(4));
    assert_eq!(outbox.next(Mono(0)), None);
    outbox.written(ticket);
    assert_eq!(numbers(outbox.next(Mono(0))), Some((3, 3)), "the fourth came after that write");
}

#[test]
fn a_crash_loses_nothing_and_uses_no_number_twice() {
    let (mut outbox, mut file) = outbox(5);
    outbox.ack(fresh(1), 2, Mono(0));
    outbox.push(Wall(0), None, note(6));
    write(&mut outbox, &mut file);
    let mut next = Outbox::new(parse(&file), fresh(2));
    assert_eq!((next.spool(), next.last()), (fresh(1), 6));
    write(&mut next, &mut file);
    assert_eq!(numbers(next.next(Mono(0))), Some((3, 6)));
    next.ack(fresh(1), 6, Mono(0));
    next.rewrite();
    write(&mut next, &mut file);
    let mut third = Outbox::new(parse(&file), fresh(3));
    assert!(third.is_settled());
    third.push(Wall(0), None, note(7));
    write(&mut third, &mut file);
    assert_eq!(numbers(third.next(Mono(0))), Some((7, 7)));
}

#[test]
fn a_sick_disk_starts_a_spool_in_memory_and_comes_back_whole() {
    let (mut outbox, mut file) = outbox(2);
    assert_eq!(numbers(outbox.next(Mono(0))), Some((1, 2)));
    outbox.push(Wall(0), None, note(3));
    assert!(outbox.next_write().is_some());
    outbox.fail(fresh(2));
    let Some(FromSidecar::Events { spool, events }) = outbox.next(Mono(0)) else {
        panic!("it goes")
    };
    assert_eq!((spool, events[0].number), (fresh(2), 1), "its old number may be used again");
    outbox.push(Wall(0), None, note(4));
    assert_eq!(outbox.next_write(), None, "nothing is tried until somebody says so");
    assert_eq!(numbers(outbox.next(Mono(0))), Some((2, 2)));
    // A crash now: the disk knows the old spool, and goes on in it.
    assert_eq!(Outbox::new(parse(&file), fresh(9)).last(), 2);
    outbox.rewrite();
    outbox.push(Wall(0), None, note(5));
    let Some(Write::Rewrite { ticket, bytes }) = outbox.next_write() else { panic!("whole") };
    assert_eq!(outbox.next(Mono(0)), None, "the fifth waits for the disk again");
    outbox.written(ticket);
    file = bytes;
    assert_eq!(numbers(outbox.next(Mono(0))), Some((3, 3)));
    let contents = parse(&file);
    assert_eq!((contents.spool, contents.last), (Some(fresh(2)), 3));
    let spools: Vec<_> = contents.events.iter().map(|(spool, e)| (*spool, e.number)).collect();
    let (old, new) = (fresh(1), fresh(2));
    assert_eq!(spools, [(old, 1), (old, 2), (new, 1), (new, 2), (new, 3)]);
}

#[test]
fn a_full_outbox_drops_earlier_lives_first_and_says_so() {
    let (mut outbox, mut file) = (Outbox::new(Contents::default(), fresh(1)), Vec::new());
    for number in 0..4000 {
        outbox.push(Wall(0), life(1), note(number));
    }
    outbox.push(Wall(0), life(2), started(2));
    for number in 0..200 {
        outbox.push(Wall(0), life(2), note(number));
    }
    assert_eq!(outbox.dropped(), 256);
    write(&mut outbox, &mut file);
    let kept = |outbox: &Outbox| outbox.events.iter().filter(|(_, e)| e.life == life(2)).count();
    assert_eq!(kept(&outbox), 201, "nothing of the life that runs was dropped");
    while let Some(FromSidecar::Events { events, .. }) = outbox.next(Mono(0)) {
        assert!(events.windows(2).all(|pair| pair[1].number > pair[0].number));
    }
    outbox.ack(fresh(1), 2000, Mono(0));
    outbox.push(Wall(0), life(2), note(5000));
    let texts: Vec<&str> = outbox
        .events
        .iter()
        .filter_map(|(_, event)| {
            let Happening::Note { text } = &event.what else { return None };
            text.contains("full").then_some(text.as_str())
        })
        .collect();
    assert_eq!(texts, ["the spool was full: 256 events were dropped"]);
}

#[test]
fn of_one_life_its_start_stays_to_the_last() {
    let mut outbox = Outbox::new(Contents::default(), fresh(1));
    outbox.push(Wall(0), life(1), started(1));
    for number in 0..9000 {
        outbox.push(Wall(0), life(1), note(number));
    }
    assert!(outbox.events.len() <= 4096);
    assert!(matches!(outbox.events[0].1.what, Happening::Started { .. }));
}

fn seen(newest: u64, lost: &[std::ops::RangeInclusive<u64>]) -> SpoolSeen {
    SpoolSeen { newest, foreign: false, lost: lost.to_vec() }
}

#[test]
fn what_a_store_lost_goes_again_before_what_waits() {
    type Row<'a> = (u64, &'a [std::ops::RangeInclusive<u64>], &'a [u64]);
    let table: [Row<'_>; 5] = [
        (6, &[], &[7, 8]),
        (4, &[], &[5, 6, 7, 8]),
        (6, &[2..=3], &[2, 3, 7, 8]),
        (5, &[1..=1, 4..=4, 90..=99], &[1, 4, 6, 7, 8]),
        (0, &[], &[1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    for (newest, lost, goes) in table {
        let (mut outbox, mut file) = outbox(8);
        assert_eq!(numbers(outbox.next(Mono(0))), Some((1, 8)));
        outbox.ack(fresh(1), 6, Mono(0));
        outbox.resume();
        assert!(!outbox.compare(&seen(newest, lost), fresh(2)), "the same spool");
        write(&mut outbox, &mut file);
        let Some(FromSidecar::Events { spool, events }) = outbox.next(Mono(0)) else {
            panic!("they go")
        };
        let numbers: Vec<u64> = events.iter().map(|event| event.number).collect();
        assert_eq!((spool, numbers.as_slice()), (fresh(1), goes), "{newest} {lost:?}");
        outbox.ack(fresh(1), 8, Mono(0));
        assert!(outbox.is_settled());
        assert_eq!(outbox.last(), 8, "no number is used twice");
    }
}

#[test]
fn what_another_store_acked_is_not_told_to_this_one() {
    let (mut outbox, _) = outbox(3);
    assert!(outbox.next(Mono(0)).is_some());
    outbox.ack(fresh(1), 3, Mono(0));
    outbox.forget_kept();
    assert!(!outbox.compare(&seen(0, &[]), fresh(2)));
    assert!(outbox.is_settled());
}

/// The state was put back from a copy: its numbers are used already. What waits in it may have been
/// told or not; all of it goes again, but for what another agent's spool held.
#[test]
fn numbers_that_went_back_are_given_up_for_a_new_spool() {
    for (newest, foreign, goes) in [(9, false, 0..=4), (0, true, 4..=4)] {
        let (_, mut file) = outbox(4);
        let mut outbox = Outbox::new(parse(&file), fresh(9));
        write(&mut outbox, &mut file);
        outbox.push(Wall(0), None, note(4));
        write(&mut outbox, &mut file);
        assert!(outbox.compare(&SpoolSeen { newest, foreign, lost: Vec::new() }, fresh(2)));
        assert_eq!(outbox.next(Mono(0)), None, "on disk first");
        write(&mut outbox, &mut file);
        let Some(FromSidecar::Events { spool, events }) = outbox.next(Mono(0)) else {
            panic!("it goes")
        };
        let count = events.len() as u64;
        assert!(events.iter().map(|event| event.number).eq(1..=count), "{events:?}");
        assert!(events.into_iter().map(|event| event.what).eq(goes.map(note)), "{newest}");
        let contents = parse(&file);
        let (own, last) = (contents.spool, contents.last);
        assert_eq!((spool, own, last), (fresh(2), Some(fresh(2)), count), "after a crash as well");
    }
}

#[test]
fn a_spool_that_is_shorter_than_it_was_is_told_and_not_gone_on_in() {
    let spool = fresh(1);
    let found = |own: Option<SpoolId>, last| Contents { spool: own, last, ..Contents::default() };
    // What was found, what the state says (last, acked), what is missing.
    let table = [
        (found(Some(spool), 7), (7, 3), None, true),
        (found(Some(spool), 9), (7, 3), None, true),
        (found(Some(spool), 5), (7, 3), Some("6 to 7"), false),
        (found(None, 0), (7, 3), Some("4 to 7"), false),
        (found(Some(fresh(2)), 9), (7, 3), Some("4 to 7"), false),
        (found(None, 0), (7, 7), None, false),
        (found(None, 0), (0, 0), None, true),
    ];
    for (contents, (last, acked), missing, goes_on) in table {
        let mut compared = Contents { ..contents };
        let own = compared.spool;
        compared.compare(Reached { spool, last, acked });
        let told = compared.damage.as_deref();
        assert_eq!(told.is_some(), missing.is_some(), "{told:?}");
        assert!(missing.is_none_or(|missing| told.is_some_and(|told| told.contains(missing))));
        assert_eq!(compared.spool == own, goes_on || own.is_none(), "{told:?}");
    }
}

fn evidence(bytes: usize) -> Happening {
    Happening::Evidence(lubdub_shared::session::Bundle {
        id: "e".to_owned(),
        reason: "r".to_owned(),
        path: "p".to_owned(),
        bytes: bytes as u64,
        command: None,
        sent: vec![7; bytes],
    })
}

/// Bytes of the bundle that goes next.
fn carried(message: Option<FromSidecar>) -> Option<usize> {
    let Some(FromSidecar::Events { events, .. }) = message else { return None };
    let Happening::Evidence(bundle) = &events.first()?.what else { return None };
    Some(bundle.sent.len())
}

#[test]
fn a_bundle_goes_where_the_link_carries_it_in_a_moment() {
    let at = |ms| Mono(0).after(Duration::from_millis(ms));
    for (answered_after, bytes, goes) in
        [(5, 124_000, 124_000), (270, 124_000, 0), (270, 16_000, 16_000)]
    {
        let (mut outbox, mut file) = outbox(0);
        outbox.push(Wall(0), None, evidence(bytes));
        write(&mut outbox, &mut file);
        outbox.hello(2_000, at(0));
        outbox.welcomed(at(answered_after));
        outbox.resume();
        assert_eq!(carried(outbox.next(at(1_000))), Some(goes), "{answered_after} ms");
    }
}

#[test]
fn a_bundle_waits_until_nothing_else_is_on_its_way_and_is_not_tried_twice() {
    let at = |ms| Mono(0).after(Duration::from_millis(ms));
    let (mut outbox, mut file) = outbox(1);
    outbox.push(Wall(0), None, evidence(50_000));
    write(&mut outbox, &mut file);
    outbox.hello(2_000, at(0));
    outbox.welcomed(at(5));
    assert_eq!(numbers(outbox.next(at(10))), Some((1, 1)));
    assert_eq!(outbox.next(at(20)), None, "the first is not acked");
    outbox.ack(fresh(1), 1, at(30));
    assert_eq!(carried(outbox.next(at(40))), Some(50_000));
    // The stream ended in the middle of it.
    outbox.hello(2_000, at(100));
    outbox.welcomed(at(105));
    outbox.resume();
    assert_eq!(carried(outbox.next(at(110))), Some(0), "it stays on the host");
}
