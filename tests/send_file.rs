//! `client send-file`, and `/file` in the chat, against a server in this process.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use tcpkit::settings::Settings;
use tcpkit::{Connection, Event, Server, ServerHandle};

/// For everything that is sure to happen soon.
const SOON: Duration = Duration::from_secs(10);

/// A server, and a folder with what it received and with files to send.
struct Site {
    _server: ServerHandle,
    address: String,
    folder: PathBuf,
}

impl Site {
    fn open(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tcpkit-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let mut settings = Settings::default();
        settings.uploads.folder = folder.join("received").display().to_string();
        settings.uploads.file = 1_000_000;
        let server = Server::builder().settings(settings).bind("127.0.0.1:0").unwrap();
        let server = server.spawn().unwrap();
        let address = server.addr().to_string();
        Self { _server: server, address, folder }
    }

    /// A file to send: its path.
    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn received(&self, path: &str) -> Vec<u8> {
        fs::read(self.folder.join("received").join(path)).unwrap()
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin!("client"));
        let server = ["--server", &self.address, "--name", "alice"];
        command.env_clear().timeout(SOON).args(server).args(arguments);
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = Process::new(cargo_bin!("client"));
        command.env_clear().args(["--server", &self.address, "--name", "alice"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn bob(&self) -> Connection {
        Connection::builder().name("bob").connect(&self.address).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The next notice of a file.
fn next_upload(connection: &Connection) -> String {
    loop {
        let event = connection.recv_timeout(SOON).unwrap().expect("the connection lives");
        if let Event::Uploaded { .. } = event {
            return event.to_string();
        }
    }
}

#[test]
fn every_file_is_told_of_and_one_that_fails_keeps_back_no_other() {
    let site = Site::open("several");
    let bob = site.bob();
    let photo = site.file("photo.jpg", &vec![7; 700_000]);
    let empty = site.file("empty", b"");
    let large = site.file("large", &vec![0; 1_000_001]);
    let folder = site.folder.display().to_string();
    let missing = format!("{folder}/missing");
    let output =
        site.client(&["send-file", &photo, &missing, &folder, &large, &empty]).assert().code(3);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.get_output().stdout), text(&output.get_output().stderr));
    let stored = format!(
        "{photo}  684 KiB  ✓ saved as alice/photo.jpg\n{empty}  0 B  ✓ saved as alice/empty\n"
    );
    assert_eq!(stdout, stored);
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines[0], format!("cannot read {missing}: no such file or directory"));
    assert_eq!(lines[1], format!("cannot read {folder}: is a directory"));
    assert!(
        lines[2].starts_with(&format!("{large}: not stored: too large (at most 1")),
        "{stderr}"
    );
    assert_eq!(lines[3..], ["client: not all is stored: 2 of 5 files"]);
    assert!(site.received("alice/photo.jpg") == vec![7; 700_000]);
    let mut told = [next_upload(&bob), next_upload(&bob)]; // the small one may be done first
    told.sort();
    assert_eq!(told, ["alice sent empty, 0 B", "alice sent photo.jpg, 684 KiB"]);
}

#[test]
fn json_tells_each_step() {
    let site = Site::open("json");
    let photo = site.file("photo", b"abc");
    let output = site.client(&["send-file", "--json", &photo, "/none"]).assert().code(3);
    let stdout = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let steps: Vec<_> = stdout.lines().filter(|line| !line.contains("\"progress\"")).collect();
    let stored = format!(r#"{{"event":"stored","file":"{photo}","path":"alice/photo","size":3}}"#);
    let expected = [
        format!(r#"{{"event":"begun","file":"{photo}","size":3}}"#),
        concat!(
            r#"{"event":"not-stored","file":"/none","#,
            r#""problem":"cannot read /none: no such file or directory"}"#
        )
        .to_owned(),
        stored,
    ];
    assert_eq!(steps, expected);
}

#[test]
fn stdin_is_sent_under_the_name_that_it_is_given() {
    let site = Site::open("stdin");
    let content: Vec<u8> = (0..300_000u32).map(|index| (index >> 5) as u8).collect();
    let command = ["send-file", "-", "--name", "src.tar"];
    let output = site.client(&command).write_stdin(content.clone()).assert().code(0);
    output.stdout("src.tar  293 KiB  ✓ saved as alice/src.tar\n").stderr("");
    assert!(site.received("alice/src.tar") == content);
    for (words, problem) in [
        (&["send-file"][..], "nothing to send: give PATH, or - for stdin"),
        (&["send-file", "-"], "what comes from stdin needs a name: send-file - --name NAME"),
        (&["send-file", "-", "-", "--name", "x"], "- is stdin, which can be sent once"),
        (
            &["send-file", "x", "--name", "y"],
            "--name behind send-file is for -, stdin; the client's own goes before send-file",
        ),
    ] {
        let told = format!("client: {problem}\nTry 'client --help'.\n");
        site.client(words).assert().code(2).stderr(told);
    }
}

#[test]
fn an_interrupt_cancels_also_while_stdin_gives_nothing() {
    let site = Site::open("interrupt");
    let mut child = site.start(&["send-file", "--json", "-", "--name", "x"]);
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap(); // the first progress event
    let pid = child.id().to_string();
    assert!(Process::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < SOON, "the program does not end");
        std::thread::yield_now();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "client: not all is stored: interrupted\n");
    let left = fs::read_dir(site.folder.join("received/alice")).into_iter().flatten().count();
    assert_eq!(left, 0, "no part is left");
}

/// A terminal, played by tmux, with one program in it.
struct Terminal(String);

impl Terminal {
    /// None, and a word about it, where there is no tmux.
    fn start(name: &str, shell: &str) -> Option<Self> {
        if Process::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: tmux is not installed, and there is no other terminal to look at");
            return None;
        }
        let terminal = Self(format!("tcpkit-{}-{name}", std::process::id()));
        let words = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", shell];
        terminal.tmux(&words);
        Some(terminal)
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut tmux = Process::new("tmux");
        tmux.args(["-u", "-L", &self.0]).args(words).env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        let output = tmux.env("TERM", "xterm-256color").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait_for(&self, what: &str) -> String {
        let start = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if screen.contains(what) {
                return screen;
            }
            assert!(start.elapsed() < 2 * SOON, "no {what} on the screen:\n{screen}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// A pipe with a name, which a program reads once it is written to.
fn fifo(folder: &Path) -> PathBuf {
    let path = folder.join("fifo");
    assert!(Process::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[test]
fn a_terminal_sees_one_line_that_is_drawn_anew() {
    let site = Site::open("progress");
    let fifo = fifo(&site.folder);
    let client = cargo_bin!("client").display().to_string();
    let address = &site.address;
    let shell = format!(
        "{client} --server {address} --name alice send-file - --name x < {} ; read line",
        fifo.display()
    );
    let Some(terminal) = Terminal::start("progress", &shell) else { return };
    let mut pipe = fs::File::options().write(true).open(&fifo).unwrap();
    terminal.wait_for("x  0 B");
    pipe.write_all(&[1; 2048]).unwrap();
    drop(pipe);
    let screen = terminal.wait_for("x  2.0 KiB  ✓ saved as alice/x");
    assert!(!screen.contains("x  0 B"), "{screen}");
}

#[test]
fn a_chat_sends_a_file_and_goes_on() {
    let site = Site::open("chat");
    let bob = site.bob();
    site.file("my photo.jpg", &vec![1; 100_000]);
    let client = cargo_bin!("client").display().to_string();
    let folder = site.folder.display();
    let shell = format!("cd {folder} && {client} --server {} --name alice", site.address);
    let Some(terminal) = Terminal::start("chat", &shell) else { return };
    terminal.wait_for("also here: bob");
    terminal.tmux(&["send-keys", "/file my photo.jpg", "Enter"]);
    terminal.wait_for("sending my photo.jpg, 97.7 KiB");
    terminal.wait_for("  my photo.jpg  97.7 KiB  ✓ saved as alice/my photo.jpg");
    assert_eq!(next_upload(&bob), "alice sent my photo.jpg, 97.7 KiB");
    terminal.tmux(&["send-keys", "/file none", "Enter"]);
    terminal.wait_for("✗ not sent: cannot read none: no such file or directory");
}
