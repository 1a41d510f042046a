//! The programs `server` and `client`, as far as they can be tested like a library.
//!
//! Hidden: no one but `src/bin` should call this; it may change at any time. What a program wants
//! of the system beyond `std` (signals) it is given by its binary.

pub mod client;
pub mod server;

mod begin;
mod chat;
mod chat_file;
mod configuration;
mod every;
mod game;
mod json;
mod meter;
mod output;
mod people;
mod ping;
mod play;
mod screen;
mod send;
mod send_file;
mod session;
mod terminal;
mod ticks;
mod typing;
mod watch;
mod zone;

use std::io;

/// Calls back on each SIGINT and SIGTERM with how many came so far; the callback must not block.
pub type OnTermination = fn(Box<dyn Fn(u32) + Send>) -> io::Result<()>;
