//! Who works on what, and when: the queue, with a disk that is as slow as a test likes.

use std::sync::Arc;

use super::queue::{Queue, Task, Turn};
use crate::hub::{Deed, Job, UploadId};
use crate::transfer::DATA_MAX;

type Work = Turn<(), &'static str>;

fn id(session: u64, stream: u64) -> UploadId {
    UploadId { session, stream }
}

struct Line(Queue<(), &'static str>);

impl Line {
    fn new() -> Self {
        Self(Queue::new())
    }

    fn add(&mut self, upload: UploadId, deed: Deed) {
        let client = format!("client {}", upload.session).into();
        self.0.add(Job::Upload { upload, client, deed }, |_| ());
    }

    fn create(&mut self, upload: UploadId) {
        self.add(upload, Deed::Create { name: "a".into() });
    }

    fn append(&mut self, upload: UploadId, size: usize) {
        self.add(upload, Deed::Append { bytes: vec![0; size] });
    }

    fn finish(&mut self, upload: UploadId) {
        self.add(upload, Deed::Finish { size: 0, crc32c: 0 });
    }

    fn leave(&mut self, session: u64) {
        self.0.add(Job::Leave { client: format!("client {session}").into() }, |_| ());
    }

    fn next(&mut self) -> Option<Work> {
        match self.0.next()? {
            Task::Upload(turn) => Some(turn),
            Task::Count { .. } => panic!("nothing is to be counted"),
        }
    }

    /// Makes the file of an upload.
    fn begun(&mut self, upload: UploadId) {
        self.create(upload);
        let turn = self.next().expect("work");
        assert_eq!((turn.upload, turn.deeds.len()), (upload, 1));
        self.0.give_back(upload, Some("part"));
    }
}

#[test]
fn one_upload_is_worked_on_by_one_thread_in_order() {
    let mut line = Line::new();
    let upload = id(1, 1);
    line.create(upload);
    line.append(upload, DATA_MAX);
    let making = line.next().expect("work");
    assert!(matches!(making.deeds[..], [Deed::Create { .. }]), "by itself");
    assert!(line.next().is_none(), "the rest waits for that");
    line.finish(upload);
    line.0.give_back(upload, Some("part"));
    let rest = line.next().expect("work");
    assert_eq!(rest.part, Some("part"));
    assert!(matches!(rest.deeds[..], [Deed::Append { .. }, Deed::Finish { .. }]));
    line.0.give_back(upload, None);
    line.append(upload, 1);
    assert!(!line.0.has_work(), "nothing follows when it is over");
}

#[test]
fn a_client_gets_few_threads_and_the_others_have_their_turns() {
    let mut line = Line::new();
    for stream in 1..=1000 {
        line.create(id(1, stream));
    }
    let stuck: Vec<_> = std::iter::from_fn(|| line.next()).map(|turn| turn.upload).collect();
    assert_eq!(stuck, [1, 2, 3, 4].map(|stream| id(1, stream)), "the disk is stuck");
    line.create(id(2, 1));
    line.create(id(3, 1));
    assert_eq!(line.next().map(|turn| turn.upload), Some(id(2, 1)));
    line.0.give_back(stuck[0], None);
    assert_eq!(line.next().map(|turn| turn.upload), Some(id(3, 1)), "who came first");
    assert_eq!(line.next().map(|turn| turn.upload), Some(id(1, 5)));
    assert!(line.next().is_none());
}

#[test]
fn a_large_file_gives_way_after_some_of_it() {
    let mut line = Line::new();
    let (large, small) = (id(1, 1), id(2, 1));
    line.begun(large);
    for _ in 0..16 {
        line.append(large, DATA_MAX);
    }
    line.create(small);
    let turn = line.next().expect("work");
    assert_eq!((turn.upload, turn.deeds.len()), (large, 4));
    line.0.give_back(large, turn.part);
    assert_eq!(line.next().map(|turn| turn.upload), Some(small));
    assert_eq!(line.next().map(|turn| turn.upload), Some(large));
}

#[test]
fn small_pieces_are_put_together() {
    let mut line = Line::new();
    let upload = id(1, 1);
    line.begun(upload);
    for _ in 0..3 * DATA_MAX {
        line.append(upload, 1);
    }
    let turn = line.next().expect("work");
    let sizes = turn.deeds.iter().map(|deed| match deed {
        Deed::Append { bytes } => bytes.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [DATA_MAX; 3]);
}

#[test]
fn removal_drops_what_waits() {
    let mut line = Line::new();
    line.create(id(1, 1));
    line.append(id(1, 1), DATA_MAX);
    line.add(id(1, 1), Deed::Remove);
    assert!(line.next().is_none(), "it was not even begun");
    line.begun(id(1, 2));
    line.append(id(1, 2), DATA_MAX);
    line.append(id(1, 2), DATA_MAX);
    line.add(id(1, 2), Deed::Remove);
    assert_eq!(line.next().map(|turn| turn.deeds), Some(vec![Deed::Remove]));
    // While somebody writes: at once after that.
    line.begun(id(1, 3));
    line.append(id(1, 3), DATA_MAX);
    let turn = line.next().expect("work");
    line.append(id(1, 3), DATA_MAX);
    line.add(id(1, 3), Deed::Remove);
    line.0.give_back(id(1, 3), turn.part);
    assert_eq!(line.next().map(|turn| turn.deeds), Some(vec![Deed::Remove]));
}

#[test]
fn opening_and_cancelling_again_and_again_leaves_nothing_in_line() {
    let mut line = Line::new();
    for round in 0..1_000 {
        line.create(id(1, round));
        line.add(id(1, round), Deed::Remove);
        line.create(id(2, round));
        line.add(id(2, round), Deed::Remove);
        line.leave(2);
    }
    let held = format!("{:?}", line.0);
    assert!(held.len() < 2_000, "{} bytes", held.len());
    assert!(line.next().is_none());
}

#[test]
fn what_a_client_has_is_shared_and_kept_until_it_has_left() {
    let mut line = Line::new();
    line.create(id(1, 1));
    line.create(id(1, 2));
    let [one, two] = [line.next(), line.next()].map(|turn| turn.expect("work").folder);
    assert!(Arc::ptr_eq(&one, &two));
    let kept = Arc::downgrade(&one);
    drop((one, two));
    line.0.give_back(id(1, 1), None);
    line.0.give_back(id(1, 2), None);
    assert!(kept.upgrade().is_some(), "there may be more");
    line.create(id(1, 3));
    line.leave(1);
    assert!(line.next().is_some() && kept.upgrade().is_some(), "there is one left");
    line.0.give_back(id(1, 3), None);
    assert!(kept.upgrade().is_none());
    line.leave(2);
}
