//! The talk survives, for real: the programs as processes that are killed and stopped, and a
//! network that is cut without a word.
//!
//! What the rules do in each order of faults is left to tests in virtual time; here it is about
//! what only the system can show: what a killed process leaves behind, what the kernel of a stopped
//! one still answers, how long a packet is tried again. Each file has one kind of trouble: a
//! process that is [killed], one that is [stopped](frozen), a wire that is [cut](cuts) between two
//! [hosts](lab), and how [losses] are told apart.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
mod cuts;
mod frozen;
mod killed;
mod lab;
mod losses;
mod member;
