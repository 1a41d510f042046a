//! The content of uploads on its way: read, put in line, written, by one thread at a time.
//!
//! Whoever waits for an upload serves all of them: it takes what the machine says is next, reads it
//! without the lock, and writes it, until nothing may be sent before the server says more. So
//! content never gathers before it is written, and messages of other threads get in between any
//! two pieces. For uploads that nobody waits for there is a thread, from the first of them on.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::Core;
use super::content::Content;
use super::wait::{Deadline, Guard, STALL_PAUSE};
use crate::client_session::Piece;
use crate::error::{Error, Waiting};
use crate::transfer::DATA_MAX;

/// From so many bytes on that are outgoing, no piece is put behind them: a message waits for one
/// or two pieces of this size, and small pieces leave together.
const IN_LINE: usize = DATA_MAX;
/// After so many pieces whoever serves looks at what else it has to do.
const TURN: usize = 16;
/// Address space for the thread's stack; it calls nothing deep.
const STACK: usize = 256 * 1024;

/// What the state has for uploads.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    pub(super) contents: BTreeMap<u64, Arc<Content>>,
    /// The bytes of one piece, while nobody serves.
    space: Vec<u8>,
    worker: Option<JoinHandle<()>>,
    worker_is_done: bool,
}

impl Core {
    /// Sends what may be sent, for a while; what another thread is at is left to that.
    pub(super) fn serve_uploads<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        if !state.session.has_piece() {
            return state;
        }
        state.session.serve_uploads(true);
        let mut space = mem::take(&mut state.uploads.space);
        for _ in 0..TURN {
            let has_room;
            (state, has_room) = self.make_room(state);
            let Some(piece) = has_room.then(|| state.session.next_piece()).flatten() else { break };
            state = self.send_piece(state, &piece, &mut space);
        }
        if state.has_to_write() && state.session.is_open() {
            state = self.push_through(state);
        }
        state.uploads.space = space;
        state.session.serve_uploads(false);
        if state.session.has_piece() {
            self.answers.ring_all(); // this one may have other things to do
        }
        state
    }

    /// Waits until little is outgoing; false if nothing more can be sent for now.
    fn make_room<'a>(&'a self, mut state: Guard<'a>) -> (Guard<'a>, bool) {
        while state.session.is_open() {
            if state.session.outgoing.len() < IN_LINE {
                return (state, true);
            }
            if !state.has_to_write() {
                state = self.room.wait(state, Some(STALL_PAUSE));
                continue;
            }
            state = self.push_through(state);
            if state.has_to_write() && state.session.inbox_is_full() {
                break;
            }
        }
        (state, false)
    }

    fn send_piece<'a>(&'a self, state: Guard<'a>, piece: &Piece, space: &mut Vec<u8>) -> Guard<'a> {
        let content = state.uploads.contents.get(&piece.upload).map(Arc::clone);
        drop(state);
        let read = match (&content, piece.range()) {
            (None, _) => Err(io::ErrorKind::NotFound.into()), // its handle was dropped just now
            (Some(content), Some((offset, count))) => {
                space.resize(DATA_MAX, 0);
                content.read(offset, &mut space[..count]).map(|()| (&space[..count], 0))
            }
            (Some(content), None) => {
                content.finish(piece.end()).map(|crc32c| (&space[..0], crc32c))
            }
        };
        let mut state = self.lock();
        match read {
            Ok((bytes, crc32c)) => state.session.put_piece(piece, bytes, crc32c),
            Err(error) => {
                state.session.cancel_upload(piece.upload);
                if let Some(content) = content {
                    content.fail(error);
                }
            }
        }
        state
    }

    /// Sees to it that uploads go on also while nobody waits for them.
    pub(super) fn start_worker(self: &Arc<Self>) -> Result<(), Error> {
        let mut state = self.lock();
        if state.uploads.worker.is_none() {
            let core = Arc::clone(self);
            let worker = thread::Builder::new().name("tcpkit-uploads".to_owned()).stack_size(STACK);
            state.uploads.worker = Some(worker.spawn(move || core.work()).map_err(Error::Io)?);
        }
        drop(state);
        self.uploading.ring_all();
        Ok(())
    }

    fn work(&self) {
        let mut state = self.lock();
        while state.session.is_alive() {
            if state.session.uploads_under_way() == 0 {
                state = self.uploading.wait(state, None);
                continue;
            }
            drop(state);
            let waited = self.wait(Waiting::Confirmation, None, |session| {
                let is_over = !session.is_alive() || session.uploads_under_way() == 0;
                (is_over || session.has_piece()).then_some(Ok(()))
            });
            state = self.lock();
            if waited.is_err() && state.session.is_alive() {
                // Nobody takes the events, so nothing may be read.
                state = self.uploading.wait(state, Some(STALL_PAUSE));
            }
            state = self.serve_uploads(state);
        }
        state.uploads.worker_is_done = true;
        self.done.ring_all();
    }

    /// Lets the thread of a connection that has ended go. It is waited for until `deadline`: one
    /// that reads from a disk that does not answer ends by itself.
    pub(super) fn dismiss_worker(&self, deadline: Deadline) {
        let mut state = self.lock();
        let Some(worker) = state.uploads.worker.take() else { return };
        self.ring_everyone();
        while !state.uploads.worker_is_done && !deadline.is_over() {
            state = self.done.wait(state, deadline.remaining());
        }
        let is_done = state.uploads.worker_is_done;
        drop(state);
        if is_done {
            let _ = worker.join(); // a panic of its was told when it happened
        }
    }
}
