//! Where a reader that comes back goes on, and how much it has missed (`PROTOCOL.md` section 6).
//!
//! A reader that lost its connection names the `seq` of the last record that it has. Of records
//! that were given up since, the log remembers for whom they were, run by run, so that it can say
//! how many of them were meant for that reader.

use super::{Audience, Log, SessionId};

/// A run that was given up: who it came from, and who it was for. It ends where the next begins.
#[derive(Debug)]
pub(super) struct Ghost {
    first_seq: u64,
    origin: SessionId,
    audience: Audience,
}

/// How many runs that were given up are remembered: 2 MiB at the most, and less for a small log.
pub(super) fn ghosts_max(max_bytes: u64) -> usize {
    (max_bytes / 1024).clamp(1024, 65_536) as usize
}

impl Log {
    /// Remembers the oldest run, which is about to be given up.
    pub(super) fn remember_oldest_run(&mut self) {
        let Some(run) = self.runs.front() else { return };
        let (first_seq, origin, audience) = (run.first_seq, run.origin, run.audience);
        let joins = |ghost: &Ghost| ghost.origin == origin && ghost.audience == audience;
        if !self.ghosts.back().is_some_and(joins) {
            if self.ghosts.len() == ghosts_max(self.max_bytes) {
                self.ghosts.pop_front();
            }
            self.ghosts.push_back(Ghost { first_seq, origin, audience });
        }
    }

    /// The `seq` of the oldest record that is still held, or of the next one if there is none.
    fn oldest_seq(&self) -> u64 {
        self.runs.front().map_or(self.last_seq + 1, |run| run.first_seq)
    }

    /// The position of the first record behind record `seq` that is still held.
    pub fn position_behind(&self, seq: u64) -> u64 {
        if seq >= self.last_seq {
            return self.head;
        }
        let runs = self.runs.partition_point(|run| run.first_seq <= seq + 1);
        let Some(run) = runs.checked_sub(1).and_then(|index| self.runs.get(index)) else {
            return self.oldest();
        };
        (run.first_seq..=seq).fold(run.start, |position, _| self.end_of_record(position))
    }

    /// The `seq` of the last record before `position`, a boundary that is still held.
    pub fn seq_before(&self, position: u64) -> u64 {
        if position >= self.head {
            return self.last_seq;
        }
        let Some(run) = self.runs.get(self.run_at(position)) else { return self.last_seq };
        let (mut at, mut seq) = (run.start, run.first_seq - 1);
        while at < position {
            at = self.end_of_record(at);
            seq += 1;
        }
        seq
    }

    /// How many records behind record `seq` were for `session` and are gone. Exact as far as it is
    /// remembered for whom they were; of older ones every record counts.
    pub fn missed(&self, session: SessionId, seq: u64) -> u64 {
        let mut until = self.oldest_seq();
        let mut missed = 0;
        for ghost in self.ghosts.iter().rev() {
            if until <= seq + 1 {
                return missed;
            }
            if ghost.audience.includes(session, ghost.origin) {
                missed += until - ghost.first_seq.max(seq + 1);
            }
            until = ghost.first_seq;
        }
        missed + until.saturating_sub(seq + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::add;
    use super::*;

    /// A log of records of three origins, some for one reader alone, of which the first are gone.
    fn worn_log() -> (Log, Vec<(SessionId, Audience)>) {
        let mut log = Log::new(4096, 40);
        let audience = |number| if number % 5 < 4 { Audience::Others } else { Audience::Only(2) };
        let records: Vec<_> =
            (1..=100u64).map(|number| (1 + number / 3 % 3, audience(number))).collect();
        for (number, (origin, audience)) in records.iter().enumerate() {
            assert!(add(&mut log, *origin, *audience, &vec![b'x'; number % 7]));
        }
        (log, records)
    }

    #[test]
    fn positions_and_numbers_of_records_agree() {
        let (log, _) = worn_log();
        let oldest = log.oldest_seq();
        assert!(oldest > 50 && log.oldest() > 0, "nothing was given up");
        let mut position = log.oldest();
        for seq in oldest..=100 {
            assert_eq!(log.position_behind(seq - 1), position, "behind {}", seq - 1);
            assert_eq!(log.seq_before(position), seq - 1);
            position = log.end_of_record(position);
        }
        assert_eq!((log.position_behind(100), log.position_behind(9999)), (log.head(), log.head()));
        assert_eq!(log.position_behind(3), log.oldest(), "what is gone cannot be had");
    }

    #[test]
    fn what_is_missed_is_counted_for_each_reader() {
        let (log, records) = worn_log();
        let gone = log.oldest_seq() - 1;
        for session in 1..=4 {
            for seq in 0..=100 {
                let expected = (seq + 1..=gone)
                    .filter(|number| {
                        let (origin, audience) = records[*number as usize - 1];
                        audience.includes(session, origin)
                    })
                    .count() as u64;
                assert_eq!(log.missed(session, seq), expected, "session {session} behind {seq}");
            }
        }
    }

    #[test]
    fn what_is_not_remembered_counts_for_everyone() {
        let mut log = Log::new(4096, 2);
        let count = 2 * ghosts_max(4096) as u64;
        for number in 0..count {
            assert!(add(&mut log, 1 + number % 2, Audience::Others, b""));
        }
        assert_eq!(log.ghosts.len(), ghosts_max(4096));
        let (gone, remembered) = (log.oldest_seq() - 1, ghosts_max(4096) as u64);
        assert_eq!(log.missed(1, 0), gone - remembered / 2);
        assert_eq!(log.missed(1, gone - remembered), remembered / 2);
    }
}
