//! tcpkit
pub mod codec;
pub mod frame;
pub mod message;
