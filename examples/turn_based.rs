//! Two clients that take turns at counting: `cargo run --example turn_based`. The README shows it.

use std::thread;

use tcpkit::{Connection, Error, Server, Turns};

const ROUNDS: usize = 3;

fn main() -> Result<(), Error> {
    let server = Server::builder().handler(Turns).bind("127.0.0.1:0")?.spawn()?;
    let address = server.addr().to_string();

    // Who comes first has the first turn, once there are two.
    let one = Connection::builder().name("Client1").connect(&address)?;
    let two = Connection::builder().name("Client2").connect(&address)?;

    thread::scope(|scope| {
        let other = scope.spawn(|| play(&two, 2));
        play(&one, 1)?;
        other.join().expect("it does not panic")
    })
}

/// Says every second number, each when it is its turn.
fn play(client: &Connection, start: u64) -> Result<(), Error> {
    let name = client.name();
    for (turn, number) in client.turns().zip((start..).step_by(2)).take(ROUNDS) {
        println!("{name} sent: {number}");
        turn?.play(&format!("{name}:{number}"))?;
    }
    client.flush() // every move is accepted
}
