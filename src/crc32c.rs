//! CRC-32C (Castagnoli), the checksum of a stream's content (`PROTOCOL.md` section 8).
//!
//! Pure, safe, and without instructions that only some processors have. Long input is folded: a
//! byte is added (XOR) to five bytes further on, which changes nothing in the remainder, until only
//! the last few hundred bytes are left, and those go through eight tables at a time. Adding whole
//! blocks is what compilers turn into vector instructions, and so it is several times faster than
//! looking up. `cargo bench --bench crc32c` shows by how much.

/// The polynomial, its highest power left out, the lowest bit standing for the highest power left.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// `T[n][b]`: the remainder of byte `b` with `n` zero bytes behind it.
static TABLES: [[u32; 256]; 8] = tables();

/// Distances in bytes over which a byte is folded. By squaring three times, from a multiple of the
/// polynomial with only six terms: `x^290 + x^136 + x^113 + x^107 + x^32 + 1` (a test proves it).
/// Found by search: the one of the lowest degree whose first distance leaves room for [`STEP`].
const DISTANCES: [usize; 5] = [290 - 136, 290 - 113, 290 - 107, 290 - 32, REACH];
/// The largest of them.
const REACH: usize = 290;
/// How many bytes are folded at once: no more than the shortest distance.
const STEP: usize = 128;
/// How many bytes are folded before the last of them are moved to the front again.
const BLOCK: usize = 12 * 1024;
/// From this size on folding pays.
const FOLD_MIN: usize = 1024;

const _: () =
    assert!(STEP <= DISTANCES[0] && BLOCK.is_multiple_of(STEP) && FOLD_MIN > REACH + STEP);

/// The checksum of bytes that come piece by piece.
///
/// ```
/// use tcpkit::crc32c::Crc32c;
///
/// let mut checksum = Crc32c::new();
/// checksum.update(b"1234");
/// checksum.update(b"56789");
/// assert_eq!(checksum.finish(), 0xE306_9283);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crc32c {
    state: u32,
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32c {
    /// The checksum of nothing yet.
    pub const fn new() -> Self {
        Self { state: !0 }
    }

    /// Takes the next bytes in. How they are cut into pieces makes no difference, except that
    /// pieces below 1 KiB are slower.
    pub fn update(&mut self, bytes: &[u8]) {
        let fits = bytes.len() >= FOLD_MIN;
        self.state = if fits { fold(self.state, bytes) } else { look_up(self.state, bytes) };
    }

    /// The checksum of all that was taken in.
    pub const fn finish(&self) -> u32 {
        !self.state
    }
}

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(remainder & 1));
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// The state after `bytes`, eight of them at a time.
fn look_up(mut state: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = (u64::from_le_bytes(*word) ^ u64::from(state)).to_le_bytes();
        state = 0;
        for (table, byte) in TABLES.iter().rev().zip(word) {
            state ^= table[usize::from(byte)];
        }
    }
    for byte in rest {
        state = (state >> 8) ^ TABLES[0][usize::from(state as u8 ^ byte)];
    }
    state
}

/// The state after `bytes`, which are more than [`REACH`] and [`STEP`].
fn fold(state: u32, bytes: &[u8]) -> u32 {
    let (main, rest) = bytes.split_at((bytes.len() - REACH) / STEP * STEP);
    // What was folded last, then what is folded now.
    let mut work = [0; REACH + BLOCK];
    let mut carry = state.to_le_bytes();
    for block in main.chunks(BLOCK) {
        for (index, step) in block.as_chunks::<STEP>().0.iter().enumerate() {
            let folded = fold_step(&mut work, REACH + index * STEP, step);
            add(folded, &std::mem::take(&mut carry));
        }
        work.copy_within(block.len()..block.len() + REACH, 0);
    }
    let mut tail = [0; REACH + STEP];
    tail[..rest.len()].copy_from_slice(rest);
    for distance in DISTANCES {
        add(&mut tail, &work[REACH - distance..REACH]);
    }
    look_up(0, &tail[..rest.len()])
}

/// Puts `step` at `work[at..]`, with what is folded into it from before.
#[inline]
fn fold_step<'a>(work: &'a mut [u8], at: usize, step: &[u8; STEP]) -> &'a mut [u8] {
    let (before, target) = work.split_at_mut(at);
    let mut sum = *step;
    for distance in DISTANCES {
        add(&mut sum, &before[at - distance..][..STEP]);
    }
    target[..STEP].copy_from_slice(&sum);
    target
}

/// Adds `other` to the beginning of `sum`.
#[inline]
fn add(sum: &mut [u8], other: &[u8]) {
    for (byte, other) in sum.iter_mut().zip(other) {
        *byte ^= other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(bytes: &[u8]) -> u32 {
        let mut checksum = Crc32c::new();
        checksum.update(bytes);
        checksum.finish()
    }

    /// Bit by bit, as the standard defines it.
    fn reference(bytes: &[u8]) -> u32 {
        let mut remainder = !0u32;
        for byte in bytes {
            remainder ^= u32::from(*byte);
            for _ in 0..8 {
                let low = remainder & 1;
                remainder = (remainder >> 1) ^ (low * POLYNOMIAL);
            }
        }
        !remainder
    }

    fn noise(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        move |limit| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % limit
        }
    }

    #[test]
    fn the_standard_s_check_values() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        for (bytes, expected) in [
            (&[0; 32][..], 0x8A91_36AA), // RFC 3720, appendix B.4
            (&[0xFF; 32], 0x62A8_AB43),
            (&ascending, 0x46DD_794E),
            (&descending, 0x113F_DB5C),
            (b"123456789", 0xE306_9283),
            (b"", 0),
        ] {
            assert_eq!(checksum(bytes), expected, "{bytes:?}");
            assert_eq!(reference(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_folded_over_is_a_multiple_of_the_polynomial() {
        let mut powers = vec![1u32 << 31]; // x^0, in the order of bits of the checksum
        for power in 0..REACH {
            let last = powers[power];
            powers.push((last >> 1) ^ ((last & 1) * POLYNOMIAL));
        }
        let sum =
            DISTANCES.iter().fold(powers[REACH], |sum, distance| sum ^ powers[REACH - distance]);
        assert_eq!(sum, 0);
    }

    #[test]
    fn every_size_has_the_checksum_of_the_reference() {
        let mut below = noise(1);
        let bytes: Vec<u8> = (0..2_000).map(|_| below(256) as u8).collect();
        for size in 0..=bytes.len() {
            assert_eq!(checksum(&bytes[..size]), reference(&bytes[..size]), "{size} bytes");
        }
    }

    #[test]
    fn cuts_make_no_difference() {
        for seed in 0..20 {
            let mut below = noise(seed);
            let bytes: Vec<u8> = (0..below(100_000)).map(|_| below(256) as u8).collect();
            let mut pieces = Crc32c::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let most = if below(2) == 0 { 20 } else { 40_000 };
                let (piece, others) = rest.split_at((1 + below(most)).min(rest.len()));
                pieces.update(piece);
                rest = others;
            }
            let expected = reference(&bytes);
            assert_eq!(pieces.finish(), expected, "seed {seed}");
            assert_eq!(checksum(&bytes), expected, "seed {seed}");
        }
    }
}
