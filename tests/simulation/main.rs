//! The simulation: clients and a server as the pure machines that the programs run, in virtual
//! time, over a network with TCP's faults. Nothing that was accepted is lost or doubled.
//!
//! One number is a schedule: `TCPKIT_SIM_SEED=7 cargo test --test simulation` shows what happens
//! in it. `TCPKIT_SIM_COUNT=100000` runs so many, from `TCPKIT_SIM_FIRST` on (0).

mod actions;
mod body;
mod checks;
mod client;
mod coverage;
mod delivery;
mod faults;
mod network;
mod playing;
mod random;
mod schedule;
mod server;
mod trace;
mod wire;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use coverage::Coverage;
use trace::Tape;
use world::World;

/// How many schedules the tests run.
const COUNT: u64 = 2_000;
/// How much of a trace is shown on failure.
const LAST_LINES: usize = 60;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

thread_local! {
    /// Whether this thread runs a schedule: what panics in it is told in other words.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

fn keep_schedules_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                usual(panic);
            }
        }));
    });
}

/// Runs one schedule; the words of what was wrong.
fn run(seed: u64, tape: Tape) -> Result<Coverage, String> {
    keep_schedules_quiet();
    IS_QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| World::new(seed, tape).run()));
    IS_QUIET.set(false);
    result.map_err(|cause| {
        let words = cause.downcast_ref::<String>().cloned();
        words.or(cause.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

/// Runs one schedule once more, to tell how it came about.
fn explain(seed: u64, words: &str) -> String {
    let tape = Tape::recording();
    let again = run(seed, tape.clone());
    let lines = tape.lines();
    let first = lines.len().saturating_sub(LAST_LINES);
    let shown = lines[first..].join("\n");
    let replay = format!("TCPKIT_SIM_SEED={seed} cargo test --test simulation");
    let differs =
        if again.is_ok() { "\nIT DOES NOT HAPPEN AGAIN: the replay is not exact" } else { "" };
    format!("{shown}\n\nseed {seed}: {words}{differs}\nreplay: {replay}")
}

/// Runs schedules on all processors, up to the first that fails.
fn run_all(first: u64, count: u64) -> Result<Coverage, String> {
    let threads = thread::available_parallelism().map_or(2, |count| count.get() as u64);
    let (next, has_failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let work = || {
        let mut coverage = Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || has_failed.load(Ordering::Relaxed) {
                return Ok(coverage);
            }
            match run(seed, Tape::default()) {
                Ok(one) => coverage.add(&one),
                Err(words) => {
                    has_failed.store(true, Ordering::Relaxed);
                    return Err((seed, words));
                }
            }
        }
    };
    let results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("failures are caught")).collect()
    });
    let mut all = Coverage::default();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(coverage) => all.add(&coverage),
            Err(failure) => failures.push(failure),
        }
    }
    match failures.into_iter().min() {
        Some((seed, words)) => Err(explain(seed, &words)),
        None => Ok(all),
    }
}

#[test]
fn whatever_happens_nothing_accepted_is_lost_or_doubled() {
    if let Some(seed) = number("TCPKIT_SIM_SEED") {
        let tape = Tape::recording();
        let result = run(seed, tape.clone());
        println!("{}", tape.lines().join("\n"));
        match result {
            Ok(coverage) => println!("{coverage:#?}"),
            Err(words) => panic!("seed {seed}: {words}"),
        }
        return;
    }
    let first = number("TCPKIT_SIM_FIRST").unwrap_or(0);
    let count = number("TCPKIT_SIM_COUNT").unwrap_or(COUNT);
    let start = Instant::now();
    let coverage = run_all(first, count).unwrap_or_else(|failure| panic!("{failure}"));
    let rate = u128::from(count) * 1000 / start.elapsed().as_millis().max(1);
    println!("{count} schedules from {first} on, {rate} a second");
    for (what, count) in coverage.each() {
        println!("{count:12} {}", what.replace('_', " "));
    }
    if count >= COUNT {
        for (what, count) in coverage.each() {
            assert!(count > 0, "{what} never happened: the simulation does not exercise it");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    for seed in 0..20 {
        let [one, other] = [Tape::recording(), Tape::recording()];
        let _ = run(seed, one.clone());
        let _ = run(seed, other.clone());
        assert!(one.lines().len() > 20, "seed {seed} makes nothing happen");
        assert_eq!(one.lines(), other.lines(), "seed {seed}");
    }
}
