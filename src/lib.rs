#![doc = include_str!("../README.md")]
//!
//! # How the crate is built
//!
//! What decides about order, time or bytes is pure: no socket, thread, lock, clock or print. What
//! has those decides nothing. A module imports only from its own floor or one below; a test holds
//! the pure floors to it.
//!
//! | floor | modules |
//! |---|---|
//! | 6 programs | `programs`, `src/bin` |
//! | 5 services | [`server`] |
//! | 4 shell | `connection`, `transport`, [`memory`] |
//! | 3 machines | [`hub`] (the server), `client_session` (the client) |
//! | 2 rules | [`frame`], [`codec`], [`log`], [`heartbeat`], [`name`], `outbox`, `backlog` |
//! | | `backoff`, `turns`, `transfer`, `crc32c`, `file_name` |
//! | | `ini`, `arguments`, `timezone`, `clock` |
//! | 1 vocabulary | [`message`], [`event`], [`error`], [`report`], [`settings`], [`escape`] |
//! | | `end`, `units`, `nearest` |
#![forbid(unsafe_code)]

pub mod codec;
pub mod error;
pub mod escape;
pub mod event;
pub mod frame;
pub mod heartbeat;
pub mod hub;
pub mod log;
pub mod memory;
pub mod message;
pub mod name;
pub mod report;
pub mod server;
pub mod settings;

#[doc(hidden)]
pub mod arguments;
#[doc(hidden)]
pub mod client_session;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod crc32c;
#[doc(hidden)]
pub mod file_name;
#[doc(hidden)]
pub mod ini;
#[doc(hidden)]
pub mod nearest;
#[doc(hidden)]
pub mod programs;
#[doc(hidden)]
pub mod timezone;
#[doc(hidden)]
pub mod transfer;
#[doc(hidden)]
pub mod turns;
#[doc(hidden)]
pub mod units;

mod backlog;
mod backoff;
mod connection;
mod end;
mod outbox;
mod transport;

pub use backoff::ReconnectPolicy;
pub use connection::{Builder, Connection, Events, OwnTurns, Progress, Stored, Turn, UploadHandle};
pub use end::{End, Loss};
pub use error::Error;
pub use event::{Event, Fate, Receipt};
pub use hub::{Echo, Handler, Member, Message, Refusal, Relay, Room, Turns, Upload};
pub use server::{Server, ServerBuilder, ServerHandle};
