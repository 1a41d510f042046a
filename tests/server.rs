//! The server in this process, over sockets: whom it lets in, how it ends, and what a handler of
//! one's own can do to it. After each test no thread and no descriptor of the server is left.

mod common;

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::chat::Chat;
use common::raw::{Raw, init, init_with_token, text};
use common::{SOON, Site, eventually, server_threads, settings, thread_names, within};
use tcpkit::event::{Event, Fate};
use tcpkit::message::{ErrorCode, Frame, Reason, StatusCode};
use tcpkit::report::Report;
use tcpkit::{Connection, End, Error, Handler, Message, Refusal, Room, Server, ServerHandle};

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(2);

fn refusal(result: Result<Connection, Error>) -> ErrorCode {
    match result {
        Err(Error::Refused { code, .. }) => code,
        other => panic!("not refused but {other:?}"),
    }
}

fn terminate() -> Vec<u8> {
    let detail = "".into();
    Frame::Terminate { reason: Reason::Done, retry_after_ms: 0, detail }.to_bytes()
}

/// Shuts down, and checks that it was done in time, and that no thread is left. Gives whether all
/// clients had gone.
fn shut_down(server: ServerHandle, deadline: Duration) -> bool {
    let start = Instant::now();
    let were_gone = within(deadline + SOON, move || server.shutdown(deadline));
    let took = start.elapsed();
    assert!(took < deadline + SLACK, "{deadline:?} were given, it took {took:?}");
    eventually(|| match server_threads() {
        0 => Ok(()),
        count => Err(format!("{count} threads are left")),
    });
    were_gone
}

#[test]
fn a_server_that_is_full_says_so() {
    let site = Site::with(settings(|settings| settings.limits.clients = 3));
    let chat = Chat::start(&site);
    let address = site.addr().to_string();
    let carol = site.join("carol");
    assert_eq!(site.server().clients(), 3);
    let mut raw = Raw::connect(site.addr());
    raw.send(&init("dave"));
    assert_eq!(raw.refused().0, ErrorCode::ServerFull);
    assert_eq!(refusal(Connection::connect(&address)), ErrorCode::ServerFull);
    carol.close().unwrap();
    let dave = site.join("dave");
    chat.finish(&["carol joined", "carol left", "dave joined"]);
    drop(dave);
}

#[test]
fn too_many_in_the_handshake_are_turned_away_at_once() {
    let site = Site::with(settings(|settings| settings.limits.handshaking = 2));
    let chat = Chat::start(&site);
    let silent = [Raw::connect(site.addr()), Raw::connect(site.addr())];
    let address = site.addr().to_string();
    for _ in 0..20 {
        let mut raw = Raw::connect(site.addr());
        raw.send(&init("dave"));
        assert_eq!(raw.refused().0, ErrorCode::ServerFull);
        assert_eq!(refusal(Connection::connect(&address)), ErrorCode::ServerFull);
    }
    drop(silent);
    eventually(|| match Connection::builder().name("dave").connect(&address) {
        Ok(dave) => dave.close().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    });
    chat.finish(&["dave joined", "dave left"]);
}

#[test]
fn only_those_with_the_token_are_let_in() {
    let site = Site::build(Server::builder().token("open sesame"));
    let address = site.addr().to_string();
    for token in ["", "open", "open sesame ", "open sesameopen sesame", "Open sesame"] {
        let mut raw = Raw::connect(site.addr());
        raw.send(&init_with_token("mallory", token));
        let (code, words) = raw.refused();
        assert_eq!(code, ErrorCode::NotAuthorised, "with {token:?}");
        assert!(!words.contains("sesame"), "{words}");
        let mallory = Connection::builder().token(token).connect(&address);
        assert_eq!(refusal(mallory), ErrorCode::NotAuthorised, "with {token:?}");
    }
    let mut raw = Raw::connect(site.addr());
    raw.send(&init_with_token("alice", "open sesame"));
    assert_eq!(raw.welcomed(), ("alice".into(), vec!["alice".into()]));
    let bob = Connection::builder().token("open sesame").connect(&address).unwrap();
    assert_eq!(bob.name(), "guest-1");
}

#[test]
fn a_name_that_is_taken_gets_a_suffix_and_everyone_is_told_who_is_there() {
    let site = Site::open();
    let long = "x".repeat(64);
    let cut = format!("{}-2", &long[..62]);
    let mut here: Vec<String> = Vec::new();
    let mut raws = Vec::new();
    for (name, given) in [
        ("alice", "alice"),
        ("alice", "alice-2"),
        (" ALICE ", "ALICE-3"),
        ("ａｌｉｃｅ", "ａｌｉｃｅ-4"),
        (&long, &long),
        (&long, &cut),
    ] {
        let mut raw = Raw::connect(site.addr());
        raw.send(&init(name));
        let (name, mut names) = raw.welcomed();
        here.push(given.to_owned());
        assert_eq!(name, given);
        names.sort();
        here.sort();
        assert_eq!(names, here);
        raws.push(raw);
    }
    let mut first = raws.swap_remove(0);
    first.send(&terminate());
    assert_eq!(first.next_own().frame(), Frame::TerminateAck);
    first.at_end();
    assert_eq!(site.join("alice").name(), "alice", "it is free again");
}

#[test]
fn a_server_that_shuts_down_says_goodbye_to_those_who_wait() {
    let mut site = Site::open();
    let connections: Vec<_> = (0..5).map(|_| site.join("")).collect();
    let server = site.take_server();
    thread::scope(|scope| {
        for connection in &connections {
            scope.spawn(move || {
                while let Some(event) = connection.recv_timeout(SOON).unwrap() {
                    assert!(matches!(event, Event::Present { .. } | Event::Joined { .. }));
                }
                let end = connection.ended();
                let orderly = |reason: &Reason| *reason == Reason::ShuttingDown;
                assert!(
                    matches!(&end, Some(End::Terminated { reason, .. }) if orderly(reason)),
                    "{end:?}"
                );
            });
        }
        let start = Instant::now();
        assert!(shut_down(server, SOON), "all answer");
        assert!(start.elapsed() < SOON / 2, "and nobody is waited for");
    });
}

#[test]
fn a_shutdown_waits_no_longer_than_its_deadline() {
    for deadline in [Duration::ZERO, Duration::from_millis(400)] {
        let mut site = Site::open();
        let addr = site.addr();
        let mut idle = Raw::join(addr, "idle");
        let mut deaf = Raw::join(addr, "deaf");
        let sender = site.join("sender");
        // More than the system's buffers take, less than the log.
        for _ in 0..40 {
            sender.send_bytes(&vec![7; 1_000_000]).unwrap();
        }
        let _ = sender.flush_timeout(SOON);
        let server = site.take_server();
        let start = Instant::now();
        assert!(!shut_down(server, deadline), "none of them answers");
        assert!(start.elapsed() >= deadline, "they had time to");
        let refused = TcpStream::connect_timeout(&addr, SOON).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        for raw in [&mut idle, &mut deaf] {
            // What had left by then can be read.
            while let Ok(Some(received)) = raw.try_next(SOON) {
                let (frame, is_record) = (received.frame().kind(), received.is_record());
                assert!(is_record || frame == 0x03, "kind {frame:#x}");
            }
        }
    }
}

#[test]
fn what_is_queued_leaves_before_the_goodbye() {
    let mut site = Site::open();
    let mut late = Raw::join(site.addr(), "late");
    let sender = site.join("sender");
    for number in 0..30u8 {
        let receipt = sender.send_bytes(&vec![number; 1_000_000]).unwrap();
        assert_eq!(sender.confirm_timeout(receipt, SOON).unwrap(), Fate::Accepted);
    }
    let server = site.take_server();
    let shutdown = thread::spawn(move || shut_down(server, SOON));
    while sender.recv_timeout(SOON).unwrap().is_some() {}
    let mut came = 0;
    loop {
        match late.next().frame() {
            Frame::Joined { .. } | Frame::Left { .. } => {}
            Frame::RelayedBytes { body, .. } => {
                assert!(body == vec![came; 1_000_000], "message {came}");
                came += 1;
            }
            Frame::Terminate { reason, .. } => {
                assert_eq!(reason, Reason::ShuttingDown);
                break;
            }
            other => panic!("{:#x} is not expected", other.kind()),
        }
    }
    assert_eq!(came, 30);
    late.send(&Frame::TerminateAck.to_bytes());
    late.at_end();
    drop(late);
    assert!(shutdown.join().expect("it ended well"), "all had gone");
}

#[test]
fn those_in_the_middle_of_the_handshake_are_told_of_a_shutdown() {
    let mut site = Site::open();
    let silent = Raw::connect(site.addr());
    let mut half = Raw::connect(site.addr());
    half.send(&init("half")[..20]);
    let mut pinging = Raw::connect(site.addr());
    pinging.send(&Frame::Ping { nonce: 1 }.to_bytes());
    assert_eq!(pinging.next().frame(), Frame::Pong { nonce: 1 });
    let server = site.take_server();
    let shutdown = thread::spawn(move || shut_down(server, SOON));
    for mut raw in [silent, half, pinging] {
        assert_eq!(raw.terminated(), Reason::ShuttingDown);
        raw.at_end();
    }
    assert!(shutdown.join().expect("it ended well"), "all had gone");
}

#[test]
fn a_handle_that_is_dropped_ends_the_server_at_once() {
    let mut site = Site::open();
    let addr = site.addr();
    let mut idle = Raw::join(addr, "idle");
    let connection = site.join("alice");
    let server = site.take_server();
    within(SLACK, || drop(server));
    idle.cut_off();
    let mut last = connection.recv_timeout(SOON);
    while let Ok(Some(_)) = last {
        last = connection.recv_timeout(SOON);
    }
    assert!(!matches!(last, Err(Error::Timeout(..))), "{last:?}");
    let again = Server::builder().bind(&addr.to_string()).unwrap();
    assert_eq!(again.addr(), addr);
}

#[test]
fn a_server_ends_while_clients_keep_coming() {
    for round in 0..30 {
        let mut site = Site::open();
        let (addr, server) = (site.addr(), site.take_server());
        let (ended, end) = mpsc::channel();
        let clients = thread::spawn(move || {
            let mut held = Vec::new();
            // No more than can wait to be accepted, so that none has to knock again.
            for _ in 0..100 {
                let Ok(socket) = TcpStream::connect_timeout(&addr, SOON) else { break };
                held.push(socket);
            }
            // None of them goes before the server has ended.
            end.recv_timeout(2 * SOON)
        });
        for _ in 0..round {
            drop(TcpStream::connect_timeout(&addr, SOON));
        }
        shut_down(server, Duration::ZERO);
        ended.send(()).expect("they wait for it");
        clients.join().expect("they came").expect("they were told");
    }
}

/// Relays, but panics at whoever asks for it.
struct Fragile;

impl Handler for Fragile {
    fn joined(&self, room: &mut Room<'_>) {
        assert_ne!(room.member().name, "panic when joining");
    }

    fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
        match message {
            Message::Text("panic") => panic!("as was asked for"),
            Message::Text("refuse") => Err(Refusal::new("as was asked for")),
            message => room.relay(message),
        }
    }

    fn left(&self, room: &mut Room<'_>, _: Reason) {
        assert_ne!(room.member().name, "panic when leaving");
    }
}

#[test]
fn a_handler_that_panics_puts_out_only_the_one_whose_call_it_was() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&reports);
    let builder = Server::builder().handler(Fragile).on_report(move |report| {
        if let Report::HandlerPanicked { name } = report {
            told.lock().expect("whole").push(name.clone());
        }
    });
    let site = Site::build(builder);
    let chat = Chat::start(&site);
    let mut raw = Raw::join(site.addr(), "mallory");
    raw.send(&text(1, b"refuse"));
    assert_eq!(raw.status(), (1, StatusCode::Refused));
    raw.send(&text(2, b"panic"));
    assert_eq!(raw.refused().0, ErrorCode::Internal);
    chat.goes_on();
    let mut raw = Raw::join(site.addr(), "panic when joining");
    assert_eq!(raw.refused().0, ErrorCode::Internal);
    chat.goes_on();
    let mut raw = Raw::join(site.addr(), "panic when leaving");
    raw.send(&terminate());
    assert_eq!(raw.next_own().frame(), Frame::TerminateAck);
    raw.at_end();
    chat.finish(&[
        "mallory joined",
        "mallory left: turned out by the server",
        "panic when joining joined",
        "panic when joining left: turned out by the server",
        "panic when leaving joined",
        "panic when leaving left",
    ]);
    let names = ["mallory", "panic when joining", "panic when leaving"];
    assert_eq!(*reports.lock().expect("whole"), names);
}

#[cfg(target_os = "linux")] // which tells the names of threads
#[test]
fn one_timer_serves_all_clients_and_their_heartbeats() {
    let site = Site::with(settings(|settings| {
        settings.heartbeat.data_threshold = Duration::from_millis(50);
    }));
    let names: Vec<_> = (0..10).map(|number| format!("client-{number}")).collect();
    let mut clients: Vec<_> = names.iter().map(|name| Raw::join(site.addr(), name)).collect();
    for client in &mut clients {
        let received = client.next_own();
        assert!(matches!(received.frame(), Frame::Ping { .. }), "{received:?}");
    }
    let mut expected = vec!["tcpkit-client"; 10];
    expected.extend(["tcpkit-accept", "tcpkit-disk", "tcpkit-report", "tcpkit-timer"]);
    expected.sort_unstable();
    eventually(|| {
        let mut threads: Vec<_> = thread_names().collect();
        threads.sort();
        if threads == expected { Ok(()) } else { Err(format!("{threads:?}")) }
    });
}

#[test]
fn two_servers_in_one_process_have_nothing_in_common() {
    let site = Site::open();
    let other = Server::builder().bind("127.0.0.1:0").unwrap().spawn().unwrap();
    let chat = Chat::start(&site);
    let mut alice = Raw::join(other.addr(), "alice");
    let mut bob = Raw::connect(other.addr());
    bob.send(&init("bob"));
    assert_eq!(bob.welcomed(), ("bob".into(), vec!["alice".into(), "bob".into()]));
    alice.send(&text(1, b"hello"));
    assert_eq!(alice.status(), (1, StatusCode::Accepted));
    let received = bob.next();
    assert!(matches!(received.frame(), Frame::RelayedText { body: "hello", .. }), "{received:?}");
    chat.goes_on();
    within(SLACK, || drop(other));
    alice.cut_off();
    chat.finish(&[]);
}

#[test]
fn a_port_that_is_not_to_be_had_is_told_with_its_address() {
    let site = Site::open();
    let taken = site.addr().to_string();
    for (address, expected) in
        [(&*taken, Some(ErrorKind::AddrInUse)), ("127.0.0.1", None), ("256.0.0.1:1", None)]
    {
        match Server::builder().bind(address) {
            Err(Error::Bind { address: told, source }) => {
                assert_eq!(told, address);
                assert!(expected.is_none_or(|kind| kind == source.kind()), "{source}");
            }
            other => panic!("{other:?}"),
        }
    }
    let settings = settings(|settings| settings.limits.clients = 0);
    let unusable = Server::builder().settings(settings).bind("127.0.0.1:0");
    assert!(matches!(unusable, Err(Error::Settings(_))), "{unusable:?}");
    Chat::start(&site).finish(&[]);
}

#[test]
fn a_report_that_blocks_holds_up_nobody() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let mut site = Site::build(Server::builder().on_report(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(2 * SOON);
    }));
    let (alice, bob) = (site.join("alice"), site.join("bob"));
    let receipt = alice.send("hello").unwrap();
    assert_eq!(alice.confirm_timeout(receipt, SOON).unwrap(), Fate::Accepted);
    while !matches!(bob.recv_timeout(SOON).unwrap(), Some(Event::Text { .. })) {}
    drop((go_on, alice, bob));
    shut_down(site.take_server(), SOON);
}
