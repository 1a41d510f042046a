//! The server's side, sentence by sentence of section 8.

use super::*;

#[test]
fn the_first_credit_sets_where_to_begin_and_how_far_to_go() {
    let mut server = Server::new();
    let step = server.open(1, facts(None)).expect("legal");
    assert_eq!(step.orders, [Order::Create { stream: 1 }]);
    assert_eq!(step.answers, [credit(1, 0, 256 * KIB)]);
    let step = server.open(2, facts(100)).expect("legal");
    assert_eq!(step.answers, [credit(2, 0, 100)], "no more than its size");
}

#[test]
fn further_credits_follow_as_the_bytes_are_stored() {
    let mut server = Server::with_stream(None);
    for chunk in 0..4 {
        server.take(1, chunk * 64 * KIB, 64 * KIB);
    }
    assert_eq!(server.stored(1, 64 * KIB - 1).answers, [], "less than a quarter is free");
    assert_eq!(server.stored(1, 1).answers, [credit(1, 64 * KIB, 320 * KIB)]);
    assert_eq!(server.stored(1, 192 * KIB).answers, [credit(1, 256 * KIB, 512 * KIB)]);
    assert_eq!(server.stored(1, u64::MAX).answers, [], "no more than was taken");
}

#[test]
fn the_last_credit_goes_to_the_end() {
    let size = 256 * KIB + 1;
    let mut server = Server::with_stream(size);
    server.take(1, 0, 64 * KIB);
    assert_eq!(server.stored(1, 10).answers, [credit(1, 10, size)]);
    assert_eq!(server.stored(1, 64 * KIB - 10).answers, []);
}

#[test]
fn a_server_short_of_memory_gives_less_from_now_on() {
    let mut server = Server::with_stream(None);
    server.incoming.set_window(0);
    for chunk in 0..4 {
        server.take(1, chunk * 64 * KIB, 64 * KIB);
    }
    assert_eq!(server.stored(1, 192 * KIB).answers, [], "what was given holds");
    assert_eq!(server.stored(1, 64 * KIB).answers, [credit(1, 256 * KIB, 320 * KIB)]);
}

#[test]
fn data_at_a_wrong_offset_is_answered_once_for_each_run_and_changes_nothing() {
    let mut server = Server::with_stream(None);
    server.take(1, 0, 100);
    let step = server.data(1, 50, 100).expect("legal");
    assert_eq!(step.orders, []);
    assert!(matches!(
        &step.answers[..],
        [
            Answer::Status { stream: 1, code: StatusCode::OffsetMismatch, .. },
            Answer::Credit { stream: 1, offset: 100, limit: 262_144 },
        ]
    ));
    assert_eq!(server.data(1, 150, 100), Ok(Step::default()), "the same run");
    assert_eq!(server.incoming.end(1, 250, 0), Ok(Step::default()), "its end");
    server.take(1, 100, 100);
    let step = server.data(1, 300, 1).expect("legal");
    assert_eq!(step.answers.len(), 2, "another run");
}

#[test]
fn when_all_has_come_the_disk_has_the_last_word() {
    let mut server = Server::with_stream(100);
    server.take(1, 0, 100);
    assert_eq!(server.incoming.done(1, "early".into()), Step::default());
    let step = server.incoming.end(1, 100, 7).expect("legal");
    let order = Order::Finish { stream: 1, size: 100, crc32c: 7 };
    assert_eq!(step, Step { orders: vec![order], answers: vec![] });
    let step = server.incoming.done(1, "alice/photo.jpg".into());
    let (stream, code, detail) = (1, StatusCode::Accepted, "alice/photo.jpg".into());
    assert_eq!(step.answers, [Answer::Status { stream, code, detail }]);
    assert_eq!(server.incoming.done(1, "again".into()), Step::default());
}

#[test]
fn a_wrong_checksum_or_a_full_disk_removes_the_part() {
    for code in [StatusCode::Mismatch, StatusCode::NotStored, StatusCode::QuotaExceeded] {
        let mut server = Server::with_stream(0);
        server.incoming.end(1, 0, 7).expect("legal");
        let step = server.incoming.failed(1, code, "words".into());
        assert_eq!(status(&step), (1, code));
        assert_eq!(step.orders, [Order::Remove { stream: 1 }]);
        assert_eq!(server.incoming.failed(1, code, "late".into()), Step::default());
        assert_eq!(server.stored(1, 5), Step::default(), "a late report");
        assert_eq!(server.incoming.reserved(), 0);
    }
}

#[test]
fn a_stream_of_no_bytes_gets_its_credit_too() {
    let mut server = Server::new();
    assert_eq!(server.open(1, facts(0)).expect("legal").answers, [credit(1, 0, 0)]);
    let step = server.incoming.end(1, 0, 0).expect("legal");
    assert_eq!(step.orders, [Order::Finish { stream: 1, size: 0, crc32c: 0 }]);
}

#[test]
fn after_a_resume_it_goes_on_where_the_server_says() {
    let mut server = Server::with_stream(None);
    server.take(1, 0, 64 * KIB);
    server.take(1, 64 * KIB, 64 * KIB);
    server.incoming.lost();
    server.incoming.resumed(server.now);
    assert_eq!(server.stored(1, 100 * KIB).answers, [], "no credit before it is opened again");
    // What was taken is on its way to the disk, and is not to be sent again.
    let step = server.open(1, facts(None)).expect("legal");
    assert_eq!(step, Step { orders: vec![], answers: vec![credit(1, 128 * KIB, 356 * KIB)] });
    server.take(1, 128 * KIB, 10);
}

#[test]
fn after_a_resume_credit_of_the_old_connection_does_not_hold() {
    let mut server = Server::with_stream(None);
    server.incoming.resumed(server.now);
    assert_eq!(code(server.data(1, 0, 1)), ErrorCode::OutOfOrder);
    assert_eq!(code(server.incoming.end(1, 0, 0)), ErrorCode::OutOfOrder);
    assert_eq!(status(&server.incoming.cancel(1)), (1, StatusCode::Cancelled));
}

#[test]
fn one_whose_end_had_come_is_completed_though_the_connection_is_lost() {
    let mut server = Server::with_stream(3);
    server.take(1, 0, 3);
    server.incoming.end(1, 3, 9).expect("legal");
    server.incoming.resumed(server.now);
    assert_eq!(server.open(1, facts(3)).expect("legal").answers, [credit(1, 3, 3)]);
    assert_eq!(server.incoming.end(1, 3, 9), Ok(Step::default()), "the first one counts");
    assert_eq!(status(&server.incoming.done(1, "x".into())), (1, StatusCode::Accepted));
}

#[test]
fn the_last_256_fates_are_told_again() {
    let mut server = Server::new();
    for number in 1..=300 {
        server.open(number, named(if number % 2 == 0 { ".." } else { "a" })).expect("legal");
        server.incoming.cancel(number);
    }
    for number in 45..=300 {
        let step = server.open(number, facts(5)).expect("legal");
        let even = number % 2 == 0;
        let fate = if even { StatusCode::NameNotAllowed } else { StatusCode::Cancelled };
        assert_eq!((status(&step), step.orders.len()), ((number, fate), 0));
    }
    let step = server.open(44, facts(5)).expect("legal");
    assert_eq!(status(&step), (44, StatusCode::Refused), "forgotten, and not taken twice");
}

#[test]
fn quotas_count_what_is_under_way() {
    let mut server = Server::new();
    let step = server.incoming.open(1, facts(101), 100, server.now).expect("legal");
    assert_eq!(status(&step), (1, StatusCode::QuotaExceeded));
    server.incoming.open(2, facts(100), 100, server.now).expect("legal");
    assert_eq!(server.incoming.reserved(), 100, "all of it, from the start");
    server.incoming.open(3, facts(None), 1, server.now).expect("legal");
    server.incoming.data(3, 0, 40, 40, server.now).expect("legal");
    assert_eq!(server.incoming.reserved(), 140);
    let step = server.incoming.data(3, 40, 41, 40, server.now).expect("legal");
    assert_eq!(status(&step), (3, StatusCode::QuotaExceeded));
    assert_eq!(step.orders, [Order::Remove { stream: 3 }]);
    assert_eq!(server.incoming.reserved(), 100);
    for (number, size) in [(4, Some(0)), (5, None)] {
        let step = server.incoming.open(number, facts(size), 0, server.now).expect("legal");
        assert_eq!(status(&step), (number, StatusCode::QuotaExceeded), "it is used up");
    }
}

#[test]
fn a_session_that_is_over_leaves_no_parts() {
    let mut server = Server::with_stream(None);
    server.open(2, facts(0)).expect("legal");
    server.incoming.end(2, 0, 0).expect("legal");
    let step = server.incoming.close();
    assert_eq!(step.orders, [Order::Remove { stream: 1 }], "the other one is complete");
    assert_eq!(server.incoming.count(), 0);
}

#[test]
fn idle_is_who_does_nothing_though_it_could() {
    let second = Duration::from_secs(1);
    let mut server = Server::with_stream(None);
    let start = server.now;
    assert_eq!(server.incoming.due(), Some(start + 60 * second));
    server.now += 50 * second;
    server.data(1, 0, 0).expect("legal");
    assert_eq!(server.incoming.due(), Some(start + 60 * second), "no bytes, no sign of life");
    server.take(1, 0, 64 * KIB);
    assert_eq!(server.incoming.due(), Some(start + 110 * second));
    for chunk in 1..4 {
        server.take(1, chunk * 64 * KIB, 64 * KIB);
    }
    assert_eq!(server.incoming.due(), None, "it waits for the disk");
    server.now += 100 * second;
    server.stored(1, 256 * KIB);
    assert_eq!(server.incoming.due(), Some(start + 210 * second));
    server.incoming.lost();
    assert_eq!(server.incoming.due(), None, "the grace is another matter");
    server.incoming.resumed(server.now);
    assert_eq!(server.incoming.tick(start + 209 * second), Step::default());
    let step = server.incoming.tick(start + 210 * second);
    assert_eq!(status(&step), (1, StatusCode::Cancelled));
    assert_eq!(step.orders, [Order::Remove { stream: 1 }]);
    assert_eq!(server.incoming.due(), None);
}

#[test]
fn one_that_ends_is_not_idle() {
    let mut server = Server::with_stream(0);
    server.incoming.end(1, 0, 0).expect("legal");
    assert_eq!(server.incoming.due(), None);
}

#[test]
fn answers_are_frames() {
    use crate::message::Frame;
    let frame = Frame::StreamCredit { stream: 1, offset: 2, limit: 3 };
    assert_eq!(credit(1, 2, 3).frame(), frame);
    let (stream, code) = (1, StatusCode::Accepted);
    let answer = Answer::Status { stream, code, detail: "a/b".into() };
    assert_eq!(answer.frame(), Frame::StreamStatus { stream, code, detail: "a/b".into() });
}
