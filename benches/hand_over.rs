//! How many hand-overs of the turn there are in a second between two clients that answer at once:
//! `cargo bench --bench hand_over`. Pin it to one processor (`taskset -c 0`) for figures that do
//! not depend on where the threads happen to run.
//!
//! Beside the server, with two clients that speak bare frames and with two `Connection`s, there are
//! two bare sockets in the same process and run, told to go and answering with a move: served in
//! turn by one thread, which is the least that a hand-over can be; the same, where the one that has
//! moved is told to wait, as the server does it too; and by a thread each, who pass the turn on
//! through a condition variable. Rounds alternate, so that all see the same machine.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tcpkit::codec::decode;
use tcpkit::frame::{DEFAULT_FRAME_MAX, Framer};
use tcpkit::message::{Frame, SessionKey, Token, VERSION};
use tcpkit::{Connection, Server, ServerHandle, Turns};

const ROUNDS: usize = 9;
/// How many turns each of the two has in a round.
const TURNS: u32 = 5_000;
const MOVE: &str = "Client1:1";
const GO: [u8; 1] = [b'G'];
const WAIT: [u8; 1] = [b'W'];

/// Lets two players have so many turns each; how long it took.
type Contest = (&'static str, fn(u32) -> Duration);

fn main() {
    let turns = if std::env::args().any(|word| word == "--quick") { TURNS / 50 } else { TURNS };
    let contests: [Contest; 5] = [
        ("bare sockets, one thread", one_thread),
        ("the same, and WAIT", one_thread_and_wait),
        ("bare sockets, a thread each", a_thread_each),
        ("server, bare frames", bare_frames),
        ("server, Connection", connections),
    ];
    let mut rates = contests.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, contest), rates) in contests.iter().zip(&mut rates) {
            rates.push(2.0 * f64::from(turns - 1) / contest(turns).as_secs_f64());
        }
    }
    println!(
        "hand-overs in a second, and of those of one thread: median [range] of {ROUNDS} rounds"
    );
    for ((what, _), own) in contests.iter().zip(&rates) {
        let [low, rate, high] = spread(own.iter().copied());
        let [least, ratio, most] = spread(own.iter().zip(&rates[0]).map(|(own, base)| own / base));
        let rate = format!("{rate:6.0} [{low:.0} to {high:.0}]");
        println!("  {what:<28} {rate:<26} ratio {ratio:.2} [{least:.2} to {most:.2}]");
    }
}

/// The lowest, the median, and the highest.
fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

/// From the first turn of a player to its last one, without how it came and went.
#[derive(Default)]
struct Clock(Option<(Instant, Instant)>);

impl Clock {
    /// The player has the turn.
    fn go(&mut self) {
        let now = Instant::now();
        self.0 = Some((self.0.map_or(now, |(first, _)| first), now));
    }
}

/// Lets two players play, each on a thread of its own; how long it took, by the first one's clock.
fn race<P: Send + 'static>(players: [P; 2], turns: u32, play: fn(P, u32) -> Clock) -> Duration {
    let threads = players.map(|player| thread::spawn(move || play(player, turns)));
    let clocks = threads.map(|thread| thread.join().expect("a player that does not panic"));
    clocks[0].0.map_or(Duration::ZERO, |(first, last)| last - first)
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a connection");
    socket.set_nodelay(true).expect("a socket's option");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket's option");
    socket
}

/// Two sockets for the players, and the server's ends of them.
fn two_pairs() -> ([TcpStream; 2], [TcpStream; 2]) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let outer = [(), ()].map(|()| connect(&address));
    let inner = [(), ()].map(|()| listener.accept().expect("a client").0);
    for socket in &inner {
        socket.set_nodelay(true).expect("a socket's option");
    }
    (outer, inner)
}

fn play_bare(mut socket: TcpStream, turns: u32) -> Clock {
    let (mut clock, mut signal) = (Clock::default(), [0]);
    for _ in 0..turns {
        while signal != GO {
            socket.read_exact(&mut signal).expect("GO or WAIT");
        }
        signal = [0];
        clock.go();
        socket.write_all(MOVE.as_bytes()).expect("a write");
    }
    clock
}

/// Gives the turn to one, and takes its move.
fn serve_turn(mut socket: &TcpStream) {
    socket.write_all(&GO).expect("a write");
    socket.read_exact(&mut [0; MOVE.len()]).expect("a move");
}

fn one_thread(turns: u32) -> Duration {
    let (outer, inner) = two_pairs();
    let server = thread::spawn(move || {
        (0..2 * turns).for_each(|turn| serve_turn(&inner[turn as usize % 2]));
    });
    let time = race(outer, turns, play_bare);
    server.join().expect("a server that does not panic");
    time
}

/// As the classic has it, the one who has moved is told to wait.
fn one_thread_and_wait(turns: u32) -> Duration {
    let (outer, inner) = two_pairs();
    let server = thread::spawn(move || {
        for turn in 0..2 * turns as usize {
            serve_turn(&inner[turn % 2]);
            let _ = (&inner[turn % 2]).write_all(&WAIT); // it may have gone after its last move
        }
    });
    let time = race(outer, turns, play_bare);
    server.join().expect("a server that does not panic");
    time
}

fn a_thread_each(turns: u32) -> Duration {
    let (outer, inner) = two_pairs();
    let table = Arc::new((Mutex::new(0), Condvar::new()));
    let threads: Vec<JoinHandle<()>> = (inner.into_iter().enumerate())
        .map(|(seat, socket)| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let (turn, passed) = &*table;
                for _ in 0..turns {
                    let own = passed.wait_while(turn.lock().expect("sound"), |turn| *turn != seat);
                    drop(own.expect("sound")); // no lock is held across the socket
                    serve_turn(&socket);
                    *turn.lock().expect("sound") = 1 - seat;
                    passed.notify_all();
                }
            })
        })
        .collect();
    let time = race(outer, turns, play_bare);
    for thread in threads {
        thread.join().expect("a server that does not panic");
    }
    time
}

fn serve() -> (ServerHandle, String) {
    let server = Server::builder().handler(Turns).bind("127.0.0.1:0").and_then(Server::spawn);
    let server = server.expect("a server");
    let address = server.addr().to_string();
    (server, address)
}

fn bare_frames(turns: u32) -> Duration {
    let (server, address) = serve();
    let players = [(), ()].map(|()| {
        let mut socket = connect(&address);
        let (session, token) = (SessionKey::NEW, Token::default());
        let (name, timezone) = ("raw", "");
        let init = Frame::Init { version: VERSION, session, received: 0, name, timezone, token };
        socket.write_all(&init.to_bytes()).expect("a write");
        socket
    });
    let time = race(players, turns, |mut socket, turns| {
        let (mut clock, mut framer) = (Clock::default(), Framer::new(DEFAULT_FRAME_MAX));
        for id in 1..=u64::from(turns) {
            let turn = next_go(&mut framer, &mut socket);
            clock.go();
            let bytes = Frame::Move { id, turn, body: MOVE.as_bytes() }.to_bytes();
            socket.write_all(&bytes).expect("a write");
        }
        // To close with something unread would take back the last move.
        socket.shutdown(Shutdown::Write).expect("open");
        let _ = socket.read_to_end(&mut Vec::new());
        clock
    });
    server.shutdown(Duration::from_secs(1));
    time
}

/// Takes what comes up to the next Go; the turn's number.
fn next_go(framer: &mut Framer, socket: &mut TcpStream) -> u64 {
    loop {
        while let Some(raw) = framer.next_frame().expect("a legal frame") {
            if let Frame::Go { turn, .. } = decode(&raw).expect("a legal frame") {
                return turn;
            }
        }
        let count = socket.read(framer.space()).expect("a read");
        assert!(count > 0, "the server went away");
        framer.filled(count);
    }
}

fn connections(turns: u32) -> Duration {
    let (server, address) = serve();
    let players = [(), ()].map(|()| Connection::connect(&address).expect("a connection"));
    let time = race(players, turns, |connection, turns| {
        let mut clock = Clock::default();
        for turn in connection.turns().take(turns as usize) {
            clock.go();
            turn.and_then(|turn| turn.play(MOVE)).expect("a move");
        }
        connection.flush().expect("statuses");
        clock
    });
    server.shutdown(Duration::from_secs(1));
    time
}
