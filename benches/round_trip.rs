//! What 64 bytes take through the relay, beside a bare forwarder in the same process and run:
//! `cargo bench --bench round_trip`. Prints medians and their ratios, one way (one side writes, the
//! other reads, then the next) and there and back. Pin it to one processor (`taskset -c 0`) for
//! figures that do not depend on where the threads happen to run.
//!
//! The bare forwarder has a blocking thread for each of two clients, which writes what it reads to
//! the other: no frames, no numbers, no status. Rounds alternate, so that all see the same
//! machine. There and back, the relay's senders also read a status for each message.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use tcpkit::codec::decode;
use tcpkit::frame::{DEFAULT_FRAME_MAX, Framer};
use tcpkit::message::{Frame, SessionKey, Token, VERSION};
use tcpkit::{Connection, Event, Server};

const SIZE: usize = 64;
const ROUNDS: usize = 9;
const TRIPS: usize = 4_000;

fn main() {
    let trips = if std::env::args().any(|word| word == "--quick") { TRIPS / 20 } else { TRIPS };
    // A room for each pair, so that none hears the other.
    let servers = [(), ()]
        .map(|()| Server::builder().bind("127.0.0.1:0").and_then(Server::spawn).expect("a server"));
    let [one, other] = servers.each_ref().map(|server| server.addr().to_string());
    let mut bare = Bare::start();
    let (mut raw, mut pair) = (Raw::start(&one), Pair::start(&other));
    for (what, ways) in [("one way", 1), ("there and back", 2)] {
        let (mut raws, mut pairs, mut bares) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let base = bare.round(trips, ways);
            raws.push(raw.round(trips, ways).as_secs_f64() / base.as_secs_f64());
            pairs.push(pair.round(trips, ways).as_secs_f64() / base.as_secs_f64());
            bares.push(base);
        }
        bares.sort();
        println!("{what}: bare forwarder {:?}, median of {ROUNDS} medians", bares[ROUNDS / 2]);
        print("relay, bare frames", &mut raws);
        print("relay, Connection", &mut pairs);
    }
    drop((bare, raw, pair));
    for server in servers {
        server.shutdown(Duration::from_secs(1));
    }
}

fn print(what: &str, ratios: &mut [f64]) {
    ratios.sort_by(f64::total_cmp);
    let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
    println!("  {what:<20}  ratio {:.2}  [{low:.2} to {high:.2}]", ratios[ratios.len() / 2]);
}

/// The median time of one trip.
fn median(trips: usize, mut trip: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..trips)
        .map(|_| {
            let start = Instant::now();
            trip();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[trips / 2]
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a connection");
    socket.set_nodelay(true).expect("a socket's option");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket's option");
    socket
}

/// Two sockets and a thread each in between.
struct Bare(TcpStream, TcpStream);

impl Bare {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let sockets = [connect(&address), connect(&address)];
        let inner: Vec<_> = (0..2).map(|_| listener.accept().expect("a client").0).collect();
        for (from, to) in [(0, 1), (1, 0)] {
            inner[from].set_nodelay(true).expect("a socket's option");
            let mut from = inner[from].try_clone().expect("a descriptor");
            let mut to = inner[to].try_clone().expect("a descriptor");
            thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
        let [one, other] = sockets;
        Self(one, other)
    }

    fn round(&mut self, trips: usize, ways: usize) -> Duration {
        let body = [b'x'; SIZE];
        let mut buffer = [0; SIZE];
        median(trips, || {
            for (mut from, mut to) in
                [(&self.0, &self.1), (&self.1, &self.0)].into_iter().take(ways)
            {
                from.write_all(&body).expect("a write");
                to.read_exact(&mut buffer).expect("a read");
            }
        })
    }
}

/// Two sockets that speak the wire with as little code as possible.
struct Raw {
    sockets: [TcpStream; 2],
    framers: [Framer; 2],
    ids: [u64; 2],
    confirmed: [u64; 2],
}

impl Raw {
    fn start(address: &str) -> Self {
        let sockets = [connect(address), connect(address)];
        for socket in &sockets {
            let (session, token) = (SessionKey::NEW, Token::default());
            let (name, timezone) = ("raw", "");
            let init =
                Frame::Init { version: VERSION, session, received: 0, name, timezone, token };
            (&mut &*socket).write_all(&init.to_bytes()).expect("a write");
        }
        let framers = [(), ()].map(|()| Framer::new(DEFAULT_FRAME_MAX));
        Self { sockets, framers, ids: [0; 2], confirmed: [0; 2] }
    }

    fn round(&mut self, trips: usize, ways: usize) -> Duration {
        let time = median(trips, || {
            for (from, to) in [(0, 1), (1, 0)].into_iter().take(ways) {
                self.ids[from] += 1;
                let bytes = Frame::Text { id: self.ids[from], body: &[b'x'; SIZE] }.to_bytes();
                self.sockets[from].write_all(&bytes).expect("a write");
                while !self.take_text(to) {
                    self.fill(to);
                }
            }
        });
        // The statuses that nobody has read yet.
        for side in 0..ways {
            while !self.take_text(side) && self.confirmed[side] < self.ids[side] {
                self.fill(side);
            }
        }
        time
    }

    /// Takes the frames that have come, up to the first text; whether there was one.
    fn take_text(&mut self, side: usize) -> bool {
        while let Some(raw) = self.framers[side].next_frame().expect("a legal frame") {
            match decode(&raw).expect("a legal frame") {
                Frame::RelayedText { .. } => return true,
                Frame::Status { id, .. } => self.confirmed[side] = id,
                _ => {}
            }
        }
        false
    }

    fn fill(&mut self, side: usize) {
        let framer = &mut self.framers[side];
        let count = self.sockets[side].read(framer.space()).expect("a read");
        assert!(count > 0, "the server went away");
        framer.filled(count);
    }
}

/// Two connections of the library.
struct Pair(Connection, Connection);

impl Pair {
    fn start(address: &str) -> Self {
        let connect = || Connection::connect(address).expect("a connection");
        Self(connect(), connect())
    }

    fn round(&mut self, trips: usize, ways: usize) -> Duration {
        let body = "x".repeat(SIZE);
        let time = median(trips, || {
            for (from, to) in [(&self.0, &self.1), (&self.1, &self.0)].into_iter().take(ways) {
                from.send(&body).expect("a send");
                while !matches!(to.recv().expect("an event"), Some(Event::Text { .. })) {}
            }
        });
        self.0.flush().expect("statuses");
        time
    }
}
