//! A server and two clients in one program: `cargo run --example embedded`. The README shows it.

use tcpkit::{Connection, Event, Fate, Server};

fn main() -> Result<(), tcpkit::Error> {
    let server = Server::builder().bind("127.0.0.1:0")?.spawn()?;
    let address = server.addr().to_string();

    let alice = Connection::builder().name("alice").connect(&address)?;
    let bob = Connection::builder().name("bob").connect(&address)?;

    // Queued and numbered; returns at once.
    let receipt = alice.send("hello, bob")?;
    // Waits for its fate. Accepted: it will reach everyone who is here.
    assert_eq!(alice.confirm(receipt)?, Fate::Accepted);

    // Blocks until something comes; `None` is an orderly end.
    while let Some(event) = bob.recv()? {
        if let Event::Text { from, body, .. } = event {
            println!("{from}: {body}"); // alice: hello, bob
            break;
        }
    }
    Ok(())
}
