//! The program `server` as a process: what it prints, what it logs, how it ends, its exit codes.
//!
//! How the server treats its clients is left to `server.rs`; here there are just enough of them.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command as Process, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use common::SOON;
use tcpkit::message::ErrorCode;
use tcpkit::{Connection, Error, Event, Fate};

/// Where the program is started: a folder for files of tests, without a `config.ini`.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// The program without the settings that this machine may have, for what ends by itself.
fn server(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("server"));
    command.env_clear().current_dir(FOLDER).timeout(SOON).args(arguments);
    command
}

/// A file in [`FOLDER`], of which only one test may have the name.
fn write(name: &str, content: &[u8]) {
    fs::write(format!("{FOLDER}/{name}"), content).unwrap();
}

/// A program that runs; it is killed when its test is over.
struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    /// Starts it on a free port, and waits until it listens.
    fn serve(arguments: &[&str]) -> (Self, SocketAddr) {
        let mut command = Process::new(cargo_bin!("server"));
        command.env_clear().args(["--bind", "127.0.0.1:0"]).args(arguments);
        let running = Self::start(command);
        let address = running.ready();
        (running, address)
    }

    fn start(mut command: Process) -> Self {
        command.current_dir(FOLDER).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// The address that the first line on stdout tells.
    fn ready(&self) -> SocketAddr {
        let line = self.stdout.recv_timeout(SOON).expect("a ready line");
        let before = concat!("tcpkit ", env!("CARGO_PKG_VERSION"), " listening on ");
        let address = line.strip_prefix(before).unwrap_or_else(|| panic!("{line}"));
        address.parse().unwrap()
    }

    /// The next line on stderr that contains `words`.
    fn told(&self, words: &str) -> String {
        loop {
            let line = self.stderr.recv_timeout(SOON);
            let line = line.unwrap_or_else(|error| panic!("nobody tells '{words}': {error}"));
            if line.contains(words) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        self.child.wait().unwrap();
    }
}

/// The lines of a pipe, which a thread takes until its end, so that a wait can have a deadline.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (give, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| give.send(line))
    });
    lines
}

fn join(address: SocketAddr, name: &str) -> Connection {
    Connection::builder().name(name).reconnect(None).connect(&address.to_string()).unwrap()
}

/// The sender and the body of the next text.
fn next_text(connection: &Connection) -> (String, String) {
    loop {
        let event = connection.recv_timeout(SOON).unwrap().expect("the connection lives");
        if let Event::Text { from, body, .. } = event {
            return (from, body);
        }
    }
}

/// The form of a line of the log: each digit of its time as a 9.
fn form(line: &str) -> String {
    let digits = |c: char| if c.is_ascii_digit() { '9' } else { c };
    line.split(' ').next().unwrap_or_default().chars().map(digits).collect()
}

#[test]
fn the_first_line_says_where_it_listens_once_it_does() {
    let (running, address) = Running::serve(&[]);
    TcpStream::connect_timeout(&address, SOON).unwrap();
    let next = running.stdout.recv_timeout(SOON).unwrap();
    assert_eq!(next, "  mode    relay       config  defaults (heartbeat after 20s of silence)");
    let next = running.stdout.recv_timeout(SOON).unwrap();
    let try_it = format!("cargo run --bin client -- --server {address} --name alice");
    assert_eq!(next, format!("  files   received/   try     {try_it}"));
    let (alice, bob) = (join(address, "alice"), join(address, "bob"));
    let receipt = alice.send("hello").unwrap();
    assert_eq!(alice.confirm_timeout(receipt, SOON).unwrap(), Fate::Accepted);
    assert_eq!(next_text(&bob), ("alice".into(), "hello".into()));
}

#[test]
fn an_echo_server_echoes() {
    let (_running, address) = Running::serve(&["--mode", "echo"]);
    let alice = join(address, "alice");
    alice.send("hello").unwrap();
    assert_eq!(next_text(&alice), ("alice".into(), "hello".into()));
}

#[test]
fn a_configuration_is_checked() {
    write("good.ini", b"[relay]\nhistory = 5\n");
    write("bad.ini", b"[server]\nmode = echo\n\nbnid = 127.0.0.1:1\n");
    let check = |file: &str| server(&["--config", file, "--check-config"]).assert();
    check("good.ini").code(0).stdout("the configuration is good\n").stderr("");
    let advice = "server: bad.ini:4: unknown key 'bnid' in [server]; did you mean 'bind'?\n";
    check("bad.ini").code(2).stdout("").stderr(advice);
    let missing = "server: cannot read missing.ini: no such file or directory\n";
    check("missing.ini").code(2).stdout("").stderr(missing);
    let token = ["--set", "access.token_file=missing", "--check-config"];
    let missing = "server: cannot read the token in missing: no such file or directory\n";
    server(&token).assert().code(2).stdout("").stderr(missing);
}

#[test]
fn the_printed_configuration_tells_origins_and_can_be_read_again() {
    let arguments = ["--print-config", "--set", "server.drain=3s", "--mode=echo"];
    let printed = server(&arguments).env("TCPKIT_RELAY_HISTORY", "7").assert().code(0).stderr("");
    let printed = String::from_utf8(printed.get_output().stdout.clone()).unwrap();
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = printed.lines().map(squeezed).collect();
    for line in [
        "drain = 3 # --set server.drain",
        "history = 7 # environment TCPKIT_RELAY_HISTORY",
        "mode = echo # --mode",
        "level = info # default",
    ] {
        assert!(lines.iter().any(|other| other == line), "{line}:\n{printed}");
    }
    let worst_case = "# a dead peer is noticed after 60s at the latest\n\n[reconnect]";
    assert!(printed.contains(worst_case), "{printed}");

    write("printed.ini", printed.as_bytes());
    server(&["--config", "printed.ini", "--check-config"]).assert().code(0).stderr("");
    let again = server(&["--config", "printed.ini", "--print-config"]).assert().code(0);
    let again = String::from_utf8(again.get_output().stdout.clone()).unwrap();
    let settings = |text: &str| -> Vec<String> {
        text.lines().map(|line| squeezed(line.split('#').next().unwrap_or(line))).collect()
    };
    assert_eq!(settings(&again), settings(&printed));
}

#[test]
fn what_needs_no_server_starts_none() {
    let version = concat!("server ", env!("CARGO_PKG_VERSION"), "\n");
    server(&["--version"]).assert().code(0).stdout(version).stderr("");
    let help = server(&["--help"]).assert().code(0).stderr("");
    let help = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    assert!(help.contains("--check-config") && help.contains("Exit codes: 0 done"), "{help}");
    server(&["--bnid", "127.0.0.1:0"])
        .assert()
        .code(2)
        .stdout("")
        .stderr("server: unknown option '--bnid'; did you mean '--bind'?\nTry 'server --help'.\n");
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    server(&["--bind", &address]).assert().code(1).stdout("").stderr(format!(
        "server: cannot listen on {address}: address already in use.\n\
         Is a server running there already? Choose another port: --bind 127.0.0.1:0\n"
    ));
}

#[test]
fn a_token_is_asked_for() {
    write("token", b"  open sesame \nnot this\n");
    let (running, address) = Running::serve(&["--set", "access.token_file=token"]);
    for token in ["", "open", "not this"] {
        let refused = Connection::builder().token(token).connect(&address.to_string());
        let code = match refused {
            Err(Error::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code, ErrorCode::NotAuthorised);
        let line = running.told(" warn refused ");
        assert!(!line.contains("open") && !line.contains("not this"), "{line}");
    }
    let alice = Connection::builder().name("alice").token("open sesame");
    alice.connect(&address.to_string()).unwrap().ping_timeout(SOON).unwrap();
    running.told(" info joined name=alice ");
}

#[test]
fn the_log_is_plain_in_a_pipe_unless_colour_is_asked_for() {
    let (running, address) = Running::serve(&[]);
    join(address, "alice").close().unwrap();
    for words in ["joined name=alice peer=127.0.0.1:", "left name=alice peer=127.0.0.1:"] {
        let line = running.told(words);
        assert_eq!(form(&line), "9999-99-99T99:99:99.999Z", "{line}");
        assert!(line[24..].starts_with(&format!(" info {words}")), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }

    let (running, address) = Running::serve(&["--set", "log.colour=always"]);
    let _alice = join(address, "alice");
    let line = running.told("joined");
    assert!(line[24..].starts_with(" \u{1b}[32minfo\u{1b}[0m joined name=alice "), "{line}");
}

#[test]
fn what_kubernetes_puts_into_the_environment_keeps_no_server_from_starting() {
    let mut command = Process::new(cargo_bin!("server"));
    command.env_clear().args(["--bind", "127.0.0.1:0"]);
    command.env("TCPKIT_SERVER_PORT", "tcp://10.0.0.1:5001");
    let running = Running::start(command);
    join(running.ready(), "alice").ping_timeout(SOON).unwrap();
    let line = running.told("TCPKIT_SERVER_PORT");
    assert_eq!(line, "warning: TCPKIT_SERVER_PORT is ignored: its value holds '://'");
}

#[cfg(unix)]
mod unix {
    use super::*;
    use common::eventually;
    use common::raw::Raw;

    impl Running {
        fn signal(&self, name: &str) {
            let pid = self.child.id().to_string();
            assert!(Process::new("kill").args([name, &pid]).status().unwrap().success());
        }

        /// Its exit code, once it has ended.
        fn code(&mut self) -> Option<i32> {
            let mut status = None;
            eventually(|| {
                status = self.child.try_wait().unwrap();
                status.map(|_| ()).ok_or_else(|| "the program does not end".into())
            });
            status.unwrap().code()
        }
    }

    /// The program as a shell starts it, after or with what `script` says.
    fn by_shell(script: &str, arguments: &[&str]) -> Running {
        let mut command = Process::new("sh");
        command.env_clear().args(["-c", script]).arg(cargo_bin!("server")).args(arguments);
        Running::start(command)
    }

    #[test]
    fn a_signal_lets_the_clients_finish() {
        let (mut running, address) = Running::serve(&[]);
        let alice = join(address, "alice");
        alice.send("the last words").unwrap();
        alice.flush_timeout(SOON).unwrap();
        running.signal("-TERM");
        while let Some(event) = alice.recv_timeout(SOON).expect("an orderly end") {
            assert!(matches!(event, Event::Present { .. }), "{event}");
        }
        assert_eq!(running.code(), Some(0));
        running.told(" info stopping reason=signal");
        assert!(running.told(" info stopped").ends_with(" info stopped"));
    }

    #[test]
    fn a_second_signal_ends_it_at_once() {
        let (mut running, address) = Running::serve(&["--set", "server.drain=60"]);
        let _silent = Raw::join(address, "silent");
        running.signal("-TERM");
        running.told("stopping reason=signal");
        assert_eq!(running.child.try_wait().unwrap(), None);
        running.signal("-TERM");
        assert_eq!(running.code(), Some(130));
    }

    #[test]
    fn a_signal_that_was_ignored_before_stays_ignored() {
        let script = r#"trap "" INT; exec "$0" "$@""#;
        let mut running = by_shell(script, &["--bind", "127.0.0.1:0"]);
        let address = running.ready();
        let alice = join(address, "alice");
        running.signal("-INT");
        alice.ping_timeout(SOON).unwrap();
        join(address, "bob").ping_timeout(SOON).unwrap();
        running.signal("-TERM");
        assert_eq!(running.code(), Some(0), "130 would mean that it was the second");
    }

    /// Nobody is told the port, so it is one that was free a moment ago.
    #[test]
    fn without_stdout_it_serves_all_the_same() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let bind = ["--bind", &free.to_string()];
        let mut running = by_shell(r#"exec "$0" "$@" >&-"#, &bind);
        eventually(|| {
            let alice =
                Connection::connect(&free.to_string()).map_err(|error| error.to_string())?;
            alice.ping_timeout(SOON).map(|_| ()).map_err(|error| error.to_string())
        });
        running.signal("-TERM");
        assert_eq!(running.code(), Some(0));
    }
}
