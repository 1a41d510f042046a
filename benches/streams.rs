//! What files cost, beside a bare `TcpStream` that is copied to a file with `std::io::copy`, in the
//! same process and run: `cargo bench --bench streams`. Prints medians: MB/s and CPU seconds for
//! each GiB of one large file and of many small ones, into memory (`/dev/shm`) and into a folder of
//! a disk; then the round trip of a message, with and without a large file under way.
//!
//! Both sides of each run in this process, so that its CPU time is that of both. The bare copy ends
//! with the same sync as the server's file, which counts for the disk. For small files, the bare
//! receiver is told nothing: it makes a file of each KiB that comes. Neither of the bare ones
//! confirms, checks or numbers anything.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tcpkit::settings::Settings;
use tcpkit::{Connection, Server, ServerHandle};

const ROUNDS: usize = 3;
const SMALL: usize = 1024;
/// How many small files are begun ahead.
const AHEAD: usize = 64;

fn main() {
    let is_quick = std::env::args().any(|word| word == "--quick");
    let (large_size, count): (u32, u32) =
        if is_quick { (32 << 20, 500) } else { (1 << 30, 10_000) };
    let small_size = count * SMALL as u32;
    let memory = Place::new(Path::new("/dev/shm"));
    let disk = Place::new(&std::env::temp_dir());
    let file = memory.folder.join("large");
    let content: Vec<u8> = (0..1 << 20).map(|index: u32| (index >> 3) as u8).collect();
    let mut writer = File::create(&file).expect("room in /dev/shm");
    (0..large_size >> 20).for_each(|_| writer.write_all(&content).expect("room in /dev/shm"));
    for (name, place) in [("/dev/shm", &memory), ("disk", &disk)] {
        println!("{name}, {} MiB:", large_size >> 20);
        compare(large_size, || place.bare_large(&file), || place.send_large(&file));
        println!("{name}, {count} files of 1 KiB:");
        compare(small_size, || place.bare_small(count), || place.send_small(count));
    }
    round_trips(&memory, &file);
}

/// Runs both, in turns, and prints the medians.
fn compare(bytes: u32, bare: impl Fn(), ours: impl Fn()) {
    let (mut bares, mut all) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bares.push(measure(&bare));
        all.push(measure(&ours));
    }
    let bytes = f64::from(bytes);
    let gib = bytes / f64::from(1 << 30);
    let mut rates = Vec::new();
    for (what, mut rounds) in [("bare copy", bares), ("tcpkit", all)] {
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (seconds, cpu) = rounds[ROUNDS / 2];
        let rate = bytes / 1e6 / seconds;
        println!("  {what:<10} {rate:8.1} MB/s  {:8.2} CPU s/GiB  {seconds:.3} s", cpu / gib);
        rates.push(rate);
    }
    println!("  ratio      {:8.2}", rates[1] / rates[0]);
}

/// Seconds of the clock and of the processors.
fn measure(work: impl Fn()) -> (f64, f64) {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    work();
    (start.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

/// What this process has used, in steps of 10 ms; 0 where there is no `/proc`.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// A folder, and a server that stores in it.
struct Place {
    folder: PathBuf,
    server: Option<ServerHandle>,
    connection: Option<Connection>,
}

impl Place {
    fn new(parent: &Path) -> Self {
        let folder = parent.join(format!("tcpkit-bench-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let mut settings = Settings::default();
        settings.uploads.folder = folder.join("received").display().to_string();
        // What is removed here is still counted there.
        (settings.uploads.client, settings.uploads.total) = (1 << 40, 1 << 40);
        let server = Server::builder().settings(settings).bind("127.0.0.1:0").expect("a port");
        let server = server.spawn().expect("a server");
        let connection = Connection::builder().name("bench").connect(&server.addr().to_string());
        Self { folder, server: Some(server), connection: Some(connection.expect("a connection")) }
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until the end")
    }

    fn send_large(&self, file: &Path) {
        let stored = self.connection().send_file(file, |_| ControlFlow::Continue(()));
        self.remove(&stored.expect("stored").path);
    }

    fn send_small(&self, count: u32) {
        let file = self.folder.join("small");
        fs::write(&file, [7; SMALL]).expect("room");
        let mut begun = VecDeque::<tcpkit::UploadHandle>::new();
        for _ in 0..count {
            if begun.len() >= AHEAD
                && let Some(upload) = begun.pop_front()
            {
                upload.wait().expect("stored");
            }
            begun.push_back(self.connection().upload(&file).expect("a file"));
        }
        for upload in begun {
            upload.wait().expect("stored");
        }
        for entry in fs::read_dir(self.folder.join("received/bench")).expect("a folder") {
            fs::remove_file(entry.expect("a file").path()).expect("it is there");
        }
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.folder.join("received").join(path)).expect("it is there");
    }

    fn bare_large(&self, file: &Path) {
        let target = self.folder.join("bare");
        bare(
            |mut socket| {
                let mut target = File::create(&target).expect("room");
                io::copy(&mut socket, &mut target).expect("a copy");
                target.sync_all().expect("synced");
            },
            |mut socket| {
                let mut file = File::open(file).expect("a file");
                io::copy(&mut file, &mut socket).expect("a copy");
            },
        );
        fs::remove_file(target).expect("it is there");
    }

    fn bare_small(&self, count: u32) {
        let target = self.folder.join("bare");
        let file = self.folder.join("small");
        fs::create_dir(&target).expect("a folder");
        fs::write(&file, [7; SMALL]).expect("room");
        bare(
            |mut socket| {
                for index in 0..count {
                    let mut target = File::create(target.join(index.to_string())).expect("room");
                    let count =
                        io::copy(&mut Read::by_ref(&mut socket).take(SMALL as u64), &mut target);
                    assert_eq!(count.expect("a copy"), SMALL as u64);
                    target.sync_all().expect("synced");
                }
            },
            |mut socket| {
                for _ in 0..count {
                    let mut file = File::open(&file).expect("a file");
                    io::copy(&mut file, &mut socket).expect("a copy");
                }
            },
        );
        fs::remove_dir_all(target).expect("it is there");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.connection.take());
        if let Some(server) = self.server.take() {
            server.shutdown(Duration::from_secs(1));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A connection of which one end receives and the other sends, to the end.
fn bare(receive: impl FnOnce(TcpStream) + Send, send: impl FnOnce(&TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let sender = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (receiver, _) = listener.accept().expect("accepts");
    thread::scope(|scope| {
        scope.spawn(|| receive(receiver));
        send(&sender);
        sender.shutdown(Shutdown::Write).expect("open");
    });
}

/// The round trip of a message (sent, and confirmed) while a file is under way, and before.
fn round_trips(place: &Place, file: &Path) {
    let connection = place.connection();
    let trip = || {
        let start = Instant::now();
        let receipt = connection.send("how long does it take?").expect("open");
        connection.confirm(receipt).expect("told");
        start.elapsed()
    };
    let mut alone: Vec<_> = (0..2000).map(|_| trip()).collect();
    let mut beside = Vec::new();
    let upload = connection.upload(file).expect("a file");
    let stored = loop {
        beside.push(trip());
        if let Ok(stored) = upload.wait_timeout(Duration::ZERO) {
            break stored;
        }
        // As someone who chats: the next one does not follow at once.
        thread::sleep(Duration::from_micros(500));
    };
    println!("round trip of a message:");
    alone.sort();
    beside.sort();
    for (what, times) in [("alone", &alone), ("beside a file", &beside)] {
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let (count, median, most) = (times.len(), at(50), at(99));
        println!("  {what:<14} {count:6} trips, median {median:.1?}, 99 % within {most:.1?}");
    }
    let ratio = beside[beside.len() / 2].as_secs_f64() / alone[alone.len() / 2].as_secs_f64();
    println!("  ratio of the medians {ratio:.2}");
    place.remove(&stored.path);
}
