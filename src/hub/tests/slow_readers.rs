//! Sockets that take little, late or nothing.

use std::time::Duration;

use super::harness::{Bench, rules, show, split, text};
use crate::hub::{Rules, Taken};
use crate::message::{Frame, Reason};
use crate::report::Report;

/// A small generator of numbers, by seed, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 27)) % limit
    }
}

/// Whatever a socket takes at a time, what arrives is whole frames: all messages in order, and
/// each status and pong between two of them.
#[test]
fn torn_writes_at_any_byte_lose_and_mix_nothing() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut bench = Bench::new(rules());
        let (alice, bob) = (bench.join("alice"), bench.join("bob"));
        bench.wire(bob).room = 0;
        let (mut sent, mut said, mut pings) = (0, 0, 0);
        for _ in 0..60 {
            match random.below(4) {
                0 => {
                    sent += 1;
                    let body = format!("{sent} {}", "x".repeat(random.below(80) as usize));
                    bench.say(alice, &text(sent, &body));
                }
                1 => {
                    said += 1;
                    bench.say(bob, &text(said, "mine"));
                }
                2 => {
                    pings += 1;
                    bench.say(bob, &Frame::Ping { nonce: pings });
                }
                _ => {
                    bench.wire(bob).room += random.below(120) as usize;
                    bench.deliver();
                }
            }
        }
        bench.wire(bob).room = usize::MAX;
        bench.deliver();
        let sent_to_bob = std::mem::take(&mut bench.wire(bob).sent);
        let heard: Vec<_> = split(&sent_to_bob).iter().map(|frame| show(frame)).collect();
        let number = |line: &str| line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
        let texts: Vec<_> = heard
            .iter()
            .filter(|line| line.starts_with("alice: "))
            .filter_map(|l| number(l))
            .collect();
        let pongs: Vec<_> = heard
            .iter()
            .filter(|line| line.starts_with("pong"))
            .filter_map(|l| number(l))
            .collect();
        assert_eq!(texts, (1..=sent).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(pongs, (1..=pings).collect::<Vec<_>>(), "seed {seed}");
        let last = heard.iter().rev().find(|line| line.starts_with("status"));
        let expected = (said > 0).then(|| format!("status {said} 0"));
        assert_eq!(last, expected.as_ref(), "seed {seed}");
    }
}

fn small_log() -> Rules {
    Rules { log_bytes: 64 * 1024, frame_max: 16 * 1024, ..rules() }
}

/// Sends as much as the hub takes; how many messages that were.
fn flood(bench: &mut Bench, sender: crate::hub::LinkId, next: &mut u64, most: u64) -> u64 {
    let body = "x".repeat(1000);
    let first = *next;
    while *next - first < most {
        *next += 1;
        if bench.say(sender, &text(*next - 1, &body)) == Taken::Blocked {
            break;
        }
    }
    *next - first
}

#[test]
fn one_that_never_reads_is_let_go_and_the_others_miss_nothing() {
    let mut bench = Bench::new(small_log());
    let sender = bench.join("sender");
    let (good, stuck) = (bench.join("good"), bench.join("stuck"));
    bench.wire(stuck).room = 500;
    let mut next = 1;
    let sent = flood(&mut bench, sender, &mut next, 1000);
    assert!(sent < 70, "the log has room for {sent} messages");
    bench.pass(Duration::from_millis(1_900));
    assert_eq!(bench.wire(sender).taken, Taken::Blocked, "patience is not over yet");
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.wire(sender).taken, Taken::All);
    assert!(bench.wire(sender).taken == Taken::All && bench.hub.sessions() == 2);
    flood(&mut bench, sender, &mut next, 1000);
    let texts = bench.heard_lines(good).iter().filter(|line| line.starts_with("sender: ")).count();
    assert_eq!(texts as u64, next - 1);
    // What was torn is finished, and Terminate 3 tried.
    bench.wire(stuck).room = usize::MAX;
    bench.deliver();
    assert_eq!(bench.heard_lines(stuck).last().map(String::as_str), Some("terminate 3"));
    assert!(bench.wire(stuck).shut);
    let too_slow = |report: &Report| match report {
        Report::Left { name, reason, .. } => name == "stuck" && *reason == Reason::TooSlow,
        _ => false,
    };
    assert!(bench.reports.iter().any(too_slow));
}

#[test]
fn only_one_that_does_not_keep_up_gets_a_helper() {
    let mut bench = Bench::new(rules());
    let sender = bench.join("sender");
    let readers: Vec<_> = (0..10).map(|number| bench.join(&format!("reader-{number}"))).collect();
    for id in 1..=100 {
        bench.say(sender, &text(id, "to all"));
    }
    assert_eq!(bench.helpers, 0);
    bench.wire(readers[3]).room = 10;
    for id in 101..=200 {
        bench.say(sender, &text(id, "to all"));
    }
    assert_eq!(bench.helpers, 1);
}

#[test]
fn one_that_trickles_is_let_go_after_its_patience_is_used_up() {
    let mut bench = Bench::new(small_log());
    let (sender, slow) = (bench.join("sender"), bench.join("slow"));
    bench.wire(slow).room = 0;
    let mut next = 1;
    let mut waited = 0;
    while bench.hub.sessions() == 2 {
        flood(&mut bench, sender, &mut next, 1);
        if bench.wire(sender).taken == Taken::Blocked {
            bench.wire(slow).room += 100;
            bench.deliver();
            bench.pass(Duration::from_millis(50));
            waited += 50;
        }
        assert!(waited < 2_500, "waited {waited} ms for one reader");
    }
    assert!(waited >= 1_900, "let go after {waited} ms");
}

#[test]
fn a_room_that_moves_at_one_pace_loses_nobody() {
    let mut bench = Bench::new(small_log());
    let sender = bench.join("sender");
    let readers = [bench.join("one"), bench.join("two")];
    let mut next = 1;
    // Each takes a whole log well within its patience, for much longer than that.
    for _ in 0..2_000 {
        flood(&mut bench, sender, &mut next, 3);
        for reader in readers {
            bench.wire(reader).room = 2_000;
            bench.wire(reader).sent.clear();
        }
        bench.deliver();
        bench.pass(Duration::from_millis(20));
    }
    assert_eq!(bench.hub.sessions(), 3);
}

/// The receiver is idle while a batch that is larger than the log comes in one read: nothing of it
/// may be given up before it was sent.
#[test]
fn a_batch_larger_than_the_log_passes_an_idle_reader_whole() {
    let mut bench = Bench::new(small_log());
    let (sender, reader) = (bench.join("sender"), bench.join("reader"));
    let mut batch = Vec::new();
    (1..=500).for_each(|id| text(id, &"x".repeat(1000)).encode(&mut batch));
    bench.say_bytes(sender, &batch);
    let texts = bench.heard_lines(reader);
    assert_eq!(texts.iter().filter(|line| line.starts_with("sender: ")).count(), 500);
    assert_eq!(bench.heard_lines(sender).last().map(String::as_str), Some("status 500 0"));
}

#[test]
fn one_that_does_not_take_what_it_is_owed_is_not_read_and_then_let_go() {
    let mut bench = Bench::new(rules());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.wire(bob).room = 0;
    let mut nonce = 0;
    while bench.say(bob, &Frame::Ping { nonce }) == Taken::All {
        nonce += 1;
        assert!(nonce < 10_000, "no bound on what is owed");
    }
    assert!(nonce > 4_000, "{nonce} pongs of 13 bytes are less than 64 KiB");
    bench.wire(bob).room = 20_000;
    bench.deliver();
    assert_eq!(bench.wire(bob).taken, Taken::All);
    while bench.say(bob, &Frame::Ping { nonce }) == Taken::All {}
    bench.pass(Duration::from_millis(5_100));
    assert_eq!(bench.hub.sessions(), 1);
    assert_eq!(
        bench.heard_lines(alice).last().map(String::as_str),
        Some("bob left: too slow a reader")
    );
}

#[test]
fn refusals_are_asked_about_and_the_oldest_forgotten() {
    // A client that sends everything before it reads anything is not held up by its refusals.
    let mut bench = Bench::new(rules());
    let alice = bench.join("alice");
    let mut batch = Vec::new();
    for id in 1..=5_000u64 {
        let body: &[u8] = if id % 2 == 0 { b"good" } else { b"\xff" };
        Frame::Text { id, body }.encode(&mut batch);
    }
    assert_eq!(bench.say_bytes(alice, &batch), Taken::All);
    let heard = bench.heard_lines(alice);
    assert_eq!(heard.iter().filter(|line| line.ends_with(" 10")).count(), 2_500);
    assert_eq!(heard.iter().filter(|line| *line == "ping").count(), 1);
    // Repeated, a refusal that is remembered is told again, and a forgotten one as accepted.
    bench.say(alice, &text(4_999, "again"));
    bench.say(alice, &text(1, "again"));
    assert_eq!(bench.heard_lines(alice), ["status 4999 10", "status 1 0"]);
}

#[test]
fn a_stranger_that_reads_nothing_is_owed_little() {
    let mut bench = Bench::new(rules());
    let stranger = bench.connect();
    bench.wire(stranger).room = 0;
    let mut nonce = 0;
    while bench.say(stranger, &Frame::Ping { nonce }) == Taken::All {
        nonce += 1;
        assert!(nonce < 10_000, "no bound on what a stranger is owed");
    }
}

#[test]
fn a_length_that_is_only_claimed_takes_no_room() {
    let mut bench = Bench::new(Rules { history: 1000, ..small_log() });
    let (sender, slow) = (bench.join("sender"), bench.join("slow"));
    bench.wire(slow).room = 0;
    for id in 1..=20 {
        bench.say(sender, &text(id, &"x".repeat(1000)));
    }
    for bytes in [[0xff; 4], [0, 0, 0x40, 0]] {
        let liar = bench.join("liar");
        assert_ne!(bench.say_bytes(liar, &bytes), Taken::Blocked, "{bytes:?}");
        bench.hang_up(liar);
    }
    let late = bench.connect();
    bench.say(late, &super::harness::init("late"));
    let texts = bench.heard_lines(late);
    assert_eq!(texts.iter().filter(|line| line.starts_with("sender: ")).count(), 20);
}

#[test]
fn a_newcomer_with_history_holds_its_records_in_a_full_log() {
    let mut bench = Bench::new(Rules { history: 100, log_records: 100, ..small_log() });
    let (sender, reader) = (bench.join("sender"), bench.join("reader"));
    let mut id = 0;
    for _ in 0..250 {
        id += 1;
        bench.say(sender, &text(id, "before"));
    }
    bench.heard(reader);
    let late = bench.connect();
    bench.wire(late).room = 0;
    bench.say(late, &super::harness::init("late"));
    let first = id;
    while bench.wire(sender).taken == Taken::All {
        id += 1;
        bench.say(sender, &text(id, "after"));
        assert!(id < first + 200, "its records were given up");
    }
    bench.wire(late).room = usize::MAX;
    bench.deliver();
    let heard = bench.heard_lines(late);
    let after = heard.iter().filter(|line| *line == "sender: after").count() as u64;
    assert_eq!(after, id - first, "all that was sent since it came");
}
