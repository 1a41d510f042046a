//! Who comes in, what is said, what is heard; and the seam of the ledger.

use std::borrow::Cow;

use super::harness::{Bench, init, rules, text};
use crate::hub::{
    Commit, Draft, Echo, Handler, Message, Proposal, Refusal, Relay, Room, Rules, Secret,
};
use crate::log::Audience;
use crate::message::{Frame, SessionKey, StatusCode, Token, VERSION};

#[test]
fn two_talk_and_each_hears_what_is_meant_for_it() {
    let mut bench = Bench::new(rules());
    let alice = bench.connect();
    bench.say(alice, &init("alice"));
    assert_eq!(bench.heard_lines(alice), ["welcome alice, head 1", "1 here: alice"]);
    let bob = bench.join("bob");
    assert_eq!(bench.heard_lines(alice), ["bob joined"]);
    bench.say(alice, &text(1, "hi"));
    bench.say(alice, &Frame::Direct { id: 2, to: "BOB", body: b"psst" });
    assert_eq!(bench.heard_lines(alice), ["status 1 0", "status 2 0"]);
    assert_eq!(bench.heard_lines(bob), ["alice: hi", "alice to you: psst"]);
    bench.say(bob, &Frame::Bytes { id: 1, body: &[1, 2, 3] });
    bench.hang_up(bob);
    assert_eq!(bench.heard_lines(alice), ["bob: 3 bytes", "bob left: connection lost"]);
}

#[test]
fn one_status_serves_a_batch_and_leaves_before_a_pong() {
    let mut bench = Bench::new(rules());
    let alice = bench.join("alice");
    let mut batch = Vec::new();
    (1..=3).for_each(|id| text(id, "x").encode(&mut batch));
    Frame::Direct { id: 4, to: "nobody", body: b"" }.encode(&mut batch);
    text(5, "y").encode(&mut batch);
    Frame::Ping { nonce: 77 }.encode(&mut batch);
    text(6, "z").encode(&mut batch);
    bench.say_bytes(alice, &batch);
    let heard = bench.heard_lines(alice);
    assert_eq!(heard, ["status 4 11", "status 5 0", "pong 77", "status 6 0"]);
}

#[test]
fn a_repeat_gets_its_status_again_and_nothing_else_happens() {
    let mut bench = Bench::new(rules());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.say(alice, &text(1, "once"));
    bench.say(alice, &Frame::Text { id: 2, body: b"\xff" });
    bench.heard(alice);
    bench.heard(bob);
    bench.say(alice, &text(1, "twice"));
    bench.say(alice, &text(2, "now good"));
    assert_eq!(bench.heard_lines(alice), ["status 1 0", "status 2 10"]);
    assert!(bench.heard(bob).is_empty());
}

#[test]
fn bodies_are_refused_and_the_connection_stays() {
    let mut bench = Bench::new(Rules { frame_max: 4096, ..rules() });
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.say(alice, &text(1, &"x".repeat(4096 - 1024)));
    bench.say(alice, &text(2, &"x".repeat(4096 - 1023)));
    bench.say(alice, &Frame::Text { id: 3, body: b"\xc3\x28" });
    bench.say(alice, &Frame::Move { id: 4, turn: 1, body: b"e4" });
    bench.say(alice, &Frame::Direct { id: 5, to: "alice", body: b"me" });
    bench.say(alice, &text(6, "still here"));
    let codes = ["status 1 0", "status 2 3", "status 3 10", "status 4 2", "status 5 11"];
    assert_eq!(bench.heard_lines(alice)[1..], [&codes[..], &["status 6 0"]].concat());
    assert_eq!(bench.heard_lines(bob).last().map(String::as_str), Some("alice: still here"));
}

#[test]
fn names_are_made_unique_and_freed_again() {
    let mut bench = Bench::new(rules());
    let mut welcomes = Vec::new();
    for name in ["alice", "Alice", "", " ", "ａｌｉｃｅ"] {
        let id = bench.connect();
        bench.say(id, &init(name));
        welcomes.push((id, bench.heard_lines(id).remove(0)));
    }
    let names: Vec<_> = welcomes.iter().map(|(_, welcome)| &**welcome).collect();
    assert_eq!(
        names,
        [
            "welcome alice, head 1",
            "welcome Alice-2, head 2",
            "welcome guest-1, head 3",
            "welcome guest-2, head 4",
            "welcome ａｌｉｃｅ-3, head 5"
        ]
    );
    bench.hang_up(welcomes[0].0);
    let again = bench.connect();
    bench.say(again, &init("alice"));
    assert_eq!(bench.heard_lines(again)[0], "welcome alice, head 7");
}

#[test]
fn a_newcomer_gets_the_latest_records_that_it_is_entitled_to() {
    let mut bench = Bench::new(Rules { history: 2, ..rules() });
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    for id in 1..=3 {
        bench.say(alice, &text(id, &format!("no {id}")));
    }
    bench.say(bob, &Frame::Direct { id: 1, to: "alice", body: b"secret" });
    let carol = bench.connect();
    bench.say(carol, &init("carol"));
    assert_eq!(bench.heard_lines(carol)[2..], ["alice: no 2", "alice: no 3"]);
}

#[test]
fn above_the_limit_nobody_is_announced() {
    let mut bench = Bench::new(Rules { announce: 2, ..rules() });
    let alice = bench.join("alice");
    let bob = bench.join("bob");
    let carol = bench.join("carol");
    bench.hang_up(carol);
    bench.hang_up(bob);
    assert_eq!(bench.heard_lines(alice), ["bob joined", "bob left: connection lost"]);
}

#[test]
fn echo_comes_back_to_its_sender_alone() {
    let mut bench = Bench::with(rules(), Echo, Commit::AtOnce);
    let alice = bench.connect();
    bench.say(alice, &init("alice"));
    assert_eq!(bench.heard_lines(alice), ["welcome alice, head 0"], "no notices, no Present");
    let bob = bench.join("bob");
    bench.say(alice, &text(1, "hello"));
    bench.say(alice, &Frame::Direct { id: 2, to: "bob", body: b"" });
    let mut heard = bench.heard_lines(alice);
    heard.sort();
    assert_eq!(heard, ["alice: hello", "status 1 0", "status 2 11"]);
    assert!(bench.heard(bob).is_empty());
}

#[test]
fn tokens_and_limits_decide_who_comes_in() {
    let mut bench =
        Bench::new(Rules { token: Secret("open sesame".into()), clients: 1, ..rules() });
    for (token, expected) in [("", "error 7"), ("sesame", "error 7"), ("open sesame", "welcome")] {
        let id = bench.connect();
        let (session, token) = (SessionKey::NEW, Token(token));
        let (name, timezone) = ("a", "");
        let hello = Frame::Init { version: VERSION, session, received: 0, name, timezone, token };
        bench.say(id, &hello);
        assert!(bench.heard_lines(id)[0].starts_with(expected));
    }
    let late = bench.connect();
    let (session, token) = (SessionKey::NEW, Token("open sesame"));
    let hello =
        Frame::Init { version: VERSION, session, received: 0, name: "b", timezone: "", token };
    bench.say(late, &hello);
    assert_eq!(bench.heard_lines(late), ["error 8"]);
    assert!(bench.wire(late).shut, "our half is shut behind an Error");
}

/// A log that commits late, in groups, and with records that nobody here proposed.
#[test]
fn commits_may_come_late_in_groups_and_from_elsewhere() {
    let mut bench = Bench::with(rules(), Relay, Commit::Later);
    let commit = |bench: &mut Bench, records: Vec<Proposal<'static>>| {
        let at = bench.at();
        bench.hub.commit(records, at);
        bench.deliver();
    };
    let (alice, bob) = (bench.connect(), bench.connect());
    for (id, name) in [(alice, "alice"), (bob, "bob")] {
        bench.say(id, &init(name));
        assert!(bench.heard(id).is_empty(), "no InitAck before the Joined is committed");
        let joined = bench.hub.take_proposals();
        commit(&mut bench, joined);
    }
    assert_eq!(bench.heard_lines(alice)[2..], ["bob joined"]);
    bench.heard(bob);

    let mut batch = Vec::new();
    (1..=3).for_each(|id| text(id, &format!("a{id}")).encode(&mut batch));
    bench.say_bytes(alice, &batch);
    bench.say(alice, &Frame::Text { id: 4, body: b"\xff" });
    assert_eq!(bench.heard_lines(alice), ["status 4 10"], "nothing is accepted yet");
    assert!(bench.heard(bob).is_empty());

    let mut proposals = bench.hub.take_proposals();
    let foreign = Proposal {
        session: 0,
        id: 0,
        audience: Audience::Others,
        time_ms: 5,
        draft: Draft::Text { from: Cow::Borrowed("far"), body: Cow::Borrowed("away") },
    };
    let last = proposals.split_off(2);
    commit(&mut bench, vec![foreign, proposals.remove(0)]);
    assert_eq!(bench.heard_lines(alice), ["status 1 0", "far: away"]);
    bench.say(alice, &text(1, "again"));
    bench.say(alice, &text(2, "again"));
    assert_eq!(bench.heard_lines(alice), ["status 1 0"], "2 is still on its way");
    commit(&mut bench, [proposals, last].concat());
    assert_eq!(bench.heard_lines(alice), ["status 2 0", "status 4 0"]);
    assert_eq!(bench.heard_lines(bob), ["far: away", "alice: a1", "alice: a2", "alice: a3"]);

    bench.say(alice, &text(5, "last words"));
    let (reason, retry_after_ms) = (crate::message::Reason::Done, 0);
    bench.say(alice, &Frame::Terminate { reason, retry_after_ms, detail: "".into() });
    assert!(bench.heard(alice).is_empty(), "the Ack waits for the last message's fate");
    let words = bench.hub.take_proposals();
    commit(&mut bench, words);
    assert_eq!(bench.heard_lines(alice), ["status 5 0", "TerminateAck"]);
    let left = bench.hub.take_proposals();
    commit(&mut bench, left);
    assert_eq!(bench.heard_lines(bob), ["alice: last words", "alice left: done"]);
}

/// Takes a message that begins with a dash for itself, and relays the others.
struct Absorb;

impl Handler for Absorb {
    fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
        match message {
            Message::Text(text) if text.starts_with('-') => Ok(()),
            other => room.relay(other),
        }
    }
}

#[test]
fn a_message_without_a_record_waits_for_those_before_it() {
    let mut bench = Bench::with(Rules { announce: 0, ..rules() }, Absorb, Commit::Later);
    let alice = bench.join("alice");
    bench.say(alice, &text(1, "kept"));
    bench.say(alice, &text(2, "-taken"));
    bench.say(alice, &text(2, "-again"));
    assert!(bench.heard(alice).is_empty(), "1 is not committed yet");
    let records = bench.hub.take_proposals();
    let at = bench.at();
    bench.hub.commit(records, at);
    bench.deliver();
    assert_eq!(bench.heard_lines(alice), ["status 2 0"]);
}

/// A program of its own: answers, refuses, and has a fault.
struct Oracle;

impl Handler for Oracle {
    fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
        let name = room.member().name.to_owned();
        match message {
            Message::Text("who") => room.reply("oracle", &format!("{name} of {}", room.members())),
            Message::Text("all") => room.tell_others("oracle", "listen"),
            Message::Text("die") => panic!("a fault in a handler"),
            Message::Text("big") => room.reply("oracle", &"x".repeat(2 << 20)),
            _ => Err(Refusal { code: StatusCode::Accepted, detail: "é".repeat(1000) }),
        }
    }
}

#[test]
fn a_handler_of_ones_own_and_its_panic() {
    let mut bench = Bench::with(rules(), Oracle, Commit::AtOnce);
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    for (index, word) in ["who", "all", "big", "else"].iter().enumerate() {
        bench.say(alice, &text(index as u64 + 1, word));
    }
    let mut heard = bench.heard_lines(alice);
    heard.sort();
    assert_eq!(
        heard,
        ["oracle: alice of 2", "status 1 0", "status 2 0", "status 3 3", "status 4 1"]
    );
    assert_eq!(bench.heard_lines(bob), ["oracle: listen"]);
    bench.say(alice, &text(5, "die"));
    assert_eq!(bench.heard_lines(alice), ["error 11"]);
    assert_eq!(bench.heard_lines(bob), ["alice left: turned out by the server"]);
    bench.say(bob, &text(1, "who"));
    assert_eq!(bench.heard_lines(bob).len(), 2, "the server goes on");
}

#[test]
fn present_fits_into_a_frame_however_many_there_are() {
    let mut bench = Bench::new(Rules { frame_max: 4096, announce: 0, ..rules() });
    for number in 0..99 {
        bench.join(&format!("{number:0>60}"));
    }
    let last = bench.connect();
    bench.say(last, &init("last"));
    let present = &bench.heard(last)[1];
    assert!(present.len() <= 4 + 4096 && present.len() > 4000, "{} bytes", present.len());
    assert_eq!(present[5..9], 100u32.to_be_bytes());
}
