//! The wire between the server and some of its clients is cut without a word, again and again, and
//! nothing is lost or doubled. `TCPKIT_OUTAGE_SEED=...` cuts as in the run that told that number.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::program::{Line, Lines, Program};
use crate::lab::{Host, Lab, Way};

/// How often the wire is cut.
const CUTS: u64 = 20;
/// How many messages each of the two senders sends.
const MESSAGES: u64 = 5_000;
/// What a busy machine may add to the time in which a dead peer is noticed.
const SLACK: Duration = Duration::from_millis(1500);
/// Within which a connection is up again after a cut: a request for one that was lost is repeated
/// by the kernel after 1, 3 and 7 s.
const LONG: Duration = Duration::from_secs(20);
/// The time between two messages: those for one cut take a second.
const PAUSE: Duration = Duration::from_millis(4);

/// The rhythm of both ends, and how soon a client comes back.
const SETTINGS: [&str; 14] = [
    "--set",
    "heartbeat.data_threshold=0.2",
    "--set",
    "heartbeat.heart_beat_interval=0.2",
    "--set",
    "heartbeat.heart_beat_threshold=0.2",
    "--set",
    "heartbeat.heart_beat_additional_tries=1",
    "--set",
    "reconnect.first=0.05",
    "--set",
    "reconnect.most=0.2",
    "--set",
    "session.grace=60",
];
/// Within which a dead peer is noticed with those: max(0.2, 0.2) + (1 + 1) * 0.2.
const BOUND: Duration = Duration::from_millis(600);

/// Random numbers that are the same for the same seed: splitmix64.
struct Dice(u64);

impl Dice {
    /// With the seed that is asked for, or any other; it is told.
    fn new() -> Self {
        let seed = std::env::var("TCPKIT_OUTAGE_SEED").ok();
        let seed = seed.map(|seed| seed.parse().expect("TCPKIT_OUTAGE_SEED: a number"));
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("TCPKIT_OUTAGE_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn milliseconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }
}

fn message(number: u64) -> String {
    format!("{number} {}", "x".repeat(300))
}

/// A client that watches. What the senders say is counted, as long as it comes in order.
struct Watcher {
    program: Program,
    /// The last message of each sender.
    heard: Arc<[AtomicU64; 2]>,
}

const SENDERS: [(&str, Host); 2] = [("near-sender", Host::Near), ("far-sender", Host::Far)];

impl Watcher {
    fn start(lab: &Lab, host: Host, address: SocketAddr, name: &str) -> Self {
        let heard = Arc::new([const { AtomicU64::new(0) }; 2]);
        let hearing = Arc::clone(&heard);
        let mut command = lab.client(host, address, name);
        command.args(["watch", "--json"]).args(SETTINGS);
        // What does not come in its order stays, and is told in the end.
        let program = Program::start_keeping(command, move |line| {
            let next = hearing.iter().zip(SENDERS).find(|(heard, (sender, _))| {
                let number = heard.load(Ordering::Relaxed) + 1;
                line.ends_with(&format!(r#","from":"{sender}","body":"{}"}}"#, message(number)))
            });
            next.map(|(heard, _)| heard.fetch_add(1, Ordering::Relaxed)).is_none()
        });
        program.stdout.told(&["\"event\":\"present\""]);
        Self { program, heard }
    }

    fn heard(&self) -> [u64; 2] {
        self.heard.each_ref().map(|heard| heard.load(Ordering::Relaxed))
    }

    /// All has come, each once and in order, and no record was missed.
    fn has_heard_all(&self) {
        let until = Instant::now() + LONG;
        while self.heard() != [MESSAGES; 2] {
            let strays = self.strays();
            assert!(strays.is_empty(), "after {:?}: {:?}", self.heard(), &strays[..1]);
            assert!(Instant::now() < until, "only {:?} have come", self.heard());
            thread::park_timeout(PAUSE); // between two looks
        }
        assert!(self.strays().is_empty(), "{:?}", self.strays());
        let resumed = self.program.stdout.count(r#"{"event":"resumed","missed":0}"#);
        assert_eq!(self.program.stdout.count(r#"{"event":"resumed""#), resumed);
        assert_eq!(self.program.stdout.count("session-lost"), 0);
    }

    fn strays(&self) -> Vec<String> {
        let texts = self.program.stdout.texts().into_iter();
        texts.filter(|line| line.contains("\"event\":\"text\"")).collect()
    }
}

/// Sends as many of the messages as it is told, one after the other, and in the end the rest.
fn feed(mut stdin: ChildStdin, quotas: &mpsc::Receiver<u64>) {
    let mut numbers = 1..=MESSAGES;
    for quota in quotas {
        for number in numbers.by_ref().take(quota as usize) {
            writeln!(stdin, "{}", message(number)).expect("the client reads");
            thread::park_timeout(PAUSE); // the pace of the flow that is cut
        }
    }
    numbers.for_each(|number| writeln!(stdin, "{}", message(number)).expect("the client reads"));
}

/// One side's view of a connection: its lines, and the words with which it comes up and goes down.
struct View<'a> {
    lines: &'a Lines,
    up: &'a [&'a str],
    down: &'a str,
    /// In each line that is about this connection.
    name: &'a str,
}

impl<'a> View<'a> {
    fn of_server(server: &'a Program, name: &'a str) -> Self {
        View { lines: &server.stderr, up: &[" joined ", " resumed "], down: " away ", name }
    }

    /// Since which line the connection is down; `None` if it is up.
    fn down_since<'l>(&self, lines: &'l [Line]) -> Option<&'l Line> {
        let about = lines.iter().rev().filter(|line| line.text.contains(self.name));
        let down = about.take_while(|line| !self.up.iter().any(|up| line.text.contains(up)));
        down.filter(|line| line.text.contains(self.down)).last()
    }

    fn is_up(&self) {
        let up = |lines: &[Line]| self.down_since(lines).is_none().then_some(());
        self.lines
            .wait(LONG, up)
            .unwrap_or_else(|lines| panic!("{} stays away: {lines}", self.name));
    }

    /// The connection is found dead, by its silence, soon enough after the cut.
    fn goes_down(&self, cut: Instant) {
        let down = |lines: &[Line]| self.down_since(lines).cloned();
        let line = self.lines.wait(BOUND + SLACK, down);
        let line = line.unwrap_or_else(|lines| panic!("{} is not noticed: {lines}", self.name));
        let took = line.at.saturating_duration_since(cut);
        println!("    {took:.0?}: {}", line.text);
        assert!(took <= BOUND + SLACK, "{took:?}: {}", line.text);
        // Before the cut it may have gone for another reason.
        assert!(line.at < cut || line.text.contains("no heartbeat"), "{}", line.text);
    }
}

/// Cuts the wire and heals it. Half of the cuts are longer than the bound, and begin when all is
/// up; of the others some fall into what the one before has left. The first one is certain to be
/// long, and of both ways.
fn cut_once(lab: &Lab, dice: &mut Dice, is_first: bool, views: &[View<'_>]) {
    let drawn = [Way::Both, Way::ToNear, Way::ToFar][dice.below(3) as usize];
    let is_long = dice.below(2) == 0 || is_first;
    let way = if is_first { Way::Both } else { drawn };
    let after = dice.milliseconds(50..400);
    let long = BOUND + dice.milliseconds(50..800);
    let lasts = if is_long { long } else { dice.milliseconds(20..500) };
    println!("    {way:?} for {lasts:?}, after {after:?}");
    if is_long {
        views.iter().for_each(View::is_up);
    }
    thread::sleep(after);
    lab.cut(way);
    let cut = Instant::now();
    if is_long && way == Way::Both {
        for view in views {
            view.goes_down(cut);
        }
    }
    thread::sleep(lasts.saturating_sub(cut.elapsed()));
    lab.heal();
}

#[test]
fn nothing_is_lost_or_doubled_across_twenty_cuts() {
    let Some(lab) = Lab::open() else { return };
    let mut dice = Dice::new();
    let (server, address) = lab.serve(&SETTINGS);
    let watch = |host, name| Watcher::start(&lab, host, address, name);
    let watchers = [watch(Host::Near, "near-watcher"), watch(Host::Far, "far-watcher")];
    let mut senders = SENDERS.map(|(name, host)| {
        let mut command = lab.client(host, address, name);
        command.args(["send", "--lines"]).args(SETTINGS);
        Program::start(command)
    });
    for (name, _) in SENDERS {
        server.stderr.told(&["joined", name]);
    }
    let feeds = senders.each_mut().map(|sender| {
        let (quota, quotas) = mpsc::channel();
        let stdin = sender.stdin();
        (quota, thread::spawn(move || feed(stdin, &quotas)))
    });
    let views = [
        View::of_server(&server, " name=near-sender "),
        View::of_server(&server, " name=near-watcher "),
        View {
            lines: &watchers[0].program.stdout,
            up: &["\"present\"", "\"resumed\""],
            down: "\"reconnecting\"",
            name: "\"event\"",
        },
        View {
            lines: &senders[0].stderr,
            up: &["reconnected"],
            down: "connection lost",
            name: "connect",
        },
    ];
    for number in 1..=CUTS {
        for (quota, _) in &feeds {
            quota.send(MESSAGES / CUTS).expect("it feeds");
        }
        println!("cut {number}:");
        cut_once(&lab, &mut dice, number == 1, &views);
    }
    for (quota, feed) in feeds {
        drop(quota);
        feed.join().expect("all is fed");
    }
    for sender in &mut senders {
        assert_eq!(sender.code_within(LONG), Some(0), "{:?}", sender.stderr.texts());
    }
    watchers.iter().for_each(Watcher::has_heard_all);
    for (name, _) in SENDERS {
        server.stderr.told(&["left", name, "reason=done"]);
    }
}

#[test]
fn a_reset_by_the_network_is_told_from_silence() {
    let Some(lab) = Lab::open() else { return };
    let (server, address) = lab.serve(&SETTINGS);
    let watcher = Watcher::start(&lab, Host::Near, address, "near");
    let lines = &watcher.program.stdout;
    lab.reset(Way::ToFar);
    let lost = lines.told(&["\"reconnecting\",\"attempt\":1,"]).text;
    assert!(lost.contains("\"loss\":\"connection reset\""), "{lost}");
    server.stderr.told(&["away name=near ", "reason=\"no heartbeat\""]);
    lines.told(&["\"reconnecting\"", "\"loss\":\"connection refused\""]);
    lab.heal();
    lines.told(&["{\"event\":\"resumed\",\"missed\":0}"]);
}
