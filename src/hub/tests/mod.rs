//! The hub's rules, driven without sockets and in virtual time.

mod dialogue;
mod endings;
mod harness;
mod heartbeats;
mod playing;
mod returning;
mod slow_readers;
mod streams;
