//! Uploads against a store that is played by hand.

use std::fs;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::restoring::{next_peer, restored_at_once, resumed};
use super::store::Store;
use super::*;

const WINDOW: u64 = 128 * 1024;

/// A file in a folder of its own, removed at the end.
struct Sample(PathBuf);

impl Sample {
    fn new(name: &str, content: &[u8]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("tcpkit-uploads-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join(name);
        fs::write(&path, content).expect("a file");
        Self(path)
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = self.0.parent().map(fs::remove_dir_all);
    }
}

/// Bytes of which no two pieces are equal.
fn bytes(count: usize) -> Vec<u8> {
    (0..count as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A connection whose server stores what comes, and what it has stored in the end.
fn stored_by(store: Store) -> (Connection, Receiver<Store>) {
    let (connection, peer) = over_tcp(KEEP);
    (connection, start(move || store.serve_all(peer)))
}

/// A reader that gives a little at a time, then how it ends.
struct Trickle<'a> {
    left: &'a [u8],
    end: Option<io::Error>,
}

impl Read for Trickle<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            return self.end.take().map_or(Ok(0), Err);
        }
        let most = space.len().min(7001);
        (&mut self.left).take(most as u64).read(space)
    }
}

#[test]
fn a_file_arrives_whole_whatever_its_size() {
    for size in [0, 1, 65_536, 65_537, 1_000_000] {
        let sample = Sample::new("photo.jpg", &bytes(size));
        let (connection, server) = stored_by(Store::new(8, WINDOW));
        let mut reports = Vec::new();
        let stored = connection.send_file(&sample.0, |progress| {
            reports.push(progress);
            ControlFlow::Continue(())
        });
        let stored = stored.expect("stored");
        assert_eq!((&*stored.path, stored.size), ("alice/photo.jpg", size as u64));
        assert_eq!(reports[0].sent, 0);
        let last = reports.last().expect("two at least");
        assert_eq!((last.stored, last.size), (size as u64, Some(size as u64)));
        assert!(reports.is_sorted_by_key(|progress| progress.sent));
        connection.close().expect("a goodbye");
        let store = result_of(&server);
        assert_eq!(store.files, [("alice/photo.jpg".to_owned(), bytes(size))]);
    }
}

#[test]
fn what_a_reader_gives_arrives_whole() {
    for size in [0, 7001, 400_000] {
        let content = bytes(size);
        let (connection, server) = stored_by(Store::new(8, WINDOW));
        let reader = Trickle { left: &content, end: None };
        let stored = connection.send_stream("notes", "text/plain", reader, go_on).expect("stored");
        assert_eq!(stored.size, size as u64);
        connection.close().expect("a goodbye");
        assert_eq!(result_of(&server).files, [("alice/notes".to_owned(), content)]);
    }
}

#[test]
fn many_go_on_at_once_and_messages_pass_between() {
    // The server takes three at a time: the others wait, also those that were refused as too many.
    let (connection, server) = stored_by(Store::new(3, WINDOW));
    let samples: Vec<_> =
        (0..30).map(|index| Sample::new(&format!("{index}"), &bytes(index * 9973))).collect();
    let uploads: Vec<_> =
        samples.iter().map(|sample| connection.upload(&sample.0).expect("open")).collect();
    for number in 1..=100 {
        let receipt = connection.send(&format!("message {number}")).expect("open");
        assert_eq!(connection.confirm(receipt).expect("told"), Fate::Accepted);
    }
    for (index, upload) in uploads.iter().enumerate() {
        let stored = upload.wait_timeout(PATIENCE).expect("stored");
        assert_eq!((stored.path, stored.size), (format!("alice/{index}"), index as u64 * 9973));
    }
    connection.close().expect("a goodbye");
    let store = result_of(&server);
    assert_eq!(store.files.len(), 30);
    for (path, content) in &store.files {
        let index: usize = path.trim_start_matches("alice/").parse().expect("a number");
        assert!(*content == bytes(index * 9973), "{path}");
    }
}

#[test]
fn a_cut_in_the_middle_costs_only_what_was_under_way() {
    const SIZE: usize = 1_500_000;
    for is_file in [true, false] {
        let sample = Sample::new("photo.jpg", &bytes(SIZE));
        let (connection, mut peer, to_come) = restored_at_once();
        let server = start(move || {
            let mut store = Store::new(8, WINDOW);
            for cut in 1..6 {
                store.serve(&mut peer, |frame| {
                    matches!(frame, Frame::StreamData { offset, .. } if *offset > cut * 200_000)
                });
                drop(peer);
                store.rules.lost();
                peer = next_peer(&to_come).0;
                store.rules.resumed(Instant::now());
                peer.send(&resumed(0, 0, 0));
            }
            store.serve_all(peer)
        });
        let content = bytes(SIZE);
        let stored = if is_file {
            connection.send_file(&sample.0, go_on)
        } else {
            connection.send_stream("photo.jpg", "", &*content, go_on)
        };
        assert_eq!(stored.expect("stored").path, "alice/photo.jpg");
        connection.close().expect("a goodbye");
        let store = result_of(&server);
        assert!(store.files == [("alice/photo.jpg".to_owned(), content)]);
        assert_eq!(store.came, SIZE, "the last frame before each cut was not taken");
    }
}

#[test]
fn data_at_the_wrong_place_is_sent_again_from_the_right_one() {
    let sample = Sample::new("photo.jpg", &bytes(500_000));
    let (connection, mut peer) = over_tcp(KEEP);
    let server = start(move || {
        let mut store = Store::new(8, WINDOW);
        let mut is_lost = true;
        let lose = |frame: &Frame<'_>| {
            let is_it = matches!(frame, Frame::StreamData { offset: 65_536.., .. });
            is_it && std::mem::take(&mut is_lost)
        };
        store.serve(&mut peer, lose); // that frame is taken by nobody
        store.serve_all(peer)
    });
    connection.send_file(&sample.0, go_on).expect("stored");
    connection.close().expect("a goodbye");
    let store = result_of(&server);
    assert!(store.files[0].1 == bytes(500_000));
    assert!(store.came > 500_000, "some came twice");
}

#[test]
fn a_lost_session_leaves_the_fate_unknown_and_what_waits_goes_on() {
    let samples = ["one", "two", "three"].map(|name| Sample::new(name, &bytes(300_000)));
    let (connection, mut peer, to_come) = restored_at_once();
    let server = start(move || {
        let mut store = Store::new(2, WINDOW);
        let is_cut = |frame: &Frame<'_>| matches!(frame, Frame::StreamData { offset: 65_536, .. });
        store.serve(&mut peer, is_cut);
        drop(peer);
        let peer = next_peer(&to_come).0;
        peer.send(&init_ack());
        Store::new(2, WINDOW).serve_all(peer)
    });
    let uploads = samples.each_ref().map(|sample| connection.upload(&sample.0).expect("open"));
    for upload in &uploads[..2] {
        let fate = upload.wait_timeout(PATIENCE);
        assert!(matches!(fate, Err(Error::UploadUnknown)), "{fate:?}");
    }
    assert_eq!(uploads[2].wait_timeout(PATIENCE).expect("stored").path, "alice/three");
    connection.close().expect("a goodbye");
    assert!(result_of(&server).files == [("alice/three".to_owned(), bytes(300_000))]);
}

#[test]
fn a_handle_that_is_dropped_cancels_and_so_does_the_progress() {
    let sample = Sample::new("photo.jpg", &bytes(500_000));
    let (connection, mut peer) = over_tcp(KEEP);
    let upload = connection.upload(&sample.0).expect("open");
    assert!(peer.next().expect("a frame").starts_with("StreamOpen"));
    drop(upload);
    assert!(peer.next().expect("a frame").starts_with("StreamCancel { stream: 1"));
    let server = start(move || {
        let mut store = Store::new(8, WINDOW);
        // As if it had seen the first one too.
        let open = Frame::StreamOpen { stream: 1, size: Some(1), name: "x", media_type: "" };
        store.take(&open);
        store.take(&Frame::StreamCancel { stream: 1, detail: "".into() });
        store.serve_all(peer)
    });
    let break_off = |progress: Progress| match progress.sent {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    };
    // It never ends by itself.
    let cancelled = connection.send_stream("zeros", "", io::repeat(0), break_off);
    let is_cancelled = |result: &Result<Stored, Error>| {
        matches!(result, Err(Error::NotStored { code: StatusCode::Cancelled, .. }))
    };
    assert!(is_cancelled(&cancelled), "{cancelled:?}");
    let cancelled = connection.send_file(&sample.0, |_| ControlFlow::Break(()));
    assert!(is_cancelled(&cancelled), "{cancelled:?}");
    connection.ping().expect("the connection is good");
    connection.close().expect("a goodbye");
    let store = result_of(&server);
    assert_eq!((store.files.len(), store.rules.count()), (0, 0));
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let sample = Sample::new("photo.jpg", &bytes(10));
    let (connection, server) = stored_by(Store::new(0, WINDOW));
    for result in [
        connection.send_file(&sample.0, go_on),
        connection.send_stream("x", "", io::repeat(0), go_on),
    ] {
        let told = result.expect_err("refused").to_string();
        let words = "not stored: refused by the server's program (this server takes no files)";
        assert_eq!(told, words);
    }
    connection.close().expect("a goodbye");
    assert_eq!(result_of(&server).came, 0);
}

/// What is told of a file that `change` is done to after the first credit.
fn told_of(change: fn(&PathBuf)) -> String {
    let sample = Sample::new("log", &bytes(400_000));
    let (connection, mut peer) = over_tcp(KEEP);
    let path = sample.0.clone();
    let server = start(move || {
        let mut store = Store::new(8, WINDOW);
        let is_data = |frame: &Frame<'_>| matches!(frame, Frame::StreamData { .. });
        store.serve(&mut peer, is_data);
        change(&path);
        // The frame that was just looked at is lost: all is read once more from the beginning.
        store.serve_all(peer)
    });
    let error = connection.send_file(&sample.0, go_on).expect_err("it has changed");
    let Error::Content { name, source } = error else { panic!("{error:?}") };
    assert_eq!(name, sample.0.display().to_string());
    connection.close().expect("a goodbye");
    assert_eq!(result_of(&server).files.len(), 0, "nothing is stored");
    source.to_string()
}

#[test]
fn a_file_that_changes_its_size_meanwhile_is_not_stored() {
    let shrink = |path: &PathBuf| {
        fs::File::options().write(true).open(path).and_then(|file| file.set_len(9)).expect("cut");
    };
    assert_eq!(told_of(shrink), "it shrank while it was sent");
    let grow = |path: &PathBuf| {
        fs::File::options()
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(b"more"))
            .expect("written");
    };
    assert_eq!(told_of(grow), "it grew while it was sent");
}

#[test]
fn what_is_no_file_is_told_before_anything_is_sent() {
    let sample = Sample::new("file", b"x");
    let (connection, server) = stored_by(Store::new(8, WINDOW));
    let folder = sample.0.parent().expect("a folder");
    for (path, kind) in [
        (folder.join("missing"), io::ErrorKind::NotFound),
        (folder.to_owned(), io::ErrorKind::IsADirectory),
    ] {
        let error = connection.upload(&path).expect_err("no file");
        let Error::Content { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), kind);
    }
    let long = connection.send_stream(&"n".repeat(1001), "", io::empty(), go_on);
    assert!(matches!(long, Err(Error::FieldTooLong("file name"))));
    let content = bytes(100_000);
    let broken = Trickle { left: &content, end: Some(io::ErrorKind::BrokenPipe.into()) };
    let told = connection.send_stream("x", "", broken, go_on).expect_err("broken");
    assert!(matches!(&told, Error::Content { name, .. } if name == "x"), "{told:?}");
    connection.close().expect("a goodbye");
    assert_eq!(result_of(&server).rules.count(), 0, "what had begun was cancelled");
    assert!(matches!(connection.upload(&sample.0), Err(Error::Closed)));
}

#[test]
fn a_close_wakes_whoever_waits_for_an_upload() {
    let sample = Sample::new("photo.jpg", &bytes(10));
    let (connection, mut peer) = over_tcp(KEEP); // it gives no credit
    let upload = connection.upload(&sample.0).expect("open");
    assert!(peer.next().expect("a frame").starts_with("StreamOpen"));
    assert!(matches!(upload.wait_timeout(Duration::from_millis(1)), Err(Error::Timeout(..))));
    let waiting = start(move || upload.wait());
    // It, and the connection's own thread: one of them reads.
    until(|| connection.core.answers.waiting() == 1);
    until_someone_reads(&connection);
    peer.send(&Frame::TerminateAck);
    let _ = connection.close();
    let fate = result_of(&waiting);
    assert!(matches!(fate, Err(Error::Closed | Error::UploadUnknown)), "{fate:?}");
}
