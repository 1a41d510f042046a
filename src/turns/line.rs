//! The seats in order of arrival: who is there, and who comes next.
//!
//! Those that are there form a ring in which each knows the next, so that passing on is one step
//! however many there are, and however many are away. A tree of the same seats, by place, is asked
//! only when somebody comes or goes, or when the last holder is no longer in the ring: then it says
//! between whom a place lies.

use std::collections::{BTreeMap, HashMap};

use super::Seat;

/// A place in the order of arrival. It stays with its seat, and is given only once: so it says who
/// comes next also when its seat is away or gone. The first one is 1.
pub(super) type Place = u64;

#[derive(Debug)]
struct Chair {
    place: Place,
    there: bool,
    /// The next one that is there; itself when alone. Means nothing while away.
    next: Seat,
    strikes: u32,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    chairs: HashMap<Seat, Chair>,
    /// Those that are there.
    there: BTreeMap<Place, Seat>,
    last_place: Place,
    /// How many seats were looked at to find the next one.
    #[cfg(test)]
    pub(super) steps: std::cell::Cell<usize>,
}

impl Line {
    /// How many are there.
    pub(super) fn there(&self) -> usize {
        self.there.len()
    }

    /// Those that are there, in order of arrival.
    pub(super) fn all_there(&self) -> impl Iterator<Item = Seat> {
        self.there.values().copied()
    }

    pub(super) fn knows(&self, seat: Seat) -> bool {
        self.chairs.contains_key(&seat)
    }

    /// The place of a seat that is there.
    pub(super) fn place(&self, seat: Seat) -> Option<Place> {
        self.chairs.get(&seat).filter(|chair| chair.there).map(|chair| chair.place)
    }

    /// Adds a seat at the end. It must not be known.
    pub(super) fn add(&mut self, seat: Seat) {
        self.last_place += 1;
        let chair = Chair { place: self.last_place, there: false, next: seat, strikes: 0 };
        self.chairs.insert(seat, chair);
        self.link(seat);
    }

    /// Puts one that is away back into its old place in the ring.
    pub(super) fn link(&mut self, seat: Seat) {
        let absent = self.chairs.get(&seat).filter(|chair| !chair.there);
        let Some(place) = absent.map(|chair| chair.place) else { return };
        let before = self.before(place).unwrap_or(seat);
        let after = self.search(place).unwrap_or(seat);
        self.there.insert(place, seat);
        if let Some(chair) = self.chairs.get_mut(&seat) {
            (chair.there, chair.next) = (true, after);
        }
        if let Some(chair) = self.chairs.get_mut(&before) {
            chair.next = seat;
        }
    }

    /// Takes one that is there out of the ring; it keeps its place.
    pub(super) fn unlink(&mut self, seat: Seat) {
        let Some(chair) = self.chairs.get_mut(&seat).filter(|chair| chair.there) else { return };
        chair.there = false;
        let (place, next) = (chair.place, chair.next);
        self.there.remove(&place);
        if let Some(before) = self.before(place)
            && let Some(chair) = self.chairs.get_mut(&before)
        {
            chair.next = next;
        }
    }

    /// Forgets a seat.
    pub(super) fn remove(&mut self, seat: Seat) {
        self.unlink(seat);
        self.chairs.remove(&seat);
    }

    /// Who comes after `seat`, which has or had `place`, of those that are there: itself when it is
    /// alone.
    #[inline]
    pub(super) fn after(&self, seat: Seat, place: Place) -> Option<Seat> {
        match self.chairs.get(&seat) {
            Some(chair) if chair.there && chair.place == place => {
                #[cfg(test)]
                self.steps.set(self.steps.get() + 1);
                Some(chair.next)
            }
            _ => self.search(place),
        }
    }

    /// Counts one more turn that a seat let pass; how many they are in a row.
    pub(super) fn strike(&mut self, seat: Seat) -> u32 {
        self.chairs.get_mut(&seat).map_or(0, |chair| {
            chair.strikes = chair.strikes.saturating_add(1);
            chair.strikes
        })
    }

    pub(super) fn forgive(&mut self, seat: Seat) {
        if let Some(chair) = self.chairs.get_mut(&seat) {
            chair.strikes = 0;
        }
    }

    /// The last that is there before a place whose seat is not.
    fn before(&self, place: Place) -> Option<Seat> {
        let mut earlier = self.there.range(..place);
        earlier.next_back().or_else(|| self.there.last_key_value()).map(|(_, seat)| *seat)
    }

    /// The first that is there behind a place whose seat is not.
    fn search(&self, place: Place) -> Option<Seat> {
        // In the tests' count a search costs as if it were the dullest one.
        #[cfg(test)]
        self.steps.set(self.steps.get() + self.there.len());
        let mut later = self.there.range(place..);
        later.next().or_else(|| self.there.first_key_value()).map(|(_, seat)| *seat)
    }
}
