//! Streams: what becomes of their frames and of the disk's reports, with the disk played by hand.

use std::time::Duration;

use super::harness::{Bench, rules, text};
use super::returning::{come_back, key};
use crate::hub::uploads::STREAMS_MAX;
use crate::hub::{
    Commit, Deed, Handler, Job, LinkId, Message, Refusal, Relay, Room, Rules, Upload, UploadId,
};
use crate::message::{Frame, Reason, StatusCode};
use crate::report::Report;
use crate::transfer::{DATA_MAX, WINDOW};

const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;

fn keeping() -> Rules {
    Rules { grace: 30 * SECOND, ..rules() }
}

fn open(stream: u64, size: impl Into<Option<u64>>) -> Frame<'static> {
    Frame::StreamOpen { stream, size: size.into(), name: "a.txt", media_type: "" }
}

fn data(stream: u64, offset: u64, bytes: &[u8]) -> Frame<'_> {
    Frame::StreamData { stream, offset, bytes }
}

fn end(stream: u64, size: u64) -> Frame<'static> {
    Frame::StreamEnd { stream, size, crc32c: 0 }
}

/// What the disk is to do, in short.
fn jobs(bench: &mut Bench) -> Vec<String> {
    let show = |job| match job {
        Job::Count { .. } => "count".to_owned(),
        Job::Leave { client } => format!("{client} leaves"),
        Job::Upload { upload: UploadId { stream, .. }, deed, .. } => match deed {
            Deed::Create { name } => format!("create {stream} {name}"),
            Deed::Append { bytes } => format!("append {stream} {}", bytes.len()),
            Deed::Finish { size, .. } => format!("finish {stream} {size}"),
            Deed::Remove => format!("remove {stream}"),
        },
    };
    bench.hub.take_jobs().into_iter().map(show).collect()
}

/// What a client heard, in short.
fn heard(bench: &mut Bench, id: LinkId) -> Vec<String> {
    let show = |frame: &Vec<u8>| {
        let raw = crate::frame::RawFrame { kind: frame[4], payload: &frame[5..] };
        match crate::codec::decode(&raw).expect("a legal frame") {
            Frame::StreamCredit { stream, offset, limit } => {
                format!("credit {stream} {offset} {limit}")
            }
            Frame::StreamStatus { stream, code, detail } => {
                format!("fate {stream} {} {detail}", code.number())
            }
            Frame::Uploaded { size, from, name, .. } => format!("{from} sent {name}, {size}"),
            _ => super::harness::show(frame),
        }
    };
    bench.heard(id).iter().map(show).collect()
}

/// The disk's reports, for the client that is the bench's first.
impl Bench {
    fn upload(&self, stream: u64) -> UploadId {
        let first = self.first_session;
        UploadId { session: first, stream }
    }

    fn has_stored(&mut self, stream: u64, count: u64) {
        let (upload, at) = (self.upload(stream), self.at());
        self.hub.stored(upload, count, at);
        self.deliver();
    }

    fn has_finished(&mut self, stream: u64, size: u64) {
        let (upload, at) = (self.upload(stream), self.at());
        self.hub.finished(upload, "alice", ("alice/a.txt".into(), size), at);
        self.deliver();
    }

    fn has_failed(&mut self, stream: u64) {
        let (upload, at) = (self.upload(stream), self.at());
        self.hub.failed(upload, "alice", (StatusCode::NotStored, "no space".into()), at);
        self.deliver();
    }
}

/// A client called alice, and bob; what they heard is forgotten.
fn two(rules: Rules) -> (Bench, LinkId, LinkId) {
    let mut bench = Bench::new(rules);
    let alice = bench.join("alice");
    bench.first_session = bench.hub.core.names["alice"];
    let bob = bench.join("bob");
    bench.heard(alice);
    (bench, alice, bob)
}

#[test]
fn frames_become_work_and_reports_become_answers() {
    let (mut bench, alice, bob) = two(rules());
    bench.say(alice, &open(1, 3));
    assert_eq!(heard(&mut bench, alice), ["credit 1 0 3"]);
    bench.say(alice, &data(1, 0, b"ab"));
    bench.say(alice, &data(1, 2, b"c"));
    bench.say(alice, &end(1, 3));
    assert_eq!(jobs(&mut bench), ["create 1 a.txt", "append 1 2", "append 1 1", "finish 1 3"]);
    bench.has_stored(1, 3);
    assert!(heard(&mut bench, alice).is_empty(), "nothing before it has its name");
    bench.has_finished(1, 3);
    assert_eq!(heard(&mut bench, bob), ["alice sent alice/a.txt, 3"]);
    bench.say(bob, &text(1, "nice"));
    assert_eq!(heard(&mut bench, alice), ["fate 1 0 alice/a.txt", "bob: nice"], "no Uploaded");
    let stored = |r: &Report| matches!(r, Report::Stored { size: 3, .. });
    assert_eq!(bench.reports.iter().filter(|r| stored(r)).count(), 1);
    assert_eq!(
        bench.reports.iter().map(ToString::to_string).collect::<Vec<_>>()[2..],
        ["stored name=alice path=alice/a.txt size=3"]
    );
}

#[test]
fn credit_follows_what_the_disk_has() {
    let (mut bench, alice, _) = two(rules());
    bench.say(alice, &open(1, None));
    assert_eq!(heard(&mut bench, alice), [format!("credit 1 0 {WINDOW}")]);
    for at in 0..16 {
        bench.say(alice, &data(1, at * DATA_MAX as u64, &vec![0; DATA_MAX]));
    }
    assert!(heard(&mut bench, alice).is_empty(), "not for what has only come");
    bench.has_stored(1, MIB / 2);
    assert_eq!(heard(&mut bench, alice), [format!("credit 1 {} {}", MIB / 2, WINDOW + MIB / 2)]);
    bench.has_failed(1);
    assert_eq!(heard(&mut bench, alice), ["fate 1 5 no space"]);
    jobs(&mut bench);
    bench.say(alice, &data(1, MIB, b"x"));
    assert!(jobs(&mut bench).is_empty(), "what comes for it is dropped");
    assert!(matches!(bench.reports.last(), Some(Report::UploadRefused { .. })));
}

/// Takes text files only.
struct Picky;

impl Handler for Picky {
    fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
        Relay.message(room, message)
    }

    fn upload(&self, room: &mut Room<'_>, upload: Upload<'_>) -> Result<(), Refusal> {
        assert_eq!(room.member().name, "alice");
        match upload {
            Upload { media_type: "text/plain", size: Some(_), .. } => Ok(()),
            Upload { name, .. } => Err(Refusal::new(format!("{name} is no text"))),
        }
    }
}

#[test]
fn a_handler_may_refuse_a_file_before_its_first_byte() {
    let mut bench = Bench::with(rules(), Picky, Commit::AtOnce);
    let alice = bench.join("alice");
    bench.say(alice, &open(1, 5));
    assert_eq!(heard(&mut bench, alice), ["fate 1 1 a.txt is no text"]);
    assert!(jobs(&mut bench).is_empty());
    let (name, media_type) = ("a.txt", "text/plain");
    let good = Frame::StreamOpen { stream: 2, size: Some(1), name, media_type };
    bench.say(alice, &good);
    assert_eq!(heard(&mut bench, alice), ["credit 2 0 1"]);
    assert_eq!(jobs(&mut bench), ["create 2 a.txt"]);
    bench.say(alice, &open(1, 5));
    assert_eq!(heard(&mut bench, alice), ["fate 1 1 a.txt is no text"], "told again, not asked");
}

#[test]
fn the_disk_goes_on_while_a_client_is_away() {
    let (mut bench, alice, bob) = two(keeping());
    bench.say(alice, &open(1, None));
    bench.say(alice, &open(2, 2));
    bench.say(alice, &data(1, 0, b"abc"));
    bench.say(alice, &data(2, 0, b"xy"));
    bench.say(alice, &end(2, 2));
    bench.hang_up(alice);
    bench.has_stored(1, 3);
    bench.has_finished(2, 2);
    assert_eq!(heard(&mut bench, bob), ["alice sent alice/a.txt, 2"]);
    jobs(&mut bench);
    let alice = come_back(&mut bench, key(1), 0);
    bench.heard(alice);
    bench.say(alice, &open(1, None));
    bench.say(alice, &open(2, 2));
    let expected = [format!("credit 1 3 {}", WINDOW + 3), "fate 2 0 alice/a.txt".into()];
    assert_eq!(heard(&mut bench, alice), expected);
    bench.say(alice, &data(1, 3, b"def"));
    assert_eq!(jobs(&mut bench), ["append 1 3"], "nothing is made anew");
}

#[test]
fn credit_of_the_old_connection_is_no_credit() {
    let (mut bench, alice, _) = two(keeping());
    bench.say(alice, &open(1, None));
    bench.hang_up(alice);
    let alice = come_back(&mut bench, key(1), 0);
    bench.heard(alice);
    bench.say(alice, &data(1, 0, b"x"));
    assert_eq!(heard(&mut bench, alice), ["error 6"]);
}

#[test]
fn a_session_that_ends_has_its_parts_removed_and_its_whole_files_stored() {
    for rules in [rules(), keeping()] {
        let is_kept = !rules.grace.is_zero();
        let (mut bench, alice, bob) = two(rules);
        bench.say(alice, &open(1, None));
        bench.say(alice, &open(2, 0));
        bench.say(alice, &end(2, 0));
        jobs(&mut bench);
        bench.hang_up(alice);
        if is_kept {
            bench.pass(29 * SECOND);
            assert!(jobs(&mut bench).is_empty(), "it may come back");
            bench.pass(2 * SECOND);
        }
        assert_eq!(jobs(&mut bench), ["remove 1", "alice leaves"]);
        bench.heard(bob);
        bench.has_finished(2, 0);
        assert_eq!(heard(&mut bench, bob), ["alice sent alice/a.txt, 0"]);
        assert_eq!(bench.hub.core.uploads.counts(), (0, 0), "nothing is left behind");
    }
}

#[test]
fn the_end_of_the_server_is_that_of_all_sessions() {
    let (mut bench, alice, bob) = two(keeping());
    for id in [alice, bob] {
        bench.say(id, &open(1, None));
        bench.say(id, &open(2, 0));
        bench.say(id, &end(2, 0));
        bench.hang_up(id);
    }
    jobs(&mut bench);
    bench.hub.close_streams();
    assert_eq!(jobs(&mut bench), ["remove 1", "alice leaves", "remove 1", "bob leaves"]);
}

#[test]
fn what_fails_after_its_session_is_over_is_reported_and_forgotten() {
    let (mut bench, alice, bob) = two(rules());
    bench.say(alice, &open(1, 5));
    bench.say(alice, &data(1, 0, b"hello"));
    bench.say(alice, &end(1, 5));
    let (reason, retry_after_ms, detail) = (Reason::Done, 0, "".into());
    bench.say(alice, &Frame::Terminate { reason, retry_after_ms, detail });
    assert_eq!(bench.hub.core.uploads.counts(), (1, 5), "it counts until the disk is done");
    bench.heard(bob);
    bench.has_failed(1);
    assert!(bench.heard(bob).is_empty());
    assert!(matches!(bench.reports.last(), Some(Report::UploadRefused { .. })));
    assert_eq!(bench.hub.core.uploads.counts(), (0, 0));
}

/// However many streams there are, and though nothing gets stored: what clients may send is
/// bounded, and so is the memory for it.
#[test]
fn the_credit_of_all_together_is_bounded() {
    let mut rules = rules();
    rules.uploads.limits.streams = 1000;
    rules.uploads.total = u64::MAX;
    rules.uploads.client = u64::MAX;
    let mut bench = Bench::new(rules);
    let clients = ["a", "b", "c"].map(|name| bench.join(name));
    let (mut promised, mut taken, mut refused) = (0, 0, 0);
    for stream in 1..=800 {
        for id in clients {
            bench.say(id, &open(stream, None));
            let line = heard(&mut bench, id).pop().expect("an answer");
            if let Some(limit) = line.strip_prefix(&format!("credit {stream} 0 ")) {
                promised += limit.parse::<u64>().expect("a number");
                taken += 1;
            } else {
                assert!(line.starts_with(&format!("fate {stream} 4 ")), "{line}");
                refused += 1;
            }
        }
    }
    assert_eq!((taken, refused), (STREAMS_MAX, 3 * 800 - STREAMS_MAX));
    assert!(promised <= 220 * MIB, "{} MiB", promised / MIB);
    // One that goes away makes room.
    bench.hang_up(clients[0]);
    bench.say(clients[1], &open(801, None));
    assert!(heard(&mut bench, clients[1]).pop().expect("an answer").starts_with("credit 801 0 "));
}

#[test]
fn the_window_shrinks_for_those_that_are_there_when_more_come() {
    let (mut bench, alice, bob) = two({
        let mut rules = rules();
        rules.uploads.limits.streams = 1000;
        rules
    });
    bench.say(alice, &open(1, None));
    bench.say(alice, &data(1, 0, &vec![0; DATA_MAX]));
    for stream in 1..=600 {
        bench.say(bob, &open(stream, None));
    }
    heard(&mut bench, alice);
    bench.has_stored(1, DATA_MAX as u64);
    assert!(heard(&mut bench, alice).is_empty(), "it has more credit than it would get now");
}

#[test]
fn an_idle_stream_is_given_up_and_one_of_a_client_that_is_away_is_not() {
    let (mut bench, alice, _) = two(Rules { grace: 600 * SECOND, ..rules() });
    bench.say(alice, &open(1, None));
    bench.pass(30 * SECOND);
    bench.say(alice, &open(2, None));
    bench.heard(alice);
    bench.pass(29 * SECOND);
    assert!(heard(&mut bench, alice).is_empty());
    bench.pass(2 * SECOND);
    assert_eq!(heard(&mut bench, alice), ["fate 1 9 nothing came for 60 s"]);
    assert_eq!(jobs(&mut bench), ["create 1 a.txt", "create 2 a.txt", "remove 1"]);
    bench.hang_up(alice);
    bench.pass(300 * SECOND);
    assert!(jobs(&mut bench).is_empty());
    let alice = come_back(&mut bench, key(1), 0);
    bench.heard(alice);
    bench.pass(59 * SECOND);
    assert!(heard(&mut bench, alice).is_empty());
    bench.pass(2 * SECOND);
    assert_eq!(heard(&mut bench, alice), ["fate 2 9 nothing came for 60 s"]);
}

#[test]
fn what_lies_on_the_disk_counts_once_it_is_known() {
    let mut rules = rules();
    (rules.uploads.client, rules.uploads.total) = (100_000, 150_000);
    let (mut bench, alice, bob) = two(rules);
    for stream in 1..=3 {
        bench.say(alice, &open(stream, 20_000));
    }
    bench.say(bob, &open(1, 20_000));
    assert_eq!(heard(&mut bench, alice).len(), 3);
    let (first, at) = (bench.first_session, bench.at());
    bench.hub.measured(first, 60_000, at);
    bench.deliver();
    assert_eq!(heard(&mut bench, alice), ["fate 3 8 there is no room left"], "the newest");
    bench.hub.counted(100_000, at);
    bench.deliver();
    assert_eq!(heard(&mut bench, alice), ["fate 2 8 there is no room left"]);
    jobs(&mut bench);
    bench.say(alice, &open(4, 20_001));
    assert_eq!(heard(&mut bench, alice), ["fate 4 8 10KB are left"], "that of all");
}

#[test]
fn a_quota_that_is_used_up_is_counted_again_but_not_all_the_time() {
    let mut rules = rules();
    rules.uploads.total = 50_000;
    let (mut bench, alice, bob) = two(rules);
    let at = bench.at();
    bench.hub.counted(50_000, at);
    bench.say(alice, &open(1, 1));
    bench.say(bob, &open(1, 1));
    assert_eq!(jobs(&mut bench), ["count"]);
    bench.hub.counted(0, at);
    bench.say(alice, &open(2, 40_000));
    bench.say(alice, &open(3, 10_001));
    assert_eq!(jobs(&mut bench), ["create 2 a.txt"], "not twice in a minute");
    bench.pass(61 * SECOND);
    jobs(&mut bench);
    bench.say(alice, &open(4, 50_001));
    assert_eq!(jobs(&mut bench), ["count"]);
    // What is stored meanwhile is not lost.
    bench.say(alice, &open(5, 0));
    bench.say(alice, &end(5, 0));
    bench.has_finished(5, 0);
    let at = bench.at();
    bench.hub.counted(0, at);
    heard(&mut bench, alice);
    bench.say(alice, &open(6, 50_000));
    assert_eq!(heard(&mut bench, alice), ["fate 6 8 45904 are left"]);
}

#[test]
fn who_sends_no_files_costs_a_pointer() {
    let (mut bench, alice, _) = two(rules());
    let session = bench.first_session;
    assert!(bench.hub.core.sessions.get(session).is_some_and(|it| it.streams.is_none()));
    bench.say(alice, &open(1, 1));
    assert!(bench.hub.core.sessions.get(session).is_some_and(|it| it.streams.is_some()));
}
