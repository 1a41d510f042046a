//! Records of many origins, readers of many kinds, bounds of both sorts.

use super::*;
use crate::frame::write_frame;

pub(super) fn add(log: &mut Log, origin: SessionId, audience: Audience, body: &[u8]) -> bool {
    let size = 5 + 8 + body.len();
    if !log.make_room(size as u64, u64::MAX) {
        return false;
    }
    log.append(origin, audience, size, |out, seq| {
        write_frame(out, 0x20, |out| {
            out.extend_from_slice(&seq.to_be_bytes());
            out.extend_from_slice(body);
        });
    });
    true
}

const ALL: (u64, usize) = (u64::MAX / 2, usize::MAX);

fn seqs(log: &Log, session: SessionId, from: u64) -> Vec<u64> {
    let mut ranges = Vec::new();
    assert_eq!(log.ranges_for(session, from, log.head(), ALL, &mut ranges), log.head());
    let mut bytes = Vec::new();
    for range in ranges {
        log.copy(range, &mut bytes);
    }
    let mut rest = &bytes[..];
    let mut seqs = Vec::new();
    while !rest.is_empty() {
        seqs.push(u64::from_be_bytes(rest[5..13].try_into().expect("eight bytes")));
        rest = &rest[frame_size(rest)..];
    }
    seqs
}

#[test]
fn each_reader_gets_what_is_meant_for_it_in_order() {
    let mut log = Log::new(1 << 20, 1000);
    for (origin, audience) in [
        (1, Audience::Others),
        (1, Audience::Others),
        (2, Audience::Others),
        (1, Audience::Only(2)),
        (3, Audience::Only(3)),
        (2, Audience::Others),
    ] {
        assert!(add(&mut log, origin, audience, b"body"));
    }
    assert_eq!(seqs(&log, 1, 0), [3, 6]);
    assert_eq!(seqs(&log, 2, 0), [1, 2, 4]);
    assert_eq!(seqs(&log, 3, 0), [1, 2, 3, 5, 6]);
    assert_eq!(seqs(&log, 9, 0), [1, 2, 3, 6]);
}

#[test]
fn an_answer_can_be_had_in_pieces_that_join_without_a_gap() {
    let mut log = Log::new(1 << 20, 1000);
    for number in 0..50u64 {
        add(&mut log, number % 3, Audience::Others, &vec![0; (number * 7 % 40) as usize]);
    }
    for most in [1, 13, 64, 1000] {
        for pieces in [1, 2, 7] {
            let (mut from, mut bytes) = (0, Vec::new());
            while from < log.head() {
                let mut ranges = Vec::new();
                let until = log.ranges_for(1, from, log.head(), (most, pieces), &mut ranges);
                assert!(until > from && ranges.len() <= pieces);
                for range in ranges {
                    log.copy(range, &mut bytes);
                }
                from = until;
            }
            let mut whole = Vec::new();
            let mut ranges = Vec::new();
            log.ranges_for(1, 0, log.head(), ALL, &mut ranges);
            for range in ranges {
                log.copy(range, &mut whole);
            }
            assert_eq!(bytes, whole, "most {most}, pieces {pieces}");
        }
    }
}

#[test]
fn bounded_by_records_and_by_bytes_and_held_up_by_the_floor() {
    let mut log = Log::new(1 << 20, 10);
    for number in 0..30 {
        add(&mut log, number, Audience::Others, b"x");
        assert!(log.records() <= 10);
    }
    assert_eq!(seqs(&log, 99, log.oldest()), (21..=30).collect::<Vec<_>>());

    let mut log = Log::new(100_000, u64::MAX);
    let mut most_memory = 0;
    for number in 0..10_000u64 {
        add(&mut log, number % 7, Audience::Others, &[0; 100]);
        assert!(log.bytes() <= 100_000);
        most_memory = most_memory
            .max(log.segments.iter().map(|segment| segment.bytes.capacity()).sum::<usize>());
    }
    assert!(most_memory <= 100_000 + 2 * log.segment_size, "{most_memory}");

    let floor = log.oldest();
    assert!(!log.make_room(50_000, floor));
    let line = log.line_for(50_000);
    assert!(!log.make_room(50_000, line - 1));
    assert!(log.make_room(50_000, line));
    assert!(log.oldest() <= line);
}

#[test]
fn boundaries_are_found_from_any_byte() {
    let mut log = Log::new(1 << 20, 1000);
    let mut edges = vec![0];
    for number in 0..40u64 {
        add(&mut log, number / 5, Audience::Others, &vec![0; (number % 9) as usize * 700]);
        edges.push(log.head());
    }
    for position in 0..=log.head() {
        let expected = edges[edges.partition_point(|edge| *edge < position)];
        assert_eq!(log.boundary_at(position), expected, "from {position}");
    }
}

#[test]
fn the_latest_for_a_newcomer() {
    let mut log = Log::new(1 << 20, 1000);
    for (origin, audience) in [
        (1, Audience::Others),
        (1, Audience::Others),
        (2, Audience::Only(1)),
        (1, Audience::Others),
        (2, Audience::Others),
    ] {
        add(&mut log, origin, audience, b"history");
    }
    for (count, expected) in
        [(0, &[][..]), (1, &[5]), (2, &[4, 5]), (3, &[2, 4, 5]), (9, &[1, 2, 4, 5])]
    {
        assert_eq!(seqs(&log, 7, log.latest_for(7, count)), expected, "the latest {count}");
    }
}

#[test]
fn a_record_larger_than_the_log_gets_its_place_alone() {
    let mut log = Log::new(10_000, 1000);
    add(&mut log, 1, Audience::Others, b"small");
    assert!(add(&mut log, 2, Audience::Others, &vec![0; 50_000]));
    assert_eq!(seqs(&log, 9, log.oldest()), [2]);
}
