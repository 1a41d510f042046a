//! Files over a real socket, onto a real disk: what is stored, under which name, and what is left
//! after a cut, a crash, a full disk.

mod common;

use std::fs;
use std::time::Duration;

use common::raw::{Raw, text};
use common::upload::{Place, content, data, end, open};
use common::{PACE, Site, eventually};
use tcpkit::message::{Frame, Reason, StatusCode};
use tcpkit::settings::Sync;

const STORED: StatusCode = StatusCode::Accepted;

fn stored(path: &str) -> (StatusCode, String) {
    (STORED, path.to_owned())
}

/// What an Uploaded says to another client: who, what, how much.
fn uploaded(raw: &mut Raw) -> (String, String, u64) {
    loop {
        if let Frame::Uploaded { from, name, size, .. } = raw.next().frame() {
            return (from.to_owned(), name.to_owned(), size);
        }
    }
}

#[test]
fn a_file_is_stored_whole_and_the_others_are_told() {
    let place = Place::new();
    let site = place.open(|settings| settings.uploads.sync = Sync::On);
    let mut bob = Raw::join(site.addr(), "bob");
    let mut alice = Raw::join(site.addr(), "Alice Smith");
    let photo = content(3 << 20);
    assert_eq!(alice.send_file(1, "photo.jpg", &photo), stored("alice smith/photo.jpg"));
    assert_eq!(alice.send_file(2, "empty", b""), stored("alice smith/empty"));
    let told = |name: &str, size| ("Alice Smith".to_owned(), name.to_owned(), size);
    assert_eq!(uploaded(&mut bob), told("alice smith/photo.jpg", 3 << 20));
    assert_eq!(uploaded(&mut bob), told("alice smith/empty", 0));
    let files = place.files();
    assert_eq!(files[1], ("alice smith/photo.jpg".into(), photo));
    assert_eq!(files[0], ("alice smith/empty".into(), Vec::new()));
    // The sender gets no Uploaded of its own: the next record is bob's.
    bob.send(&text(1, b"nice"));
    let record = alice.next();
    assert!(matches!(record.frame(), Frame::RelayedText { .. }), "{record:?}");
}

#[test]
fn in_echo_nobody_is_told() {
    let place = Place::new();
    let site = place.open(|settings| settings.server.mode = tcpkit::message::Mode::Echo);
    let mut raw = Raw::connect(site.addr());
    raw.send(&common::raw::init("alice"));
    let ack = raw.next();
    assert!(matches!(ack.frame(), Frame::InitAck { .. }));
    raw.send(&open(1, Some(0), "a"));
    raw.credit();
    raw.send(&end(1, b""));
    assert_eq!(raw.fate(), (1, STORED, "alice/a".into()));
    raw.send(&text(1, b"echo"));
    assert_eq!(raw.status(), (1, STORED));
    let record = raw.next();
    assert!(matches!(record.frame(), Frame::RelayedText { seq: 1, .. }), "{record:?}");
}

#[test]
fn nothing_is_ever_written_over() {
    let place = Place::new();
    let folder = place.uploads().join("alice");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("Photo.JPG"), "of before").unwrap();
    let outside = place.path().join("outside");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&outside, folder.join("link.txt")).unwrap();
    let site = place.open(|_| {});
    let mut alice = Raw::join(site.addr(), "alice");
    assert_eq!(alice.send_file(1, "photo.jpg", b"one"), stored("alice/photo (1).jpg"));
    assert_eq!(alice.send_file(2, "PHOTO.jpg", b"two"), stored("alice/PHOTO (2).jpg"));
    assert_eq!(alice.send_file(3, "photo.jpg", b"three"), stored("alice/photo (3).jpg"));
    #[cfg(unix)]
    assert_eq!(alice.send_file(4, "link.txt", b"four"), stored("alice/link (1).txt"));
    // One that comes while the server runs, and that it has not seen.
    fs::write(folder.join("late"), "of before").unwrap();
    assert_eq!(alice.send_file(5, "late", b"five"), stored("alice/late (1)"));
    assert_eq!(fs::read(folder.join("Photo.JPG")).unwrap(), b"of before");
    assert_eq!(fs::read(folder.join("late")).unwrap(), b"of before");
    assert_eq!(fs::read(folder.join("late (1)")).unwrap(), b"five");
    assert!(!outside.exists(), "a link was followed");
}

#[test]
fn two_clients_and_one_name_at_once() {
    let place = Place::new();
    let site = place.open(|_| {});
    let mut alice = Raw::join(site.addr(), "alice");
    let mut bob = Raw::join(site.addr(), "bob");
    for raw in [&mut alice, &mut bob] {
        for stream in 1..=3 {
            raw.open(stream, Some(5), "same.txt");
        }
    }
    let mut heard = Vec::new();
    for stream in 1..=3 {
        for raw in [&mut alice, &mut bob] {
            raw.send(&data(stream, 0, b"bytes"));
            raw.send(&end(stream, b"bytes"));
        }
    }
    for raw in [&mut alice, &mut bob] {
        heard.extend([raw.fate(), raw.fate(), raw.fate()].map(|(_, code, path)| (code, path)));
    }
    heard.sort_by(|one, other| one.1.cmp(&other.1));
    let expected = ["alice", "bob"].into_iter().flat_map(|name| {
        ["same (1).txt", "same (2).txt", "same.txt"].map(|file| stored(&format!("{name}/{file}")))
    });
    assert_eq!(heard, expected.collect::<Vec<_>>());
}

#[test]
fn a_stream_goes_on_after_a_cut_where_it_was() {
    let place = Place::new();
    let site = place.open(|settings| settings.session.grace = Duration::from_secs(60));
    let (mut alice, key) = Raw::join_with_key(&site, "alice");
    let file = content(2_500_000);
    let limit = alice.open(1, Some(file.len() as u64), "file");
    // All that the first credit allows, and the cut right behind it: much of that is on its way to
    // the disk.
    alice.pour(1, &file[..limit as usize], 0, limit);
    alice.send(&Frame::Ping { nonce: 1 }.to_bytes());
    while !matches!(alice.next().frame(), Frame::Pong { .. }) {}
    drop(alice);
    let mut alice = Raw::come_back(&site, key);
    alice.send(&open(1, Some(file.len() as u64), "file"));
    let (stream, offset, limit) = alice.credit();
    assert_eq!((stream, offset), (1, 1 << 20), "all that was taken before the cut");
    alice.pour(1, &file, offset, limit);
    alice.send(&end(1, &file));
    assert_eq!(alice.fate(), (1, STORED, "alice/file".into()));
    // Once more, finished: its fate is told again.
    drop(alice);
    let mut alice = Raw::come_back(&site, key);
    alice.send(&open(1, Some(file.len() as u64), "file"));
    assert_eq!(alice.fate(), (1, STORED, "alice/file".into()));
    assert_eq!(place.files(), [("alice/file".to_owned(), file)]);
}

#[test]
fn what_is_not_whole_is_kept_for_the_grace_and_then_removed() {
    let place = Place::new();
    let site = place.open(|settings| settings.session.grace = Duration::from_secs(1));
    let mut alice = Raw::join(site.addr(), "alice");
    alice.open(1, None, "half");
    alice.send(&data(1, 0, b"half of it"));
    place.becomes(&["alice/(part)"]);
    drop(alice);
    eventually(|| match site.server().clients() {
        0 => Ok(()),
        count => Err(format!("{count} are here")),
    });
    assert_eq!(place.names(), ["alice/(part)"], "the grace has just begun");
    place.becomes(&[]);
}

#[test]
fn a_session_that_ends_leaves_no_parts_and_neither_does_the_server() {
    let place = Place::new();
    let site = place.open(|settings| settings.session.grace = Duration::from_secs(60));
    let mut alice = Raw::join(site.addr(), "alice");
    alice.open(1, None, "half");
    alice.open(2, Some(4), "whole");
    alice.send(&data(2, 0, b"four"));
    place.becomes(&["alice/(part)", "alice/(part)"]);
    alice.send(&end(2, b"four"));
    let (reason, detail) = (Reason::Done, "".into());
    alice.send(&Frame::Terminate { reason, retry_after_ms: 0, detail }.to_bytes());
    place.becomes(&["alice/whole"]);
    let mut bob = Raw::join(site.addr(), "bob");
    bob.open(1, None, "half");
    place.becomes(&["alice/whole", "bob/(part)"]);
    drop((alice, bob)); // bob is away when the server ends
    drop(site);
    assert_eq!(place.names(), ["alice/whole"]);
}

#[test]
fn parts_that_a_crash_left_are_removed_at_the_start_and_nothing_else() {
    let place = Place::new();
    let folder = place.uploads().join("alice");
    fs::create_dir_all(&folder).unwrap();
    let part = "tcpkit-0123456789abcdef-100000000-1.part";
    let others = [
        "tcpkit-0123456789abcdef-100000000.part",
        "tcpkit-0123456789abcde-100000000-1.part",
        "tcpkit-0123456789abcdef-100000000-1.part2",
        "x.part",
        "holiday",
    ];
    for name in others.iter().chain([&part]) {
        fs::write(folder.join(name), "x").unwrap();
    }
    fs::write(place.uploads().join(part), "not in a client's folder").unwrap();
    // Another server is still at work on this one.
    let live = folder.join("tcpkit-00000000000000ff-100000000-2.part");
    let lock = fs::File::create(&live).unwrap();
    lock.lock().unwrap();
    let site = place.open(|_| {});
    let is_there = || folder.join(part).exists();
    eventually(|| if is_there() { Err("it is still there".to_owned()) } else { Ok(()) });
    Raw::join(site.addr(), "alice").send_file(1, "a", b""); // the start is over
    for name in others {
        assert!(folder.join(name).exists(), "{name}");
    }
    assert!(live.exists());
    assert!(place.uploads().join(part).exists());
}

#[test]
fn quotas_hold_over_restarts() {
    let place = Place::new();
    let file = content(9_000);
    let quota = |settings: &mut tcpkit::settings::Settings| {
        settings.uploads.client = 20_000;
        settings.uploads.total = 30_000;
    };
    let site = place.open(quota);
    let mut alice = Raw::join(site.addr(), "alice");
    assert_eq!(alice.send_file(1, "a", &file), stored("alice/a"));
    drop(alice);
    drop(site);
    let site = place.open(quota);
    let mut alice = Raw::join(site.addr(), "alice");
    assert_eq!(alice.send_file(1, "b", &file), stored("alice/b"));
    alice.send(&open(2, Some(9_000), "c"));
    let words = "2KB are left";
    assert_eq!(alice.fate(), (2, StatusCode::QuotaExceeded, words.into()), "the client's");
    let mut bob = Raw::join(site.addr(), "bob");
    assert_eq!(bob.send_file(1, "a", &file), stored("bob/a"));
    bob.send(&open(2, Some(9_000), "b"));
    assert_eq!(bob.fate().1, StatusCode::QuotaExceeded, "that of all");
    drop((alice, bob, site));
    // What is there is known before the first byte of a session is stored.
    let site = place.open(|settings| settings.uploads.client = 20_000);
    let mut alice = Raw::join(site.addr(), "alice");
    alice.send(&[open(1, Some(9_000), "c"), data(1, 0, &file[..9_000]), end(1, &file)].concat());
    assert_eq!(alice.fate().1, StatusCode::QuotaExceeded);
    place.becomes(&["alice/a", "alice/b", "bob/a"]);
}

#[test]
fn room_that_the_owner_makes_is_seen() {
    let place = Place::new();
    let site = place.open(|settings| settings.uploads.total = 10_000);
    let mut alice = Raw::join(site.addr(), "alice");
    assert_eq!(alice.send_file(1, "a", &content(9_000)), stored("alice/a"));
    fs::remove_file(place.uploads().join("alice/a")).unwrap();
    let mut stream = 2;
    eventually(|| {
        alice.send(&open(stream, Some(9_000), "b"));
        stream += 1;
        match alice.next_own().frame() {
            Frame::StreamCredit { .. } => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn a_stream_that_stands_still_is_given_up() {
    let place = Place::new();
    let idle_time = Duration::from_millis(100);
    let site = place.open(|settings| settings.uploads.idle_time = idle_time);
    let mut alice = Raw::join(site.addr(), "alice");
    alice.open(1, None, "a");
    assert_eq!(alice.fate(), (1, StatusCode::Cancelled, "nothing came for 0.1 s".into()));
    place.becomes(&[]);
}

#[test]
fn messages_do_not_wait_for_streams() {
    let place = Place::new();
    let site = place.open(|_| {});
    let mut bob = Raw::join(site.addr(), "bob");
    let mut alice = Raw::join(site.addr(), "alice");
    let limit = alice.open(1, None, "a");
    alice.pour(1, &content(limit as usize), 0, limit);
    alice.send(&text(1, b"beside it"));
    loop {
        if let Frame::RelayedText { body, .. } = bob.next().frame() {
            break assert_eq!(body, "beside it");
        }
    }
    assert!(bob.try_next(PACE).is_err());
}

/// Whether this process may mount, and a place on a disk of one MiB if so.
#[cfg(target_os = "linux")]
fn small_disk(place: &Place) -> Option<SmallDisk> {
    let path = place.uploads();
    fs::create_dir(&path).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(&path)
        .output();
    mounted.ok().filter(|output| output.status.success()).map(|_| SmallDisk(path))
}

#[cfg(target_os = "linux")]
struct SmallDisk(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full_in_the_middle_harms_nobody_else() {
    let place = Place::new();
    let Some(_disk) = small_disk(&place) else {
        eprintln!("skipped: this process may not mount a small disk");
        return;
    };
    let site: Site = place.open(|_| {});
    let mut bob = Raw::join(site.addr(), "bob");
    assert_eq!(bob.send_file(1, "small", b"x"), stored("bob/small"));
    let mut alice = Raw::join(site.addr(), "alice");
    let limit = alice.open(1, Some(3 << 20), "large");
    alice.pour(1, &content(limit as usize), 0, limit);
    let words = "it cannot be written: no space left on device";
    assert_eq!(alice.fate(), (1, StatusCode::NotStored, words.into()));
    assert_eq!(place.names(), ["bob/small"], "removed before the client is told");
    assert_eq!(bob.send_file(2, "small", b"x"), stored("bob/small (1)"));
    assert_eq!(alice.send_file(2, "small", b"x"), stored("alice/small"));
}
