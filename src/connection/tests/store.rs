//! A server's store for uploads, played by hand: the real rules, and a disk in memory.

use std::collections::BTreeMap;

use super::*;
use crate::crc32c::Crc32c;
use crate::transfer::{Facts, Incoming, Limits, Order, Step};

/// See the [module](self).
pub(super) struct Store {
    pub(super) rules: Incoming,
    names: BTreeMap<u64, String>,
    parts: BTreeMap<u64, Vec<u8>>,
    /// What is stored, in order.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// The bytes of content that came, repeats included.
    pub(super) came: usize,
}

impl Store {
    pub(super) fn new(streams: usize, window: u64) -> Self {
        let rules = Incoming::new(Limits { streams, window, ..Limits::default() });
        let (names, parts, files) = Default::default();
        Self { rules, names, parts, files, came: 0 }
    }

    /// Takes a frame, and gives what is answered. Messages are accepted, Pings answered.
    pub(super) fn take(&mut self, frame: &Frame<'_>) -> Vec<Vec<u8>> {
        let now = Instant::now();
        let room = u64::MAX;
        let step = match *frame {
            Frame::StreamOpen { stream, size, name, media_type } => {
                self.names.insert(stream, name.to_owned());
                self.rules.open(stream, Facts { size, name, media_type }, room, now)
            }
            Frame::StreamData { stream, offset, bytes } => {
                self.came += bytes.len();
                let step = self.rules.data(stream, offset, bytes.len(), room, now);
                if step.as_ref().is_ok_and(|step| !step.orders.is_empty()) {
                    self.parts.entry(stream).or_default().extend(bytes);
                }
                step
            }
            Frame::StreamEnd { stream, size, crc32c } => self.rules.end(stream, size, crc32c),
            Frame::StreamCancel { stream, .. } => Ok(self.rules.cancel(stream)),
            Frame::Text { id, .. } => return vec![accepted(id).to_bytes()],
            Frame::Ping { nonce } => return vec![Frame::Pong { nonce }.to_bytes()],
            Frame::Terminate { .. } => return vec![Frame::TerminateAck.to_bytes()],
            ref other => panic!("{other:?}"),
        };
        let step = step.expect("no violation");
        self.obey(step, frame)
    }

    fn obey(&mut self, step: Step, frame: &Frame<'_>) -> Vec<Vec<u8>> {
        let mut answers: Vec<_> =
            step.answers.iter().map(|answer| answer.frame().to_bytes()).collect();
        for order in step.orders {
            let next = match (order, frame) {
                (Order::Append { stream, .. }, Frame::StreamData { bytes, .. }) => {
                    self.rules.stored(stream, bytes.len() as u64, Instant::now())
                }
                (Order::Finish { stream, crc32c, .. }, _) => self.finish(stream, crc32c),
                _ => continue,
            };
            answers.extend(self.obey(next, frame));
        }
        answers
    }

    fn finish(&mut self, stream: u64, crc32c: u32) -> Step {
        let content = self.parts.remove(&stream).unwrap_or_default();
        let mut checksum = Crc32c::new();
        checksum.update(&content);
        if checksum.finish() != crc32c {
            return self.rules.failed(stream, StatusCode::Mismatch, String::new());
        }
        let path = format!("alice/{}", self.names[&stream]);
        self.files.push((path.clone(), content));
        self.rules.done(stream, path)
    }

    /// Serves until `is_last`, which is asked before each frame is taken, or the end.
    pub(super) fn serve(&mut self, peer: &mut Peer, mut is_last: impl FnMut(&Frame<'_>) -> bool) {
        loop {
            let answers = peer.next_with(|frame| (!is_last(frame)).then(|| self.take(frame)));
            let Some(Some(answers)) = answers else { return };
            for answer in answers {
                let _ = peer.try_send(&answer); // whoever is gone is seen by the next read
            }
        }
    }

    pub(super) fn serve_all(mut self, mut peer: Peer) -> Self {
        self.serve(&mut peer, |_| false);
        self
    }
}
