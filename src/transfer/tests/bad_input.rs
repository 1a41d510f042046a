//! What a hostile or broken client may do, one by one.

use super::*;
use crate::transfer::DATA_MAX;

#[test]
fn names_that_are_not_allowed_use_their_number() {
    let mut server = Server::new();
    let long = "x".repeat(300);
    let bad = [
        "../x",
        "/etc/passwd",
        "x.part",
        "a/b",
        "a\\b",
        "..",
        ".",
        "",
        &long,
        "a\0",
        "a\nb",
        "\u{1b}[2J",
        "CON",
    ];
    for (number, name) in (1..).zip(bad) {
        let step = server.open(number, named(name)).expect("legal");
        assert_eq!(status(&step), (number, StatusCode::NameNotAllowed), "{name:?}");
        assert_eq!(step.orders, []);
        assert_eq!(server.data(number, 0, 1), Ok(Step::default()), "data for it is ignored");
        assert_eq!(server.incoming.end(number, 1, 0), Ok(Step::default()));
    }
}

#[test]
fn a_size_beyond_the_limit_is_refused() {
    let mut server = Server::new();
    for (number, size) in [(1, (1 << 20) + 1), (2, u64::MAX - 1)] {
        let step = server.open(number, facts(size)).expect("legal");
        assert_eq!(status(&step), (number, StatusCode::TooLarge));
    }
    assert_eq!(server.open(3, facts(1 << 20)).expect("legal").orders.len(), 1);
}

#[test]
fn one_more_than_the_maximum_at_once_is_refused() {
    let mut server = Server::new();
    for number in 1..=2 {
        server.open(number, facts(None)).expect("legal");
    }
    let step = server.open(3, facts(1)).expect("legal");
    assert_eq!(status(&step), (3, StatusCode::TooMany));
    // Those never send, and are given up together.
    let step = server.incoming.tick(server.now + Duration::from_secs(60));
    assert_eq!((step.orders.len(), step.answers.len()), (2, 2));
    assert_eq!(server.open(4, facts(1)).expect("legal").orders.len(), 1);
}

#[test]
fn where_there_is_no_folder_nothing_is_taken() {
    let limits = Limits { streams: 0, ..Limits::default() };
    let now = Instant::now();
    let step = Incoming::new(limits).open(1, facts(1), ROOM, now).expect("legal");
    assert_eq!(status(&step), (1, StatusCode::Refused));
}

#[test]
fn more_bytes_than_announced_remove_it() {
    let mut server = Server::with_stream(100);
    server.take(1, 0, 60);
    let step = server.data(1, 60, 41).expect("legal");
    assert_eq!(status(&step), (1, StatusCode::TooLarge));
    assert_eq!(step.orders, [Order::Remove { stream: 1 }]);
    assert_eq!(server.data(1, 60, 40), Ok(Step::default()), "ignored from now on");
}

#[test]
fn more_bytes_than_allowed_remove_one_of_unknown_size() {
    let mut server = Server::with_stream(None);
    for chunk in 0..16 {
        server.take(1, chunk * 64 * KIB, 64 * KIB);
        server.stored(1, 64 * KIB);
    }
    let step = server.data(1, 1 << 20, 1).expect("legal");
    assert_eq!(status(&step), (1, StatusCode::TooLarge));
}

#[test]
fn fewer_bytes_than_announced_or_none_or_another_size_remove_it() {
    for (taken, size) in [(60, 60), (60, 100), (0, 0), (0, 100), (100, 99), (100, u64::MAX)] {
        let mut server = Server::with_stream(100);
        if taken > 0 {
            server.take(1, 0, taken);
        }
        let step = server.incoming.end(1, size, 0).expect("legal");
        assert_eq!(status(&step), (1, StatusCode::Mismatch), "{taken} of {size}");
        assert_eq!(step.orders, [Order::Remove { stream: 1 }]);
    }
    let mut server = Server::with_stream(None);
    let step = server.incoming.end(1, 5, 0).expect("legal");
    assert_eq!(status(&step), (1, StatusCode::Mismatch));
}

#[test]
fn data_past_the_credit_is_a_violation() {
    let mut server = Server::with_stream(None);
    for chunk in 0..4 {
        server.take(1, chunk * 64 * KIB, 64 * KIB);
    }
    assert_eq!(code(server.data(1, 256 * KIB, 1)), ErrorCode::OutOfOrder);
    assert_eq!(code(server.data(1, u64::MAX, 1)), ErrorCode::OutOfOrder);
    assert_eq!(code(server.data(1, u64::MAX - 1, 64 * KIB)), ErrorCode::OutOfOrder);
}

#[test]
fn more_than_65536_bytes_at_once_are_malformed() {
    let mut server = Server::with_stream(None);
    assert_eq!(code(server.data(1, 0, DATA_MAX as u64 + 1)), ErrorCode::Malformed);
    server.take(1, 0, DATA_MAX as u64);
}

#[test]
fn unknown_numbers_and_holes_are_violations() {
    let mut server = Server::with_stream(None);
    for number in [0, 2, u64::MAX] {
        assert_eq!(code(server.data(number, 0, 1)), ErrorCode::OutOfOrder);
        assert_eq!(code(server.incoming.end(number, 0, 0)), ErrorCode::OutOfOrder);
    }
    for number in [0, 3, u64::MAX] {
        assert_eq!(code(server.open(number, facts(None))), ErrorCode::OutOfOrder);
    }
}

#[test]
fn opened_twice_with_other_facts_is_malformed() {
    let others = [
        facts(101),
        facts(None),
        Facts { name: "photo.jpeg", ..facts(100) },
        Facts { media_type: "image/png", ..facts(100) },
    ];
    for other in others {
        let mut server = Server::with_stream(100);
        server.take(1, 0, 10);
        assert_eq!(code(server.open(1, other)), ErrorCode::Malformed, "{other:?}");
        let step = server.open(1, facts(100)).expect("the same facts");
        assert_eq!(step, Step { orders: vec![], answers: vec![credit(1, 10, 100)] });
    }
}

#[test]
fn the_end_twice_counts_once() {
    let mut server = Server::with_stream(None);
    server.take(1, 0, 5);
    assert_eq!(server.incoming.end(1, 5, 1).expect("legal").orders.len(), 1);
    for (size, checksum) in [(5, 1), (5, 2), (6, 1)] {
        assert_eq!(server.incoming.end(1, size, checksum), Ok(Step::default()));
    }
    assert_eq!(server.data(1, 5, 1), Ok(Step::default()), "nor more data");
    server.incoming.done(1, "x".into());
    assert_eq!(server.incoming.end(1, 5, 1), Ok(Step::default()));
}

#[test]
fn a_number_used_again_gets_its_old_fate() {
    let mut server = Server::with_stream(None);
    let step = server.incoming.cancel(1);
    assert_eq!(status(&step), (1, StatusCode::Cancelled));
    assert_eq!(step.orders, [Order::Remove { stream: 1 }]);
    let step = server.open(1, named("another")).expect("legal");
    assert_eq!((status(&step), step.orders.len()), ((1, StatusCode::Cancelled), 0));
}

#[test]
fn cancel_of_none_is_ignored() {
    let mut server = Server::with_stream(0);
    for number in [0, 2, u64::MAX] {
        assert_eq!(server.incoming.cancel(number), Step::default());
    }
    server.incoming.end(1, 0, 0).expect("legal");
    assert_eq!(server.incoming.cancel(1), Step::default(), "too late: it is being stored");
    assert_eq!(status(&server.incoming.done(1, "x".into())), (1, StatusCode::Accepted));
    assert_eq!(server.incoming.cancel(1), Step::default());
}
