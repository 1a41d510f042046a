//! The server's side of the streams of one session: what is taken, what is answered, and what the
//! disk has to do.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::{Answer, DATA_MAX, Facts, Limits, Order, REMEMBERED, Step};
use crate::crc32c::Crc32c;
use crate::file_name;
use crate::message::{ErrorCode, StatusCode, Violation};
use crate::units::{format_duration, format_size};

/// Of the window that must be free before a further credit is given: a quarter.
const CREDIT_SHARE: u64 = 4;

/// What must be the same when a stream is opened again. Of the media type, which may be long and
/// is of no other use here, the checksum.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    size: Option<u64>,
    name: String,
    media_type: u32,
}

#[derive(Debug)]
struct Stream {
    facts: Known,
    /// It was opened on the present connection.
    is_open: bool,
    /// All has come, and the disk has the last word.
    is_ending: bool,
    /// The last data began at the wrong place.
    is_astray: bool,
    /// How many bytes were taken.
    received: u64,
    /// How many of those the disk has.
    stored: u64,
    /// Up to where the client may send.
    limit: u64,
    last_activity: Instant,
}

impl Stream {
    /// Whether it could go on, if the client did something.
    fn waits_for_client(&self) -> bool {
        let has_no_credit = self.received == self.limit && self.stored < self.received;
        let waits_for_disk = self.is_ending || self.is_open && has_no_credit;
        !waits_for_disk
    }

    fn reserved(&self) -> u64 {
        self.facts.size.unwrap_or(self.received)
    }

    /// The limit that the window allows, never below the one that was given.
    fn next_limit(&self, window: u64) -> u64 {
        let limit = self.stored.saturating_add(window.max(DATA_MAX as u64));
        limit.min(self.facts.size.unwrap_or(u64::MAX)).max(self.limit)
    }
}

/// One stream that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// Its number.
    pub stream: u64,
    /// How many bytes it has, or will have where its size is known.
    pub reserved: u64,
    /// All has come, and the disk has the last word.
    pub is_ending: bool,
}

/// The streams of one session, as its server sees them.
///
/// Of each, the server holds in memory what was taken and is not stored, at most the window of
/// [`Limits`]. A session that is away keeps its streams; they go on when it has resumed
/// ([`resumed`](Self::resumed)) and opened them again.
#[derive(Debug)]
pub struct Incoming {
    limits: Limits,
    streams: BTreeMap<u64, Stream>,
    /// The fates of the last that are finished, the oldest first.
    finished: VecDeque<(u64, StatusCode, String)>,
    /// The highest number so far.
    last: u64,
    is_away: bool,
}

impl Incoming {
    /// For a new session.
    pub fn new(limits: Limits) -> Self {
        let (streams, finished) = (BTreeMap::new(), VecDeque::new());
        Self { limits, streams, finished, last: 0, is_away: false }
    }

    /// For credits from now on: a server whose memory is short makes it smaller.
    pub fn set_window(&mut self, window: u64) {
        self.limits.window = window;
    }

    /// How many bytes those that are under way have, or will have where their size is known. They
    /// count for quotas as those that are stored do.
    pub fn reserved(&self) -> u64 {
        self.streams.values().map(Stream::reserved).fold(0, u64::saturating_add)
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.streams.len()
    }

    /// Those under way, in the order of their numbers.
    pub fn under_way(&self) -> impl Iterator<Item = UnderWay> {
        self.streams.iter().map(|(number, stream)| UnderWay {
            stream: *number,
            reserved: stream.reserved(),
            is_ending: stream.is_ending,
        })
    }

    /// Whether a stream of that number was opened before.
    pub fn knows(&self, number: u64) -> bool {
        number != 0 && number <= self.last
    }

    /// A StreamOpen came. `room` is what the quotas leave beside all that is stored or
    /// [`reserved`](Self::reserved), in bytes.
    ///
    /// # Errors
    /// A hole in the numbers, or other facts than before.
    pub fn open(
        &mut self,
        number: u64,
        facts: Facts<'_>,
        room: u64,
        now: Instant,
    ) -> Result<Step, Violation> {
        if self.knows(number) {
            return self.open_again(number, facts, now);
        }
        if self.last.checked_add(1) != Some(number) {
            let words = format!("stream {number} after {}", self.last);
            return Err(Violation::new(ErrorCode::OutOfOrder, words));
        }
        self.last = number;
        if let Err((code, detail)) = self.judge(facts, room) {
            return Ok(Step::answer(self.finish(number, code, detail)));
        }
        let facts = Known::new(facts);
        let stream = Stream {
            facts,
            is_open: true,
            is_ending: false,
            is_astray: false,
            received: 0,
            stored: 0,
            limit: 0,
            last_activity: now,
        };
        let stream = self.streams.entry(number).or_insert(stream);
        stream.limit = stream.next_limit(self.limits.window);
        let credit = Answer::Credit { stream: number, offset: 0, limit: stream.limit };
        Ok(Step { orders: vec![Order::Create { stream: number }], answers: vec![credit] })
    }

    fn judge(&self, facts: Facts<'_>, room: u64) -> Result<(), (StatusCode, String)> {
        let Limits { file, streams, .. } = self.limits;
        let size = facts.size.unwrap_or(0);
        if streams == 0 {
            return Err((StatusCode::Refused, "this server takes no files".into()));
        }
        if let Err(problem) = file_name::check(facts.name) {
            return Err((StatusCode::NameNotAllowed, problem));
        }
        if size > file {
            return Err((StatusCode::TooLarge, too_large(file)));
        }
        if self.streams.len() >= streams {
            return Err((StatusCode::TooMany, format!("{streams} at once are allowed")));
        }
        if size > room || room == 0 {
            return Err((StatusCode::QuotaExceeded, over_quota(room)));
        }
        Ok(())
    }

    fn open_again(
        &mut self,
        number: u64,
        facts: Facts<'_>,
        now: Instant,
    ) -> Result<Step, Violation> {
        let Some(stream) = self.streams.get_mut(&number) else {
            return Ok(Step::answer(self.remembered(number)));
        };
        if stream.facts != Known::new(facts) {
            let words = format!("stream {number} again with other facts");
            return Err(Violation::new(ErrorCode::Malformed, words));
        }
        stream.is_open = true;
        stream.is_astray = false;
        stream.last_activity = now;
        stream.limit = stream.next_limit(self.limits.window);
        // What was taken is on its way to the disk, and outlives the connection. What was under
        // way on the old connection is lost, since nothing more is taken from that.
        Ok(Step::answer(Answer::Credit {
            stream: number,
            offset: stream.received,
            limit: stream.limit,
        }))
    }

    fn remembered(&self, number: u64) -> Answer {
        let fate = self.finished.iter().rev().find(|(finished, _, _)| *finished == number);
        let (code, detail) = match fate {
            Some((_, code, detail)) => (*code, detail.clone()),
            None => (StatusCode::Refused, "what became of it is forgotten".into()),
        };
        Answer::Status { stream: number, code, detail }
    }

    /// A StreamData with `count` bytes came. They are taken if [`Order::Append`] is among the
    /// orders; else they are to be dropped. `room` is that of [`open`](Self::open).
    ///
    /// # Errors
    /// More than [`DATA_MAX`] bytes, without or past credit, or of an unknown number.
    pub fn data(
        &mut self,
        number: u64,
        offset: u64,
        count: usize,
        room: u64,
        now: Instant,
    ) -> Result<Step, Violation> {
        if count > DATA_MAX {
            let words = format!("{count} bytes of a stream at once");
            return Err(Violation::new(ErrorCode::Malformed, words));
        }
        let file = self.limits.file;
        let Some(stream) = self.find(number)? else { return Ok(Step::default()) };
        stream.check_open(number)?;
        if stream.is_ending {
            return Ok(Step::default());
        }
        let end = offset.saturating_add(count as u64);
        let is_next = offset == stream.received;
        if is_next && end > stream.facts.size.unwrap_or(u64::MAX) {
            let words = "more bytes than announced".into();
            return Ok(self.give_up(number, StatusCode::TooLarge, words));
        }
        if is_next && end > file {
            return Ok(self.give_up(number, StatusCode::TooLarge, too_large(file)));
        }
        if end > stream.limit {
            let words = format!("stream {number} goes to {end}, past its credit {}", stream.limit);
            return Err(Violation::new(ErrorCode::OutOfOrder, words));
        }
        if !is_next {
            return Ok(stream.astray(number, offset));
        }
        if stream.facts.size.is_none() && count as u64 > room {
            return Ok(self.give_up(number, StatusCode::QuotaExceeded, over_quota(room)));
        }
        stream.is_astray = false;
        if count == 0 {
            return Ok(Step::default());
        }
        stream.received = end;
        stream.last_activity = now;
        Ok(Step::order(Order::Append { stream: number, offset }))
    }

    /// A StreamEnd came.
    ///
    /// Behind data at the wrong place, one is ignored as that is: the client goes back, and ends
    /// the stream again. A second one is ignored too: the first counts.
    ///
    /// # Errors
    /// Without credit, or of an unknown number.
    pub fn end(&mut self, number: u64, size: u64, crc32c: u32) -> Result<Step, Violation> {
        let Some(stream) = self.find(number)? else { return Ok(Step::default()) };
        stream.check_open(number)?;
        if stream.is_ending || stream.is_astray {
            return Ok(Step::default());
        }
        let received = stream.received;
        if size != received || stream.facts.size.is_some_and(|announced| announced != size) {
            let announced = stream.facts.size.unwrap_or(size);
            let words = format!("{received} bytes came of {announced}");
            return Ok(self.give_up(number, StatusCode::Mismatch, words));
        }
        stream.is_ending = true;
        Ok(Step::order(Order::Finish { stream: number, size, crc32c }))
    }

    /// A StreamCancel came. One for what is finished, or ending, is ignored: the status says what
    /// became of that.
    pub fn cancel(&mut self, number: u64) -> Step {
        match self.streams.get(&number) {
            Some(stream) if !stream.is_ending => {
                self.give_up(number, StatusCode::Cancelled, String::new())
            }
            _ => Step::default(),
        }
    }

    /// The disk has `count` more bytes of it. Reports of what is finished are ignored, here and
    /// below.
    pub fn stored(&mut self, number: u64, count: u64, now: Instant) -> Step {
        let window = self.limits.window;
        let Some(stream) = self.streams.get_mut(&number) else { return Step::default() };
        stream.stored = stream.stored.saturating_add(count).min(stream.received);
        stream.last_activity = now;
        let limit = stream.next_limit(window);
        let is_last = stream.facts.size == Some(limit);
        let is_worth_it = limit - stream.limit >= window / CREDIT_SHARE || is_last;
        if !stream.is_open || stream.is_ending || limit == stream.limit || !is_worth_it {
            return Step::default();
        }
        stream.limit = limit;
        Step::answer(Answer::Credit { stream: number, offset: stream.stored, limit })
    }

    /// The disk has stored it, under this path below the upload folder.
    pub fn done(&mut self, number: u64, path: String) -> Step {
        match self.streams.get(&number) {
            Some(stream) if stream.is_ending => {
                Step::answer(self.finish(number, StatusCode::Accepted, path))
            }
            _ => Step::default(),
        }
    }

    /// The disk could not do what it should, or the checksum is another one.
    pub fn failed(&mut self, number: u64, code: StatusCode, words: String) -> Step {
        if !self.streams.contains_key(&number) {
            return Step::default();
        }
        self.give_up(number, code, words)
    }

    /// The connection is lost, and the session away: nothing grows idle meanwhile.
    pub fn lost(&mut self) {
        self.is_away = true;
    }

    /// The session has a new connection. Credit of the old one holds no longer: each stream waits
    /// to be opened again.
    pub fn resumed(&mut self, now: Instant) {
        self.is_away = false;
        for stream in self.streams.values_mut() {
            stream.is_open = false;
            stream.last_activity = now;
        }
    }

    /// Before when no stream is idle for too long, if nothing happens.
    pub fn due(&self) -> Option<Instant> {
        let waiting = self.streams.values().filter(|stream| stream.waits_for_client());
        let idle_time = self.limits.idle_time;
        let due = waiting.filter_map(|stream| stream.last_activity.checked_add(idle_time)).min();
        due.filter(|_| !self.is_away)
    }

    /// Gives those up that are idle for too long: [`StatusCode::Cancelled`], since nothing is wrong
    /// with the content or the server, and words that say why.
    pub fn tick(&mut self, now: Instant) -> Step {
        let mut step = Step::default();
        while self.due().is_some_and(|due| due <= now) {
            let idle_time = self.limits.idle_time;
            let is_idle = |stream: &Stream| {
                stream.waits_for_client()
                    && stream.last_activity.checked_add(idle_time).is_some_and(|due| due <= now)
            };
            let found = self.streams.iter().find(|(_, stream)| is_idle(stream));
            let Some(number) = found.map(|(number, _)| *number) else { break };
            let words = format!("nothing came for {} s", format_duration(idle_time));
            let one = self.give_up(number, StatusCode::Cancelled, words);
            step.orders.extend(one.orders);
            step.answers.extend(one.answers);
        }
        step
    }

    /// The session is over: what has not ended is removed. What has is left to the disk, which
    /// completes it.
    pub fn close(&mut self) -> Step {
        let streams = std::mem::take(&mut self.streams);
        let unfinished = streams.iter().filter(|(_, stream)| !stream.is_ending);
        let orders = unfinished.map(|(number, _)| Order::Remove { stream: *number }).collect();
        Step { orders, answers: Vec::new() }
    }

    /// The stream of that number; none if it is finished.
    fn find(&mut self, number: u64) -> Result<Option<&mut Stream>, Violation> {
        if number == 0 || number > self.last {
            let words = format!("there is no stream {number}");
            return Err(Violation::new(ErrorCode::OutOfOrder, words));
        }
        Ok(self.streams.get_mut(&number))
    }

    fn give_up(&mut self, number: u64, code: StatusCode, detail: String) -> Step {
        let answers = vec![self.finish(number, code, detail)];
        Step { orders: vec![Order::Remove { stream: number }], answers }
    }

    fn finish(&mut self, number: u64, code: StatusCode, detail: String) -> Answer {
        self.streams.remove(&number);
        // All that were under way when a connection was lost may be asked for again.
        if self.finished.len() >= self.limits.streams.max(REMEMBERED) {
            self.finished.pop_front();
        }
        self.finished.push_back((number, code, detail.clone()));
        Answer::Status { stream: number, code, detail }
    }
}

impl Stream {
    fn check_open(&self, number: u64) -> Result<(), Violation> {
        if self.is_open {
            return Ok(());
        }
        let words = format!("stream {number} goes on without credit");
        Err(Violation::new(ErrorCode::OutOfOrder, words))
    }

    /// Data came that does not begin where the last ended: told once for each run of such.
    fn astray(&mut self, number: u64, offset: u64) -> Step {
        if std::mem::replace(&mut self.is_astray, true) {
            return Step::default();
        }
        let detail = format!("data at {offset}, not at {}", self.received);
        let code = StatusCode::OffsetMismatch;
        let credit = Answer::Credit { stream: number, offset: self.received, limit: self.limit };
        let status = Answer::Status { stream: number, code, detail };
        Step { orders: Vec::new(), answers: vec![status, credit] }
    }
}

impl Known {
    fn new(facts: Facts<'_>) -> Self {
        let mut media_type = Crc32c::new();
        media_type.update(facts.media_type.as_bytes());
        Self { size: facts.size, name: facts.name.to_owned(), media_type: media_type.finish() }
    }
}

impl Step {
    fn answer(answer: Answer) -> Self {
        Self { orders: Vec::new(), answers: vec![answer] }
    }

    fn order(order: Order) -> Self {
        Self { orders: vec![order], answers: Vec::new() }
    }
}

fn too_large(file: u64) -> String {
    format!("at most {} are allowed", format_size(file))
}

fn over_quota(room: u64) -> String {
    format!("{} are left", format_size(room))
}
