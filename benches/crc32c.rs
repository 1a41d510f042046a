//! The checksum of streams: `cargo bench --bench crc32c`. Prints GB/s of one thread over 64 KiB, as
//! much as one StreamData holds, beside those of the plain loop with one table.

#![expect(clippy::cast_precision_loss, reason = "no bench takes 2^52 bytes")]

use std::hint::black_box;
use std::time::Instant;

use tcpkit::crc32c::Crc32c;

const SIZE: usize = 64 * 1024;
const ROUNDS: usize = 15;

fn main() {
    let quick = std::env::args().any(|word| word == "--quick");
    let times = if quick { 20 } else { 500 };
    let bytes: Vec<u8> = (0..SIZE).map(|index| (index * index / 7) as u8).collect();
    let table = table();
    assert_eq!(library(&bytes), plain(&table, &bytes));
    let (mut ours, mut plains) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(times, || library(black_box(&bytes))));
        plains.push(rate(times.div_ceil(10), || plain(&table, black_box(&bytes))));
    }
    let (ours, plain) = (median(ours), median(plains));
    println!("crc32c     {ours:.2} GB/s");
    println!("one table  {plain:.2} GB/s");
    println!("ratio      {:.1}", ours / plain);
}

/// GB/s of `sum`, which goes through [`SIZE`] bytes.
fn rate(times: usize, sum: impl Fn() -> u32) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        black_box(sum());
    }
    (times * SIZE) as f64 / start.elapsed().as_secs_f64() / 1e9
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn library(bytes: &[u8]) -> u32 {
    let mut checksum = Crc32c::new();
    checksum.update(bytes);
    checksum.finish()
}

fn table() -> [u32; 256] {
    std::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |rest, _| (rest >> 1) ^ ((rest & 1) * 0x82F6_3B78))
    })
}

fn plain(table: &[u32; 256], bytes: &[u8]) -> u32 {
    let step = |state: u32, byte: &u8| (state >> 8) ^ table[usize::from(state as u8 ^ byte)];
    !bytes.iter().fold(!0, step)
}
