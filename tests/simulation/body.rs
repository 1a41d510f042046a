//! What the messages say: which one of whose it is, and filling that can be checked.

/// Names one message: the client that sent it, and its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) client: usize,
    pub(crate) receipt: u64,
}

/// The bytes of a tag, and of what the server's program shall do.
const DIGITS: usize = 6;
pub(crate) const LEAST: usize = 2 + DIGITS;

/// What the filling of all bodies is cut from: the numbers from 0 to 25, over and over.
const FILLING: [u8; 26 * 50] = {
    let mut filling = [0; 26 * 50];
    let mut index = 0;
    while index < filling.len() {
        filling[index] = (index % 26) as u8;
        index += 1;
    }
    filling
};

/// The filling at a place in a body, as far as it reaches.
fn filling(place: usize, receipt: u64) -> &'static [u8] {
    &FILLING[((place as u64 + receipt) % 26) as usize..]
}

/// A body of `size` bytes; `is_refused`: the server's program is to refuse it.
pub(crate) fn make(tag: Tag, size: usize, is_refused: bool) -> String {
    let first = b'a' + tag.client as u8;
    let mut body = String::with_capacity(size);
    body.push(first as char);
    for place in (0..DIGITS as u32).rev() {
        body.push((b'0' + (tag.receipt / 10u64.pow(place) % 10) as u8) as char);
    }
    body.push(if is_refused { '!' } else { '.' });
    while body.len() < size {
        let filling = filling(body.len(), tag.receipt);
        let count = filling.len().min(size - body.len());
        body.push_str(str::from_utf8(&filling[..count]).expect("small numbers"));
    }
    body
}

/// Reads a body that is whole, and says whether it is to be refused.
pub(crate) fn read(body: &[u8]) -> Option<(Tag, bool)> {
    let (first, rest) = body.split_first()?;
    let (digits, rest) = rest.split_at_checked(DIGITS)?;
    let receipt =
        digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit.wrapping_sub(b'0')));
    let tag = Tag { client: usize::from(first.wrapping_sub(b'a')), receipt };
    let is_refused = *rest.first()? == b'!';
    let mut place = LEAST;
    while place < body.len() {
        let filling = filling(place, receipt);
        let count = filling.len().min(body.len() - place);
        if body[place..place + count] != filling[..count] {
            return None;
        }
        place += count;
    }
    Some((tag, is_refused))
}
