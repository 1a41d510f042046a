//! The codec: [`Frame`]s from payloads and back, for every kind of the protocol.
//!
//! Pure: bytes in, values out. [`decode`] reads, [`Frame::encode`] writes, each the inverse of the
//! other. Which kinds a side takes, and when, is decided by the machines that use this.
//!
//! [`Frame`]: crate::message::Frame
//! [`Frame::encode`]: crate::message::Frame::encode

mod decode;
mod encode;

pub use decode::decode;
pub(crate) use encode::put_relayed;

/// A stream of unknown size, on the wire.
const UNKNOWN_SIZE: u64 = u64::MAX;
