//! Bad input in streams over a real socket, while two good clients go on chatting unharmed: what
//! the server answers, and that nothing of it reaches the disk.

mod common;

use std::fs;
use std::path::Path;

use common::chat::Chat;
use common::raw::Raw;
use common::upload::{Place, cancel, content, data, end, open};
use common::{Site, eventually};
use tcpkit::message::{ErrorCode, Frame, StatusCode};

const STORED: StatusCode = StatusCode::Accepted;
const COMES: &str = "mallory joined";
const IS_TURNED_OUT: &str = "mallory left: turned out by the server";
const IS_LOST: &str = "mallory left: connection lost";

/// Mallory says `offence`, is answered with Error `code`, and leaves nothing on the disk.
fn violation(offence: &[Vec<u8>], code: ErrorCode) {
    let place = Place::new();
    let site = place.open(|_| {});
    let chat = Chat::start(&site);
    let mut mallory = Raw::join(site.addr(), "mallory");
    mallory.send(&offence.concat());
    let told = loop {
        match mallory.next_own().frame() {
            Frame::StreamCredit { .. } | Frame::StreamStatus { .. } => {}
            Frame::Error { code, .. } => break code,
            other => panic!("no Error but {other:?}"),
        }
    };
    assert_eq!(told, code);
    mallory.at_end();
    place.becomes(&[]);
    chat.finish(&[COMES, IS_TURNED_OUT]);
}

/// Mallory says `said` and is told these fates, in order; the connection stays, and nothing is
/// left on the disk.
fn fates(said: &[Vec<u8>], expected: &[(u64, StatusCode)]) {
    let place = Place::new();
    let site = place.open(|settings| settings.uploads.file = 1000);
    let chat = Chat::start(&site);
    let mut mallory = Raw::join(site.addr(), "mallory");
    mallory.send(&said.concat());
    for (stream, code) in expected {
        let told = mallory.fate();
        assert_eq!((told.0, told.1), (*stream, *code), "{}", told.2);
    }
    place.becomes(&[]);
    mallory.send(&Frame::Ping { nonce: 1 }.to_bytes());
    while !matches!(mallory.next_own().frame(), Frame::Pong { nonce: 1 }) {}
    chat.goes_on();
    drop(mallory);
    chat.finish(&[COMES, IS_LOST]);
}

#[test]
fn names_that_are_not_allowed() {
    let long = "x".repeat(300);
    let names = [
        "../x",
        "/etc/passwd",
        "x.part",
        "a/b",
        "a\\b",
        "..",
        ".",
        "",
        &long,
        "nul\0",
        "a\nb",
        "\u{1b}[2J",
        "CON",
        ".hidden",
        "a\u{202e}gpj.exe",
    ];
    let said: Vec<_> = (1..).zip(names).map(|(stream, name)| open(stream, None, name)).collect();
    let expected: Vec<_> =
        (1..=names.len() as u64).map(|stream| (stream, StatusCode::NameNotAllowed)).collect();
    fates(&said, &expected);
}

#[test]
fn more_bytes_than_announced_fewer_and_none() {
    let three = b"abc".as_slice();
    fates(
        &[open(1, Some(2), "a"), data(1, 0, three), data(1, 3, three), end(1, three)],
        &[(1, StatusCode::TooLarge)],
    );
    fates(&[open(1, Some(4), "a"), data(1, 0, three), end(1, three)], &[(1, StatusCode::Mismatch)]);
    fates(&[open(1, Some(4), "a"), end(1, b"")], &[(1, StatusCode::Mismatch)]);
    fates(&[open(1, Some(1001), "a")], &[(1, StatusCode::TooLarge)]);
    let much = content(1001);
    fates(&[open(1, None, "a"), data(1, 0, &much)], &[(1, StatusCode::TooLarge)]);
}

#[test]
fn another_checksum_than_the_content_has() {
    fates(
        &[open(1, Some(3), "a"), data(1, 0, b"abc"), end(1, b"abd")],
        &[(1, StatusCode::Mismatch)],
    );
}

#[test]
fn data_past_the_credit_or_before_any() {
    let piece = vec![0; 65_536];
    let past = (0..17).map(|at| data(1, at * 65_536, &piece));
    let offence: Vec<_> = std::iter::once(open(1, None, "a")).chain(past).collect();
    violation(&offence, ErrorCode::OutOfOrder);
    violation(&[data(1, 0, b"x")], ErrorCode::OutOfOrder);
    violation(&[end(1, b"")], ErrorCode::OutOfOrder);
}

#[test]
fn too_much_data_at_once() {
    let piece = vec![0; 65_537];
    violation(&[open(1, None, "a"), data(1, 0, &piece)], ErrorCode::Malformed);
}

#[test]
fn data_with_a_hole_and_repeated() {
    let wrong = StatusCode::OffsetMismatch;
    fates(
        &[
            open(1, None, "a"),
            data(1, 1, b"a hole"),
            data(1, 2, b"another, behind it"),
            end(1, b"ignored"),
            data(1, 0, b"abc"),
            data(1, 0, b"abc"),
            cancel(1),
        ],
        &[(1, wrong), (1, wrong), (1, StatusCode::Cancelled)],
    );
}

#[test]
fn end_twice() {
    let place = Place::new();
    let site = place.open(|_| {});
    let mut alice = Raw::join(site.addr(), "alice");
    alice.send(&[open(1, None, "a"), end(1, b""), end(1, b"else"), end(1, b"")].concat());
    assert_eq!(alice.fate(), (1, STORED, "alice/a".into()));
    // Data behind the end is of no use to anyone.
    alice.send(&[data(1, 0, b"x"), end(1, b""), cancel(1)].concat());
    assert_eq!(alice.send_file(2, "b", b""), (STORED, "alice/b".into()));
    assert_eq!(place.names(), ["alice/a", "alice/b"]);
}

#[test]
fn open_twice_and_numbers_out_of_order() {
    let first = open(1, Some(3), "a");
    violation(&[first.clone(), open(1, Some(3), "b")], ErrorCode::Malformed);
    violation(&[first.clone(), open(1, Some(4), "a")], ErrorCode::Malformed);
    violation(&[first.clone(), open(3, Some(3), "a")], ErrorCode::OutOfOrder);
    violation(&[open(0, Some(3), "a")], ErrorCode::OutOfOrder);
    violation(&[open(2, Some(3), "a")], ErrorCode::OutOfOrder);
    let cancelled = (1, StatusCode::Cancelled);
    fates(&[first.clone(), cancel(1), first.clone(), data(1, 0, b"x")], &[cancelled, cancelled]);
}

#[test]
fn a_number_used_again_for_something_else() {
    let place = Place::new();
    let site = place.open(|_| {});
    let mut alice = Raw::join(site.addr(), "alice");
    assert_eq!(alice.send_file(1, "a", b"one"), (STORED, "alice/a".into()));
    alice.send(&[open(1, Some(3), "b"), data(1, 0, b"two"), end(1, b"two")].concat());
    assert_eq!(alice.fate(), (1, STORED, "alice/a".into()), "the fate of the first");
    assert_eq!(place.files(), [("alice/a".to_owned(), b"one".to_vec())]);
}

#[test]
fn cancel_of_nothing() {
    fates(&[cancel(0), cancel(1), cancel(u64::MAX)], &[]);
}

#[test]
fn all_streams_opened_and_nothing_sent() {
    let place = Place::new();
    let site = place.open(|settings| {
        settings.uploads.streams = 4;
        settings.uploads.idle_time = std::time::Duration::from_secs(1);
    });
    let chat = Chat::start(&site);
    let mut mallory = Raw::join(site.addr(), "mallory");
    for stream in 1..=4 {
        mallory.open(stream, Some(1000), "a");
    }
    mallory.send(&open(5, Some(1000), "a"));
    assert_eq!(mallory.fate().1, StatusCode::TooMany);
    let mut bob = Raw::join(site.addr(), "robert");
    assert_eq!(bob.send_file(1, "a", b"good"), (STORED, "robert/a".into()));
    for stream in 1..=4 {
        let (number, code, _) = mallory.fate();
        assert_eq!((number, code), (stream, StatusCode::Cancelled));
    }
    place.becomes(&["robert/a"]);
    chat.goes_on();
}

/// Mallory's file fails with words that hold `words`; robert's is stored.
#[cfg(unix)]
fn broken_place(words: &str, prepare: impl FnOnce(&Path)) {
    let place = Place::new();
    prepare(&place.uploads());
    let before = place.names();
    let site = place.open(|_| {});
    let chat = Chat::start(&site);
    let mut mallory = Raw::join(site.addr(), "mallory");
    mallory.send(&open(1, Some(1), "a"));
    let (stream, code, told) = mallory.fate();
    assert_eq!((stream, code), (1, StatusCode::NotStored), "{told}");
    assert!(told.contains(words), "{told}");
    assert_eq!(place.names(), before);
    chat.goes_on();
    drop(mallory);
    chat.finish(&[COMES, IS_LOST]);
}

#[test]
#[cfg(unix)]
fn a_link_in_place_of_the_client_s_folder() {
    broken_place("the folder cannot be made: not a directory", |uploads| {
        let outside = uploads.with_file_name("outside");
        fs::create_dir_all(uploads).unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(outside, uploads.join("mallory")).unwrap();
    });
}

#[test]
#[cfg(unix)]
fn a_file_in_place_of_a_folder() {
    broken_place("the folder cannot be made: ", |uploads| {
        fs::write(uploads, "a file").unwrap();
    });
    broken_place("the folder cannot be made: not a directory", |uploads| {
        fs::create_dir(uploads).unwrap();
        fs::write(uploads.join("mallory"), "a file").unwrap();
    });
}

/// Who may do everything can write into a folder that is read-only: there it is a mount that is.
#[test]
#[cfg(target_os = "linux")]
fn a_folder_that_is_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    fs::create_dir(place.uploads()).unwrap();
    fs::set_permissions(place.uploads(), fs::Permissions::from_mode(0o555)).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "ro", "none"])
        .arg(place.uploads())
        .output();
    let is_mounted = mounted.is_ok_and(|output| output.status.success());
    let _mount = Mount(is_mounted.then(|| place.uploads()));
    if fs::write(place.uploads().join("probe"), "").is_ok() {
        eprintln!("skipped: no folder is read-only for this process");
        return;
    }
    let site: Site = place.open(|_| {});
    let mut alice = Raw::join(site.addr(), "alice");
    alice.send(&open(1, Some(1), "a"));
    let (_, code, words) = alice.fate();
    assert_eq!(code, StatusCode::NotStored);
    assert!(words.starts_with("the folder cannot be made: "), "{words}");
    drop((alice, site));
}

#[cfg(target_os = "linux")]
struct Mount(Option<std::path::PathBuf>);

#[cfg(target_os = "linux")]
impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::process::Command::new("umount").arg("-l").arg(path).output();
        }
    }
}

#[test]
#[cfg(unix)]
fn the_upload_folder_itself_may_be_a_link() {
    let place = Place::new();
    let real = place.path().join("real");
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, place.uploads()).unwrap();
    let site = place.open(|_| {});
    let mut alice = Raw::join(site.addr(), "alice");
    assert_eq!(alice.send_file(1, "a", b"x"), (STORED, "alice/a".into()));
    assert!(real.join("alice/a").exists());
}

#[test]
fn the_folder_goes_while_the_server_runs() {
    let place = Place::new();
    let site = place.open(|_| {});
    let mut alice = Raw::join(site.addr(), "alice");
    alice.open(1, None, "a");
    place.becomes(&["alice/(part)"]);
    fs::remove_dir_all(place.uploads()).unwrap();
    alice.send(&[data(1, 0, b"x"), end(1, b"x")].concat());
    let (_, code, words) = alice.fate();
    assert_eq!(code, StatusCode::NotStored, "{words}");
    assert_eq!(alice.send_file(2, "b", b"x"), (STORED, "alice/b".into()));
}

#[test]
fn a_server_without_a_folder_takes_nothing() {
    let place = Place::new();
    let site = place.open(|settings| settings.uploads.folder = String::new());
    let mut alice = Raw::join(site.addr(), "alice");
    alice.send(&[open(1, None, "a"), data(1, 0, b"x"), end(1, b"x")].concat());
    let (stream, code, words) = alice.fate();
    assert_eq!((stream, code), (1, StatusCode::Refused));
    assert_eq!(words, "this server takes no files");
    eventually(|| if place.names().is_empty() { Ok(()) } else { Err("a file".into()) });
}
