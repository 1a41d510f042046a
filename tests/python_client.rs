//! The Python client of `examples/python`, written from `PROTOCOL.md` alone, against the server in
//! this process and a [`Connection`]. Where there is no `python3`, the tests say so and pass.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tcpkit::event::{Event, Fate};
use tcpkit::message::Reason;
use tcpkit::{Connection, Server, ServerHandle};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python");
/// For everything that is sure to happen soon.
const SOON: Duration = Duration::from_secs(10);
/// For all of the client's own tests.
const TESTS_TIME: Duration = Duration::from_secs(60);

/// What a user of the module `tcpkit` writes; arguments are the host and the port.
const LIBRARY_USER: &str = r#"
import sys
from tcpkit import Client, Refused

client = Client.connect(sys.argv[1], int(sys.argv[2]), name="python")
client.confirm(client.send_to("rust", "psst 🤫"), timeout=10)
client.confirm(client.send_bytes(b"\0\xff"), timeout=10)
try:
    client.confirm(client.send_to("nobody", "psst"), timeout=10)
except Refused as refused:
    print("refused", *refused.args[:2])
client.close()
"#;

/// A `python3` that runs. Killed when dropped.
struct Python {
    child: Child,
    lines: Receiver<String>,
    complaints: Receiver<String>,
}

impl Python {
    /// `None`, and a word about it, where there is no `python3`.
    fn start(arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new("python3");
        command.args(arguments).current_dir(FOLDER);
        command.env("PYTHONUTF8", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("skipped: there is no python3 on the PATH");
                return None;
            }
            Err(error) => panic!("python3 cannot be started: {error}"),
        };
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (line, lines) = channel();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|it| line.send(it))
        });
        let (complaint, complaints) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| complaint.send(text))
        });
        Some(Self { child, lines, complaints })
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(SOON).expect("another line")
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Closes its stdin and waits until it ends: its exit code, and what it wrote to stderr.
    fn finish(&mut self, limit: Duration) -> (Option<i32>, String) {
        drop(self.child.stdin.take());
        let complaints = self.complaints.recv_timeout(limit).expect("it ends");
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), complaints);
            }
            assert!(begin.elapsed() < SOON, "it closed its stderr, but does not end");
            thread::yield_now();
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server, and a client of it in Rust.
fn serve() -> (ServerHandle, Connection) {
    let server = Server::builder().bind("127.0.0.1:0").unwrap().spawn().unwrap();
    let rust = Connection::builder().name("rust").connect(&server.addr().to_string()).unwrap();
    assert!(matches!(next(&rust), Event::Present { .. }));
    (server, rust)
}

fn next(connection: &Connection) -> Event {
    connection.recv_timeout(SOON).unwrap().expect("the connection lives")
}

fn assert_accepted(connection: &Connection, receipt: tcpkit::Receipt) {
    assert_eq!(connection.confirm_timeout(receipt, SOON).unwrap(), Fate::Accepted);
}

#[test]
fn the_python_program_chats_with_a_rust_client() {
    let (server, rust) = serve();
    let address = server.addr().to_string();
    let Some(mut python) = Python::start(&["tcpkit.py", &address, "python"]) else { return };
    assert_eq!(python.line(), format!("connected to {address} as 'python'"));
    let present = python.line();
    assert!(present == "* Present: rust, python" || present == "* Present: python, rust");
    assert!(matches!(next(&rust), Event::Joined { name, .. } if name == "python"));

    for line in ["hello", "grüße an dich 🦀", ""] {
        python.say(line);
        match next(&rust) {
            Event::Text { from, body, .. } => assert_eq!((&*from, &*body), ("python", line)),
            other => panic!("{other}"),
        }
    }
    assert_accepted(&rust, rust.send("hi, naïve 🐍\u{1b}[2J").unwrap());
    assert_accepted(&rust, rust.send_to("python", "for you alone").unwrap());
    assert_eq!(python.line(), "rust: hi, naïve 🐍\\x1b[2J");
    assert_eq!(python.line(), "rust: for you alone");

    assert_eq!(python.finish(SOON), (Some(0), String::new()));
    let left = next(&rust);
    assert!(matches!(left, Event::Left { reason: Reason::Done, .. }), "{left}");
}

#[test]
fn the_python_program_tells_that_the_server_shut_down() {
    let (server, rust) = serve();
    rust.close().unwrap(); // nobody would read there, and the server would wait for its goodbye
    let address = server.addr().to_string();
    let Some(python) = Python::start(&["tcpkit.py", &address]) else { return };
    assert!(python.line().starts_with("connected to "));
    assert!(server.shutdown(SOON));
    let complaints = python.complaints.recv_timeout(SOON).expect("it ends while stdin is open");
    assert!(complaints.contains("'Terminate', 'reason': 1"), "{complaints}");
}

#[test]
fn the_python_module_sends_to_one_and_bytes_and_learns_of_refusals() {
    let (server, rust) = serve();
    let (host, port) = (server.addr().ip().to_string(), server.addr().port().to_string());
    let Some(mut python) = Python::start(&["-c", LIBRARY_USER, &host, &port]) else { return };
    assert!(matches!(next(&rust), Event::Joined { .. }));
    match next(&rust) {
        Event::Direct { from, body, .. } => assert_eq!((&*from, &*body), ("python", "psst 🤫")),
        other => panic!("{other}"),
    }
    match next(&rust) {
        Event::Bytes { body, .. } => assert_eq!(body, b"\0\xff"),
        other => panic!("{other}"),
    }
    assert_eq!(python.line(), "refused 3 11");
    assert_eq!(python.finish(SOON), (Some(0), String::new()));
}

#[test]
fn the_python_clients_own_tests_pass() {
    let Some(mut python) = Python::start(&["-m", "unittest", "discover"]) else { return };
    let (code, report) = python.finish(TESTS_TIME);
    assert_eq!(code, Some(0), "{report}");
}
